"""Reads a backup: verifies all of it first, then inserts its rows into empty tables."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO, Any

import sqlalchemy as sa
from sqlalchemy.exc import DataError, IntegrityError, ProgrammingError
from sqlalchemy.ext.asyncio import AsyncConnection

from serve.state.backups.format import (
    BLOCK,
    MANIFEST,
    PIECE_BYTES,
    TYPES,
    BadBackup,
    Kind,
    Manifest,
    ProgressCallback,
    TablePart,
    from_line,
    kind_of,
    next_member,
)
from serve.state.backups.storage import map_storage_errors

_ROWS_PER_BATCH = 500
_BYTES_PER_BATCH = 4 * 1024 * 1024
_OBJECTS_PER_BATCH = 16
_OBJECT_BYTES_PER_BATCH = 16 * 1024 * 1024
_MAX_LINE_BYTES = 256 * 1024 * 1024
_MAX_OBJECT_BYTES = 1024 * 1024 * 1024


@dataclass(frozen=True)
class Member:
    """The position of a member in the file."""

    name: str
    start: int
    bytes: int


@dataclass
class VerifiedBackup:
    """A backup whose checksums are correct. ``tables`` by name."""

    file: IO[bytes]
    manifest: Manifest
    tables: dict[str, Member]
    first_object: int

    def rows(self, table: TablePart) -> Iterator[list[dict[str, Any]]]:
        """In batches. Raises BadBackup for malformed rows, despite their correct checksum."""
        self.file.seek(self.tables[table.name].start)
        batch: list[dict[str, Any]] = []
        left, batch_bytes = table.bytes, 0
        while left:
            line = self.file.readline(min(left, _MAX_LINE_BYTES))
            if not line.endswith(b"\n"):
                raise BadBackup(f"it has a row of {table.name} without an end")
            batch.append(from_line(table.columns, line))
            left, batch_bytes = left - len(line), batch_bytes + len(line)
            if len(batch) == _ROWS_PER_BATCH or batch_bytes > _BYTES_PER_BATCH:
                yield batch
                batch, batch_bytes = [], 0
        if batch:
            yield batch

    def objects(self) -> Iterator[list[tuple[str, bytes]]]:
        """In batches of (name, data)."""
        self.file.seek(self.first_object)
        batch: list[tuple[str, bytes]] = []
        batch_bytes = 0
        for _ in range(self.manifest.objects.count):
            member = _next(self.file)
            batch.append((member.name.removeprefix("objects/"), self.file.read(member.bytes)))
            self.file.seek(-member.bytes % BLOCK, os.SEEK_CUR)
            batch_bytes += member.bytes
            if len(batch) == _OBJECTS_PER_BATCH or batch_bytes > _OBJECT_BYTES_PER_BATCH:
                yield batch
                batch, batch_bytes = [], 0
        if batch:
            yield batch


def verify(file: IO[bytes], on_progress: Callable[[int], None]) -> VerifiedBackup:
    """Reads ``file`` from start to end; ``on_progress`` gets the position. Blocks: call it in a thread.

    Raises BadBackup.
    """
    with map_storage_errors():
        return _Verification(file, on_progress).run()


@dataclass
class _Verification:
    file: IO[bytes]
    on_progress: Callable[[int], None]
    tables: dict[str, Member] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    names: Any = field(default_factory=hashlib.sha256)
    first_object: int = 0
    objects: int = 0
    object_bytes: int = 0

    def run(self) -> VerifiedBackup:
        while (member := _next(self.file)).name != MANIFEST:
            if member.name.startswith("tables/"):
                self._table(member)
            else:
                self._object(member)
        manifest = Manifest.parse(b"".join(self._pieces(member)))
        if next_member(self.file) is not None:
            raise BadBackup("it goes on behind its manifest")
        self._compare(manifest)
        return VerifiedBackup(self.file, manifest, self.tables, self.first_object)

    def _pieces(self, member: Member) -> Iterator[bytes]:
        left = member.bytes
        while left:
            piece = self.file.read(min(left, PIECE_BYTES))
            if not piece:
                raise BadBackup("it is cut short")
            left -= len(piece)
            yield piece
        if self.file.read(-member.bytes % BLOCK).strip(b"\0"):
            raise BadBackup("it has something between its members")
        self.on_progress(self.file.tell())

    def _table(self, member: Member) -> None:
        name = member.name.removeprefix("tables/").removesuffix(".jsonl")
        if self.objects or name in self.tables:
            raise BadBackup("its tables are not in order")
        digest, rows = hashlib.sha256(), 0
        for piece in self._pieces(member):
            digest.update(piece)
            rows += piece.count(b"\n")
        self.tables[name], self.digests[name], self.rows[name] = member, digest.hexdigest(), rows

    def _object(self, member: Member) -> None:
        name = member.name.removeprefix("objects/")
        if member.bytes > _MAX_OBJECT_BYTES:
            raise BadBackup(f"it has an object of more than {_MAX_OBJECT_BYTES} bytes")
        digest = hashlib.sha256()
        for piece in self._pieces(member):
            digest.update(piece)
        if digest.hexdigest() != name.partition(".")[0]:
            raise BadBackup(f"its object {name} is damaged")
        self.first_object = self.first_object or member.start - BLOCK
        self.names.update(f"{name}\n".encode())
        self.objects += 1
        self.object_bytes += member.bytes

    def _compare(self, manifest: Manifest) -> None:
        """Compares the content with the manifest."""
        if list(self.tables) != [table.name for table in manifest.tables]:
            raise BadBackup("it has other tables than it should")
        for table in manifest.tables:
            actual = (self.tables[table.name].bytes, self.rows[table.name], self.digests[table.name])
            if actual != (table.bytes, table.rows, table.sha256):
                raise BadBackup(f"its table {table.name} is damaged")
        part = manifest.objects
        if (self.objects, self.object_bytes, self.names.hexdigest()) != (part.count, part.bytes, part.sha256):
            raise BadBackup("it has other objects than it should")


def _next(file: IO[bytes]) -> Member:
    backup = next_member(file)
    if backup is None:
        raise BadBackup("it has no manifest: its making was cut short")
    return Member(backup[0], file.tell(), backup[1])


async def checked(file: IO[bytes], on_progress: Callable[[int], None]) -> VerifiedBackup:
    """As ``check``, off the event loop."""
    return await asyncio.to_thread(verify, file, on_progress)


Schema = Mapping[str, Mapping[str, Kind | None]]


async def insert_rows(connection: AsyncConnection, backup: VerifiedBackup, report: ProgressCallback) -> None:
    """Within a transaction, at the backup's own schema revision. Raises BadBackup for rows that do not fit it."""
    schema = await connection.run_sync(_schema)
    try:
        for part in backup.manifest.tables:
            _check_columns(part, schema)
            await _insert_table(connection, backup, part, report)
            await _advance_sequence(connection, part)
    except (IntegrityError, DataError, ProgrammingError) as error:
        raise BadBackup(f"its rows contradict each other ({type(error).__name__})") from error


def _schema(connection: sa.Connection) -> Schema:
    """The tables and column kinds of the database."""
    inspector = sa.inspect(connection)
    columns = {name: inspector.get_columns(name) for name in inspector.get_table_names()}
    return {name: {column["name"]: kind_of(column["type"]) for column in backup} for name, backup in columns.items()}


def _check_columns(part: TablePart, schema: Schema) -> None:
    known = schema.get(part.name, {})
    for name, kind in part.columns.items():
        if known.get(name) != kind:
            raise BadBackup(f"it has a column {part.name}.{name} of kind {kind}, which its schema has not")


async def _insert_table(
    connection: AsyncConnection, backup: VerifiedBackup, part: TablePart, report: ProgressCallback
) -> None:
    columns = [sa.column(name, TYPES[kind]) for name, kind in part.columns.items()]
    insert = sa.table(part.name, *columns).insert()
    batches = backup.rows(part)
    done = 0
    while (rows := await asyncio.to_thread(next, batches, None)) is not None:
        await connection.execute(insert, rows)
        done += len(rows)
        report(f"table {part.name}", done, part.rows)


async def _advance_sequence(connection: AsyncConnection, part: TablePart) -> None:
    """PostgreSQL's sequences continue after the largest number; SQLite's do so by themselves."""
    if connection.dialect.name == "sqlite":
        return
    for name, kind in part.columns.items():
        counter = await connection.scalar(sa.select(sa.func.pg_get_serial_sequence(part.name, name)))
        if kind == "whole" and counter is not None:
            column: sa.ColumnClause[int] = sa.column(name)
            largest = sa.select(sa.func.max(column)).select_from(sa.table(part.name, column)).scalar_subquery()
            await connection.execute(
                sa.select(sa.func.setval(counter, sa.func.coalesce(largest, 1), largest.is_not(None)))
            )
