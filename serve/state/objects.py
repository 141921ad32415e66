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
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import obstore
import sqlalchemy as sa
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import LocalStore, ObjectStore, from_url
from sqlalchemy.dialects import postgresql, sqlite

from serve.errors import InvalidRequest, NotFound, OutOfSpace, StateUnavailable
from serve.settings import ObjectsSettings, Settings
from serve.state import tables
from serve.state.database import Database
from serve.state.tables import utc_now

EXTENSIONS = {
    "image/png": "png", "image/jpeg": "jpg", "image/webp": "webp", "image/svg+xml": "svg", "image/gif": "gif",
    "application/octet-stream": "bin",
}  # fmt: skip
_NAME = re.compile(r"[0-9a-f]{64}\.[a-z]{3,4}", re.ASCII)
_PIECE_BYTES = 256 * 1024
_FULL = ("No space left", "os error 28", "StorageFull", "QuotaExceeded", "Disk quota")


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
        self._database = database
        self._store = store_at(settings.objects, settings.state_dir / "objects")

    async def put(self, data: bytes, media_type: str) -> Stored:
        """Raises StateUnavailable, OutOfSpace. The same content twice is one object."""
        return (await self.put_all([(data, media_type)]))[0]

    async def put_all(self, files: Sequence[tuple[bytes, str]]) -> list[Stored]:
        """As ``put``, all of them with one entry in the database."""
        found = [Stored(name_of(data, media_type), len(data)) for data, media_type in files]
        kinds = [media_type for _, media_type in files]
        if found:
            await self._touch(found, kinds)
        await asyncio.gather(*(self._put(one.name, data) for one, (data, _) in zip(found, files, strict=True)))
        return found

    async def get(self, name: str) -> bytes:
        """Raises NotFound, StateUnavailable."""
        with self._errors():
            async with asyncio.timeout(self._timeout_s):
                answer = await obstore.get_async(self._store, path_of(name))
                return bytes(await answer.bytes_async())

    async def read(self, name: str, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes from ``start`` up to, without, ``end``, in pieces."""
        while start < end:
            stop = min(end, start + _PIECE_BYTES)
            with self._errors():
                async with asyncio.timeout(self._timeout_s):
                    piece = await obstore.get_range_async(self._store, path_of(name), start=start, end=stop)
            yield bytes(piece)
            start = stop

    async def delete_unused(self, older_than: timedelta, most: int = 1000) -> int:
        """Deletes up to ``most`` objects that nothing refers to and nobody has put for that long; how many."""
        o = tables.objects
        nobody = [~sa.exists().where(user == o.c.name) for user in _USES]
        unused = sa.select(o.c.name).where(o.c.touched_at < utc_now() - older_than, *nobody)
        deleted = 0
        while deleted < most:
            # One at a time: who puts it again waits for this transaction, and then puts after the deletion.
            async with self._database.write() as connection:
                victim = unused.limit(1).with_for_update(skip_locked=True).scalar_subquery()
                name = await connection.scalar(sa.delete(o).where(o.c.name == victim).returning(o.c.name))
                if name is None:
                    break
                with contextlib.suppress(NotFound), self._errors():
                    await obstore.delete_async(self._store, path_of(name))
            deleted += 1
        return deleted

    async def check(self) -> None:
        """Raises StateUnavailable when the store does not answer."""
        with contextlib.suppress(NotFound), self._errors():
            async with asyncio.timeout(self._timeout_s):
                await obstore.head_async(self._store, path_of("0" * 64 + ".bin"))

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
        with self._errors():
            async with asyncio.timeout(self._timeout_s):
                await obstore.put_async(self._store, path_of(name), data)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (NotFoundError, FileNotFoundError):
            raise NotFound("this picture is no longer kept") from None
        except (BaseError, OSError) as error:
            if any(text in str(error) for text in _FULL):
                raise OutOfSpace("there is no space left to keep this; make room in the site's store") from error
            raise StateUnavailable("the object store does not answer; try again") from error


def path_of(name: str) -> str:
    """Where an object lies. Raises ``NotFound`` for what is no name of ours."""
    if not _NAME.fullmatch(name):
        raise NotFound("there is no such object")
    return f"{name[:2]}/{name}"


def store_at(settings: ObjectsSettings, default: Path) -> ObjectStore:
    """The store of ``settings.url``; a folder is made when it is not there."""
    url = settings.url or default.resolve().as_uri()
    options: Any = {name: value.get_secret_value() for name, value in settings.options.items()}
    try:
        if url.startswith("file:"):
            return LocalStore(url.removeprefix("file://"), mkdir=True)
        retries: Any = {"max_retries": 2, "retry_timeout": timedelta(seconds=settings.timeout_s)}
        found: ObjectStore = from_url(url, config=options, retry_config=retries, client_options={"allow_http": True})
        return found
    except (BaseError, ValueError, TypeError) as error:
        raise InvalidRequest(f"is no store that can be used: {str(error).splitlines()[0]}", "objects.url") from None


_USES: tuple[sa.Column[Any], ...] = (
    tables.results.c.object,
    tables.results.c.thumbnail,
    tables.cached_objects.c.object,
    tables.subject_references.c.object,
    tables.subject_references.c.thumbnail,
    tables.inputs.c.object,
)
"""Every column that names an object."""
