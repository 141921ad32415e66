"""The object store: pictures and drawings in a folder, S3, GCS or Azure, named by the SHA-256 of their content.

A row of ``objects`` is written before an object is put, and deleted in the transaction that deletes the object. So
wherever a process is killed, no object is without a row, and an object that is put while it is being deleted exists
afterwards. Names contain no user data.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
import time
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import obstore
import sqlalchemy as sa
from obstore.exceptions import BaseError
from obstore.store import LocalStore, ObjectStore, from_url
from sqlalchemy.ext.asyncio import AsyncConnection

from serve.errors import InvalidRequest, NotFound, OutOfSpace, StateUnavailable
from serve.observability.metrics import catalogue
from serve.settings import ObjectsSettings, Settings
from serve.state import tables
from serve.state.database import Database, measured
from serve.state.tables import UtcTime, insert_into, utc_now
from serve.state.write_batches import Write

EXTENSIONS = {
    "image/png": "png", "image/jpeg": "jpg", "image/webp": "webp", "image/svg+xml": "svg", "image/gif": "gif",
    "application/octet-stream": "bin",
}  # fmt: skip
_SIGNATURES = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif"}
PIECE_BYTES = 1024 * 1024
INLINE_BYTES = 256 * 1024
"""Less is hashed at once: a thread would take longer."""
_NAME = re.compile(r"[0-9a-f]{64}\.[a-z]{3,4}", re.ASCII)
_SCHEMES = ("s3", "s3a", "gs", "az", "azure", "adl", "abfs", "abfss")
_CLIENT_OPTIONS = ("allow_http", "allow_invalid_certificates", "proxy_url", "proxy_ca_certificate", "user_agent")
"""Options of obstore's HTTP client, passed separately from those of the store."""
FULL_MESSAGES = ("No space left", "os error 28", "File too large", "StorageFull", "QuotaExceeded", "Disk quota")
_NO_BUCKET = "NoSuchBucket"


def media_type_of(data: bytes) -> str:
    """By its first bytes, which suffices for an object name; nothing else is checked."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    found = (kind for signature, kind in _SIGNATURES.items() if data.startswith(signature))
    return next(found, "application/octet-stream")


def name_of(data: bytes, media_type: str) -> str:
    """The SHA-256 of ``data`` in hex and an extension, such as ``3a7b….png``."""
    return f"{hashlib.sha256(data).hexdigest()}.{EXTENSIONS.get(media_type, 'bin')}"


@dataclass(frozen=True)
class Stored:
    """The name and size of a stored object."""

    name: str
    bytes: int


class Objects:
    """For one event loop; ``database`` records which objects exist."""

    def __init__(self, settings: Settings, database: Database) -> None:
        """Raises InvalidRequest for a URL of no supported store."""
        self._timeout_s = settings.objects.timeout_s
        self._delete_timeout_s = min(
            self._timeout_s, settings.database.timeout_s / 2
        )  # other SQLite writers wait meanwhile
        self._database = database
        insert = insert_into(tables.objects, database.is_sqlite)
        touched = {"touched_at": insert.excluded.touched_at}
        self._upsert = insert.on_conflict_do_update(index_elements=["name"], set_=touched)
        default = settings.state_dir / "objects"
        self._store = open_store(settings.objects, default)
        self._local_folder = local_folder_of(settings.objects, default)

    async def put(self, data: bytes, media_type: str) -> Stored:
        """Raises StateUnavailable, OutOfSpace. The same content is stored once."""
        return (await self.put_all([(data, media_type)]))[0]

    async def put_all(self, files: Sequence[tuple[bytes, str]]) -> list[Stored]:
        """As `put`, with one database write for all."""
        found = await named(files)
        if found:
            await self._upsert_rows(found, [media_type for _, media_type in files])
        await asyncio.gather(*(self._put(one.name, data) for one, (data, _) in zip(found, files, strict=True)))
        return found

    async def get(self, name: str) -> bytes:
        """Raises NotFound, StateUnavailable."""
        path = path_of(name)
        async with self._operation("get", self._timeout_s):
            answer = await obstore.get_async(self._store, path)
            return bytes(await answer.bytes_async())

    async def read(self, name: str, start: int, end: int) -> AsyncIterator[bytes]:
        """Yields the bytes from ``start`` to ``end`` (exclusive) in pieces. Raises as `get`."""
        path = path_of(name)
        while start < end:
            stop = min(end, start + PIECE_BYTES)
            async with self._operation("get", self._timeout_s):
                piece = await obstore.get_range_async(self._store, path, start=start, end=stop)
            yield bytes(piece)
            start = stop

    async def delete_unused(self, older_than: timedelta, limit: int = 1000) -> int:
        """Deletes up to ``limit`` objects without references that were not put for that long; returns their number.

        Raises StateUnavailable; deletions until then persist.
        """
        unused = _unused_query(utc_now() - older_than)
        async with self._database.read() as connection:
            names = (await connection.scalars(unused.limit(limit))).all()
        deleted = 0
        for name in names:
            deleted += await self._delete(name, unused)
        if self._local_folder is not None:
            await asyncio.to_thread(_delete_partial_uploads, self._local_folder, older_than)
        return deleted

    async def check(self) -> None:
        """Raises StateUnavailable when the store does not answer."""
        async with self._operation("list", self._timeout_s):
            await self._check_local_folder()
            await anext(obstore.list(self._store, "00/", chunk_size=1).__aiter__(), None)

    async def _delete(self, name: str, unused: sa.Select[str]) -> bool:
        """Deletes ``name`` if it is still unused. A concurrent put waits for the transaction, and puts after the
        deletion."""
        o = tables.objects
        unused_name = unused.where(o.c.name == name).with_for_update(skip_locked=True).scalar_subquery()
        async with self._database.write("delete") as connection:
            if await connection.scalar(sa.delete(o).where(o.c.name == unused_name).returning(o.c.name)) is None:
                return False
            with contextlib.suppress(NotFound):
                async with self._operation("delete", self._delete_timeout_s):
                    await obstore.delete_async(self._store, path_of(name))
        return True

    async def _upsert_rows(self, found: Sequence[Stored], media_types: Sequence[str]) -> None:
        now = utc_now()
        rows = {
            one.name: {"name": one.name, "bytes": one.bytes, "media_type": kind, "touched_at": now}
            for one, kind in zip(found, media_types, strict=True)
        }
        ordered = [rows[name] for name in sorted(rows)]  # in one order, to avoid deadlocks
        await self._database.write_batch([Write(self._upsert, ordered)])

    async def _put(self, name: str, data: bytes) -> None:
        try:
            async with self._operation("put", self._timeout_s):
                await self._check_local_folder()
                await obstore.put_async(self._store, path_of(name), data, use_multipart=False)
        except NotFound as error:
            raise StateUnavailable("the object store is not there; try again") from error

    @contextlib.asynccontextmanager
    async def _operation(self, operation: str, timeout_s: float) -> AsyncIterator[None]:
        """One operation of the store, timed, with its errors mapped."""
        with measured(catalogue.STORE_SECONDS, operation), _map_store_errors():
            async with asyncio.timeout(timeout_s):
                try:
                    yield
                except FileNotFoundError as error:
                    await self._check_local_folder()
                    if _NO_BUCKET in str(error):
                        raise StateUnavailable("the object store is not there; try again") from error
                    raise NotFound("this picture is no longer kept") from None

    async def _check_local_folder(self) -> None:
        """A missing folder, such as an unmounted disk, must not be replaced by a new, empty one."""
        if self._local_folder is not None and not await asyncio.to_thread(self._local_folder.is_dir):
            raise StateUnavailable("the folder of the object store is not there; try again")


@contextlib.contextmanager
def _map_store_errors() -> Iterator[None]:
    try:
        yield
    except (BaseError, OSError) as error:
        if any(text in str(error) for text in FULL_MESSAGES):
            raise OutOfSpace("there is no space left to keep this; make room in the site's store") from error
        raise StateUnavailable("the object store does not answer; try again") from error


_MAX_SINGLE_UPDATES = 2
"""Up to so many names are updated one by one; the other way takes two queries and a lock per name."""
_TOUCH = (
    sa.update(tables.objects)
    .where(tables.objects.c.name == sa.bindparam("of"))
    .values(touched_at=sa.bindparam("now", type_=UtcTime))
    .returning(tables.objects.c.name)
)


_PROTECT = (
    sa.update(tables.objects)
    .where(tables.objects.c.name == sa.bindparam("of"))
    .values(touched_at=sa.bindparam("now", type_=UtcTime))
)


def protect_writes(names: Collection[str]) -> list[Write]:
    """As `protect`, for a batch: it is not written if one of the objects is gone."""
    now = utc_now()
    return [Write(_PROTECT, [{"of": name, "now": now}], required=True) for name in sorted(set(names))]


async def protect(connection: AsyncConnection, names: Collection[str]) -> bool:
    """Whether the objects ``names`` still exist, for a transaction that adds references to objects that it did not just
    put.

    If so, they are not deleted before it ends, and count as put now.
    """
    o, sorted_names = tables.objects, sorted(set(names))
    if len(sorted_names) <= _MAX_SINGLE_UPDATES:
        values = [{"of": name, "now": utc_now()} for name in sorted_names]
        return all([await connection.scalar(_TOUCH, one) is not None for one in values])
    ordered = sa.select(o.c.name).where(o.c.name.in_(sorted_names)).order_by(o.c.name).with_for_update()
    found = (await connection.scalars(ordered)).all()
    await connection.execute(sa.update(o).where(o.c.name.in_(found)).values(touched_at=utc_now()))
    return len(found) == len(sorted_names)


def path_of(name: str) -> str:
    """The path of an object. Raises NotFound for an invalid name."""
    if not _NAME.fullmatch(name):
        raise NotFound("there is no such object")
    return f"{name[:2]}/{name}"


def local_folder_of(settings: ObjectsSettings, default: Path) -> Path | None:
    """The folder of ``settings.url``; None for a remote store."""
    if settings.url is None:
        return default.resolve()
    url = urlsplit(settings.url)
    folder = Path(unquote(url.path))
    return folder if url.scheme == "file" and url.netloc in ("", "localhost") and folder.is_absolute() else None


def open_store(settings: ObjectsSettings, default: Path) -> ObjectStore:
    """The store of ``settings.url``; a local folder is created if missing."""
    options: Any = {name: value.get_secret_value() for name, value in settings.options.items()}
    client: Any = {"allow_http": True, **{name: options.pop(name) for name in _CLIENT_OPTIONS if name in options}}
    retries: Any = {"max_retries": 2, "retry_timeout": timedelta(seconds=settings.timeout_s)}
    try:
        if (folder := local_folder_of(settings, default)) is not None:
            return LocalStore(folder, mkdir=True)
        url = str(settings.url)
        if (parts := urlsplit(url)).password is not None or parts.query:
            raise InvalidRequest("must have no credentials in it; they go into objects.options", "objects.url")
        if parts.scheme not in _SCHEMES:
            raise InvalidRequest("must be file:///path, s3://bucket, gs://bucket or az://container", "objects.url")
        found: ObjectStore = from_url(url, config=options, retry_config=retries, client_options=client)
        return found
    except (BaseError, ValueError, TypeError, OSError) as error:
        reason = str(error).partition("\n")[0]
        for secret in settings.options.values():  # error messages quote some options
            reason = reason.replace(secret.get_secret_value() or "\n", "***")
        raise InvalidRequest(f"is no store that can be used: {reason}", "objects.url") from None


def _unused_query(before: datetime) -> sa.Select[str]:
    o = tables.objects
    no_references = [~sa.exists().where(column == o.c.name) for column in REFERENCE_COLUMNS]
    return sa.select(o.c.name).where(o.c.touched_at < before, *no_references)


async def named(files: Sequence[tuple[bytes, str]]) -> list[Stored]:
    """The names that `Objects.put_all` gives to ``files``."""
    if sum(len(data) for data, _ in files) < INLINE_BYTES:
        return _name_all(files)
    return await asyncio.to_thread(_name_all, files)


def _name_all(files: Sequence[tuple[bytes, str]]) -> list[Stored]:
    return [Stored(name_of(data, media_type), len(data)) for data, media_type in files]


def _delete_partial_uploads(folder: Path, older_than: timedelta) -> None:
    """Files of killed processes: obstore writes ``name#1`` and renames it."""
    before = time.time() - older_than.total_seconds()
    for path in folder.glob("??/*#*"):
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < before:
                path.unlink()


REFERENCE_COLUMNS: tuple[sa.Column[Any], ...] = (
    tables.results.c.object,
    tables.results.c.thumbnail,
    tables.cached_objects.c.object,
    tables.subject_references.c.object,
    tables.subject_references.c.thumbnail,
    tables.inputs.c.object,
)
"""Every column that refers to an object."""
