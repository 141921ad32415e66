"""Writes a backup: a consistent snapshot of all rows, then the objects that they refer to, while the site runs."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import IO, Any

import sqlalchemy as sa
from alembic.migration import MigrationContext
from sqlalchemy.ext.asyncio import AsyncConnection

from serve.errors import NotFound
from serve.state import State, tables
from serve.state.backups.format import (
    END_OF_ARCHIVE,
    FORMAT,
    MANIFEST,
    PIECE_BYTES,
    Manifest,
    ObjectsPart,
    ProgressCallback,
    TablePart,
    header,
    kind_of,
    no_progress,
    padding,
    to_lines,
)
from serve.state.backups.storage import BackupLocation, map_storage_errors, temporary_file
from serve.state.objects.objects import REFERENCE_COLUMNS
from serve.state.tables import utc_now

EXCLUDED_TABLES = frozenset(["workers", "flights", "lanes", "chores", "counters", "replicas"])
"""Runtime state, which is not restored."""
_ROWS_PER_BATCH = 200
_BLOB_ROWS_PER_BATCH = 4


@dataclass
class WrittenTable:
    """``file`` has its rows as lines. A file per table: the size must be known before a tar member is written."""

    name: str
    columns: dict[str, Any]
    file: IO[bytes]
    rows: int = 0
    bytes: int = 0
    sha256: Any = field(default_factory=hashlib.sha256)

    def add(self, rows: Sequence[sa.Row[Any]]) -> None:
        text = to_lines(list(self.columns.values()), rows)
        with map_storage_errors():
            self.file.write(text)
        self.sha256.update(text)
        self.rows += len(rows)
        self.bytes += len(text)

    def part(self) -> TablePart:
        digest = self.sha256.hexdigest()
        return TablePart(name=self.name, columns=self.columns, rows=self.rows, bytes=self.bytes, sha256=digest)


@dataclass(frozen=True)
class Snapshot:
    """``tables`` in the order in which they can be restored."""

    created_at: datetime
    revision: str
    tables: Sequence[WrittenTable]

    def objects(self) -> Iterator[tuple[str, int]]:
        """The names and sizes of all objects that the rows refer to."""
        table = next(table for table in self.tables if table.name == tables.objects.name)
        columns = list(table.columns)
        name, size = columns.index("name"), columns.index("bytes")
        table.file.seek(0)
        for line in table.file:
            row = json.loads(line)
            yield row[name], row[size]


async def take_snapshot(state: State, on_progress: ProgressCallback, files: contextlib.ExitStack) -> Snapshot:
    """All tables but ``EXCLUDED_TABLES``, and the rows of used objects. ``files`` closes the temporary files.

    Raises StateUnavailable, OutOfSpace.
    """
    created_at = utc_now()
    async with state.database.read() as connection:
        if not state.database.is_sqlite:  # where every transaction is a snapshot
            await connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        revision = await connection.run_sync(_revision)
        found = []
        for table in tables.metadata.sorted_tables:
            if table.name not in EXCLUDED_TABLES:
                columns = {column.name: kind_of(column.type) for column in table.columns}
                table_file = WrittenTable(table.name, columns, files.enter_context(temporary_file(state.settings)))
                await _copy_table(connection, table, table_file, on_progress)
                found.append(table_file)
    return Snapshot(created_at, revision, found)


def _revision(connection: sa.Connection) -> str:
    found = MigrationContext.configure(connection).get_current_revision()
    assert found is not None
    return found


async def _copy_table(
    connection: AsyncConnection, table: sa.Table, table_file: WrittenTable, on_progress: ProgressCallback
) -> None:
    at_once = _BLOB_ROWS_PER_BATCH if "bytes" in table_file.columns.values() else _ROWS_PER_BATCH
    query = sa.select(table)
    if table is tables.objects:
        query = query.where(sa.or_(*(sa.exists().where(use == table.c.name) for use in REFERENCE_COLUMNS)))
    rows = await connection.stream(query, execution_options={"yield_per": at_once})
    async for batch in rows.partitions():
        await asyncio.to_thread(table_file.add, batch)
        on_progress(f"table {table.name}", table_file.rows, None)


_CONCURRENT_OBJECTS = 8
_CONCURRENT_OBJECT_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True)
class Backup:
    """A finished backup. ``missing``: names of objects that rows refer to and that are absent or damaged; it is
    complete but for those."""

    location: str
    bytes: int
    rows: int
    objects: int
    missing: Sequence[str]


async def backup(
    state: State, target: str, on_progress: ProgressCallback = no_progress, *, scheduled: bool = False
) -> Backup:
    """Writes to the file, folder or URL ``target``, completely or not at all.

    Raises InvalidRequest naming ``target``, OutOfSpace, StateUnavailable.
    """
    location = await asyncio.to_thread(BackupLocation.parse, target, state.settings, scheduled)
    with contextlib.ExitStack() as files:
        writer = _BackupWriter(state, on_progress, files)
        await location.put(writer.pieces())
    rows = sum(table.rows for table in writer.manifest.tables)
    return Backup(location.display_name, writer.bytes, rows, writer.manifest.objects.count, writer.missing)


class _BackupWriter:
    """One backup in progress; ``manifest`` is set at its end."""

    manifest: Manifest

    def __init__(self, state: State, on_progress: ProgressCallback, files: contextlib.ExitStack) -> None:
        self._state = state
        self._on_progress = on_progress
        self._files = files
        self._mtime = int(time.time())
        self.bytes = 0
        self.missing: list[str] = []

    async def pieces(self) -> AsyncIterator[bytes]:
        """The bytes of the file."""
        async for piece in self._members():
            self.bytes += len(piece)
            yield piece

    async def _members(self) -> AsyncIterator[bytes]:
        rows = await take_snapshot(self._state, self._on_progress, self._files)
        for table in rows.tables:
            yield header(f"tables/{table.name}.jsonl", table.bytes, self._mtime)
            with map_storage_errors():
                await asyncio.to_thread(table.file.seek, 0)
                while piece := await asyncio.to_thread(table.file.read, PIECE_BYTES):
                    yield piece
            yield padding(table.bytes)
        count, total, names = 0, 0, hashlib.sha256()
        async for name, data in self._objects(rows):
            yield header(f"objects/{name}", len(data), self._mtime)
            for start in range(0, len(data), PIECE_BYTES):
                yield data[start : start + PIECE_BYTES]
            yield padding(len(data))
            names.update(f"{name}\n".encode())
            count, total = count + 1, total + len(data)
        objects = ObjectsPart(count=count, bytes=total, missing=len(self.missing), sha256=names.hexdigest())
        self.manifest = Manifest(
            format=FORMAT,
            revision=rows.revision,
            created_at=rows.created_at,
            tables=tuple(table.part() for table in rows.tables),
            objects=objects,
        ).signed()
        text = self.manifest.to_bytes()
        yield header(MANIFEST, len(text), self._mtime) + text + padding(len(text)) + END_OF_ARCHIVE

    async def _objects(self, rows: Snapshot) -> AsyncIterator[tuple[str, bytes]]:
        """Every object of the rows that exists and whose content matches its name."""
        done, total = 0, next(table.rows for table in rows.tables if table.name == "objects")
        for names in _groups(rows.objects()):
            read = await asyncio.gather(*(self._object(name) for name in names))
            for name, data in zip(names, read, strict=True):
                if data is None:
                    self.missing.append(name)
                else:
                    yield name, data
            done += len(names)
            self._on_progress("objects", done, total)

    async def _object(self, name: str) -> bytes | None:
        try:
            data = await self._state.objects.get(name)
        except NotFound:
            return None
        digest = await asyncio.to_thread(lambda: hashlib.sha256(data).hexdigest())
        return data if digest == name.partition(".")[0] else None


def _groups(objects: Iterator[tuple[str, int]]) -> Iterator[list[str]]:
    """Names of objects that are read concurrently."""
    names: list[str] = []
    batch_bytes = 0
    for name, size in objects:
        if names and (len(names) == _CONCURRENT_OBJECTS or batch_bytes + size > _CONCURRENT_OBJECT_BYTES):
            yield names
            names, batch_bytes = [], 0
        names.append(name)
        batch_bytes += size
    if names:
        yield names
