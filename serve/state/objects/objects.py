"""The object store: pictures and drawings in a folder, S3, GCS or Azure, named by the SHA-256 of their content.

A row of ``objects`` is written before an object is put, and deleted in the transaction that deletes the object. So
wherever a process is killed, no object is without a row, and an object that is put while it is being deleted exists
afterwards. Names contain no user data.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import obstore
import sqlalchemy as sa
from obstore.exceptions import BaseError
from sqlalchemy.ext.asyncio import AsyncConnection

from serve.errors import NotFound, OutOfSpace, StateUnavailable
from serve.observability.metrics import catalogue
from serve.settings import Settings
from serve.state import tables
from serve.state.database import Database, database_url, measured
from serve.state.objects.names import Stored, named, path_of
from serve.state.objects.stores import local_folder_of, open_store
from serve.state.tables import UtcTime, insert_into, utc_now
from serve.state.write_batches import Write

PIECE_BYTES = 1024 * 1024
FULL_MESSAGES = ("No space left", "os error 28", "File too large", "StorageFull", "QuotaExceeded", "Disk quota")
_NO_BUCKET = "NoSuchBucket"


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


def object_reader(settings: Settings) -> Callable[[str], Awaitable[bytes]]:
    """`Objects.get` of a site, for a process that has no `State`. The database is not used."""
    return Objects(settings, Database(database_url(settings), settings.database)).get


def _unused_query(before: datetime) -> sa.Select[str]:
    o = tables.objects
    no_references = [~sa.exists().where(column == o.c.name) for column in REFERENCE_COLUMNS]
    return sa.select(o.c.name).where(o.c.touched_at < before, *no_references)


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
    tables.loras.c.object,
)
"""Every column that refers to an object."""
