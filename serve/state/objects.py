"""Pictures and drawings in a folder, S3, GCS or Azure, each named by the SHA-256 of its content.

A row in ``objects`` is written before an object is put, and taken away in the transaction that deletes the object. So
whatever a process was killed in, there is no object without a row; and one that is deleted while somebody puts it again
is there afterwards. Nothing of a user's becomes part of a name.
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
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from serve.errors import InvalidRequest, NotFound, OutOfSpace, StateUnavailable
from serve.observability.metrics import catalogue
from serve.settings import ObjectsSettings, Settings
from serve.state import tables
from serve.state.database import Database
from serve.state.storage_metrics import measured
from serve.state.tables import UtcTime, utc_now

EXTENSIONS = {
    "image/png": "png", "image/jpeg": "jpg", "image/webp": "webp", "image/svg+xml": "svg", "image/gif": "gif",
    "application/octet-stream": "bin",
}  # fmt: skip
PIECE_BYTES = 1024 * 1024
_NAME = re.compile(r"[0-9a-f]{64}\.[a-z]{3,4}", re.ASCII)
_SCHEMES = ("s3", "s3a", "gs", "az", "azure", "adl", "abfs", "abfss")
_OF_CLIENTS = ("allow_http", "allow_invalid_certificates", "proxy_url", "proxy_ca_certificate", "user_agent")
"""Options that obstore takes apart from those of a store."""
FULL = ("No space left", "os error 28", "File too large", "StorageFull", "QuotaExceeded", "Disk quota")
_NO_STORE = "NoSuchBucket"


def name_of(data: bytes, media_type: str) -> str:
    """``data``'s SHA-256 in hex and what it is, such as ``3a7b….png``."""
    return f"{hashlib.sha256(data).hexdigest()}.{EXTENSIONS.get(media_type, 'bin')}"


@dataclass(frozen=True)
class Stored:
    """Where an object went."""

    name: str
    bytes: int


class Objects:
    """For one event loop; ``database`` keeps count of what is there."""

    def __init__(self, settings: Settings, database: Database) -> None:
        """Raises ``InvalidRequest`` for a URL of no store."""
        self._timeout_s = settings.objects.timeout_s
        self._delete_timeout_s = min(self._timeout_s, settings.database.timeout_s / 2)  # writers of SQLite wait for it
        self._database = database
        default = settings.state_dir / "objects"
        self._store = store_at(settings.objects, default)
        self._folder = log_folder(settings.objects, default)

    async def put(self, data: bytes, media_type: str) -> Stored:
        """Raises StateUnavailable, OutOfSpace. The same content twice is one object."""
        return (await self.put_all([(data, media_type)]))[0]

    async def put_all(self, files: Sequence[tuple[bytes, str]]) -> list[Stored]:
        """As ``put``, all of them with one entry in the database."""
        found = await asyncio.to_thread(_named, files)
        if found:
            await self._touch(found, [media_type for _, media_type in files])
        await asyncio.gather(*(self._put(one.name, data) for one, (data, _) in zip(found, files, strict=True)))
        return found

    async def get(self, name: str) -> bytes:
        """Raises NotFound, StateUnavailable."""
        path = path_of(name)
        async with self._asking("get", self._timeout_s):
            answer = await obstore.get_async(self._store, path)
            return bytes(await answer.bytes_async())

    async def read(self, name: str, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes from ``start`` up to, without, ``end``, in pieces. Raises as ``get``."""
        path = path_of(name)
        while start < end:
            stop = min(end, start + PIECE_BYTES)
            async with self._asking("get", self._timeout_s):
                piece = await obstore.get_range_async(self._store, path, start=start, end=stop)
            yield bytes(piece)
            start = stop

    async def delete_unused(self, older_than: timedelta, most: int = 1000) -> int:
        """Deletes up to ``most`` objects that nothing refers to and nobody has put for that long; how many.

        Raises StateUnavailable; what was deleted until then is.
        """
        unused = _unused(utc_now() - older_than)
        async with self._database.read() as connection:
            names = (await connection.scalars(unused.limit(most))).all()
        deleted = 0
        for name in names:
            deleted += await self._delete(name, unused)
        if self._folder is not None:
            await asyncio.to_thread(_delete_half_written, self._folder, older_than)
        return deleted

    async def check(self) -> None:
        """Raises StateUnavailable when the store does not answer."""
        async with self._asking("list", self._timeout_s):
            await self._find_folder()
            await anext(obstore.list(self._store, "00/", chunk_size=1).__aiter__(), None)

    async def _delete(self, name: str, unused: sa.Select[str]) -> bool:
        """``name``, if it is unused still. Who puts it again waits for the end of this, and puts after the deletion."""
        o = tables.objects
        victim = unused.where(o.c.name == name).with_for_update(skip_locked=True).scalar_subquery()
        async with self._database.write("delete") as connection:
            if await connection.scalar(sa.delete(o).where(o.c.name == victim).returning(o.c.name)) is None:
                return False
            with contextlib.suppress(NotFound):
                async with self._asking("delete", self._delete_timeout_s):
                    await obstore.delete_async(self._store, path_of(name))
        return True

    async def _touch(self, found: Sequence[Stored], kinds: Sequence[str]) -> None:
        insert = (sqlite if self._database.is_sqlite else postgresql).insert(tables.objects)
        now = utc_now()
        rows = {
            one.name: {"name": one.name, "bytes": one.bytes, "media_type": kind, "touched_at": now}
            for one, kind in zip(found, kinds, strict=True)
        }
        async with self._database.write() as connection:
            await connection.execute(
                insert.on_conflict_do_update(index_elements=["name"], set_={"touched_at": now}),
                [rows[name] for name in sorted(rows)],  # in one order: two that put the same do not wait for each other
            )

    async def _put(self, name: str, data: bytes) -> None:
        try:
            async with self._asking("put", self._timeout_s):
                await self._find_folder()
                await obstore.put_async(self._store, path_of(name), data, use_multipart=False)
        except NotFound as error:
            raise StateUnavailable("the object store is not there; try again") from error

    @contextlib.asynccontextmanager
    async def _asking(self, operation: str, timeout_s: float) -> AsyncIterator[None]:
        """Of the store: its errors are ours."""
        with measured(catalogue.STORE_SECONDS, operation), _errors_as_ours():
            async with asyncio.timeout(timeout_s):
                try:
                    yield
                except FileNotFoundError as error:
                    await self._find_folder()
                    if _NO_STORE in str(error):
                        raise StateUnavailable("the object store is not there; try again") from error
                    raise NotFound("this picture is no longer kept") from None

    async def _find_folder(self) -> None:
        """A folder that is gone, such as a disk that is not mounted, must not come again as another, empty one."""
        if self._folder is not None and not await asyncio.to_thread(self._folder.is_dir):
            raise StateUnavailable("the folder of the object store is not there; try again")


@contextlib.contextmanager
def _errors_as_ours() -> Iterator[None]:
    try:
        yield
    except (BaseError, OSError) as error:
        if any(text in str(error) for text in FULL):
            raise OutOfSpace("there is no space left to keep this; make room in the site's store") from error
        raise StateUnavailable("the object store does not answer; try again") from error


_FEW = 2
"""Names that are asked for one by one: the other way takes two questions, and must look at the names first."""
_TOUCH = (
    sa.update(tables.objects)
    .where(tables.objects.c.name == sa.bindparam("of"))
    .values(touched_at=sa.bindparam("now", type_=UtcTime))
    .returning(tables.objects.c.name)
)


async def hold(connection: AsyncConnection, names: Collection[str]) -> bool:
    """Whether the objects ``names`` are still there, for a transaction that adds uses of what it did not just put.

    If so, nobody deletes them before it ends, and they count as put now.
    """
    o, wanted = tables.objects, sorted(set(names))
    if len(wanted) <= _FEW:
        values = [{"of": name, "now": utc_now()} for name in wanted]
        return all([await connection.scalar(_TOUCH, one) is not None for one in values])
    ordered = sa.select(o.c.name).where(o.c.name.in_(wanted)).order_by(o.c.name).with_for_update()
    found = (await connection.scalars(ordered)).all()
    await connection.execute(sa.update(o).where(o.c.name.in_(found)).values(touched_at=utc_now()))
    return len(found) == len(wanted)


def path_of(name: str) -> str:
    """Where an object lies. Raises ``NotFound`` for what is no name of ours."""
    if not _NAME.fullmatch(name):
        raise NotFound("there is no such object")
    return f"{name[:2]}/{name}"


def log_folder(settings: ObjectsSettings, default: Path) -> Path | None:
    """The folder of ``settings.url``; none when it is elsewhere."""
    if settings.url is None:
        return default.resolve()
    url = urlsplit(settings.url)
    folder = Path(unquote(url.path))
    return folder if url.scheme == "file" and url.netloc in ("", "localhost") and folder.is_absolute() else None


def store_at(settings: ObjectsSettings, default: Path) -> ObjectStore:
    """The store of ``settings.url``; a folder is made when it is not there."""
    given: Any = {name: value.get_secret_value() for name, value in settings.options.items()}
    client: Any = {"allow_http": True, **{name: given.pop(name) for name in _OF_CLIENTS if name in given}}
    retries: Any = {"max_retries": 2, "retry_timeout": timedelta(seconds=settings.timeout_s)}
    try:
        if (folder := log_folder(settings, default)) is not None:
            return LocalStore(folder, mkdir=True)
        url = str(settings.url)
        if (parts := urlsplit(url)).password is not None or parts.query:
            raise InvalidRequest("must have no credentials in it; they go into objects.options", "objects.url")
        if parts.scheme not in _SCHEMES:
            raise InvalidRequest("must be file:///path, s3://bucket, gs://bucket or az://container", "objects.url")
        found: ObjectStore = from_url(url, config=given, retry_config=retries, client_options=client)
        return found
    except (BaseError, ValueError, TypeError, OSError) as error:
        reason = str(error).partition("\n")[0]
        for secret in settings.options.values():  # some are quoted in it
            reason = reason.replace(secret.get_secret_value() or "\n", "***")
        raise InvalidRequest(f"is no store that can be used: {reason}", "objects.url") from None


def _unused(before: datetime) -> sa.Select[str]:
    o = tables.objects
    nobody = [~sa.exists().where(user == o.c.name) for user in USES]
    return sa.select(o.c.name).where(o.c.touched_at < before, *nobody)


def _named(files: Sequence[tuple[bytes, str]]) -> list[Stored]:
    return [Stored(name_of(data, media_type), len(data)) for data, media_type in files]


def _delete_half_written(folder: Path, older_than: timedelta) -> None:
    """What a process was writing when it was killed: obstore writes ``name#1`` and renames it."""
    before = time.time() - older_than.total_seconds()
    for path in folder.glob("??/*#*"):
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < before:
                path.unlink()


USES: tuple[sa.Column[Any], ...] = (
    tables.results.c.object,
    tables.results.c.thumbnail,
    tables.cached_objects.c.object,
    tables.subject_references.c.object,
    tables.subject_references.c.thumbnail,
    tables.inputs.c.object,
)
"""Every column that names an object."""
