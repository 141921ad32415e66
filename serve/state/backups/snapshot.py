"""All rows as they were at one moment, in files of their own: how long each is has to be known before it is sent."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import IO, Any

import sqlalchemy as sa
from alembic.migration import MigrationContext
from sqlalchemy.ext.asyncio import AsyncConnection

from serve.state import State, tables
from serve.state.backups.format import TablePart
from serve.state.backups.places import spool, store_errors
from serve.state.backups.progress import Report
from serve.state.backups.rows import kind_of, to_lines
from serve.state.objects import USES
from serve.state.tables import utc_now

LEFT_OUT = frozenset(["workers", "flights", "lanes", "chores", "counters", "replicas"])
"""What is true of processes that run, or of now: it is not put back."""
_ROWS_AT_ONCE = 200
_BLOBS_AT_ONCE = 4


@dataclass
class WrittenTable:
    """``file`` has its rows as lines."""

    name: str
    columns: dict[str, Any]
    file: IO[bytes]
    rows: int = 0
    bytes: int = 0
    sha256: Any = field(default_factory=hashlib.sha256)

    def add(self, rows: Sequence[sa.Row[Any]]) -> None:
        text = to_lines(list(self.columns.values()), rows)
        with store_errors():
            self.file.write(text)
        self.sha256.update(text)
        self.rows += len(rows)
        self.bytes += len(text)

    def part(self) -> TablePart:
        digest = self.sha256.hexdigest()
        return TablePart(name=self.name, columns=self.columns, rows=self.rows, bytes=self.bytes, sha256=digest)


@dataclass(frozen=True)
class Snapshot:
    """``tables`` in the order in which they can be put back."""

    created_at: datetime
    revision: str
    tables: Sequence[WrittenTable]

    def objects(self) -> Iterator[tuple[str, int]]:
        """The names and sizes of all that the rows name."""
        table = next(table for table in self.tables if table.name == tables.objects.name)
        columns = list(table.columns)
        name, size = columns.index("name"), columns.index("bytes")
        table.file.seek(0)
        for line in table.file:
            row = json.loads(line)
            yield row[name], row[size]


async def take(state: State, report: Report, files: contextlib.ExitStack) -> Snapshot:
    """Of everything but ``LEFT_OUT``, and of the objects those that are used. ``files`` is what closes its files.

    Raises StateUnavailable, OutOfSpace.
    """
    created_at = utc_now()
    async with state.database.read() as connection:
        if not state.database.is_sqlite:  # which shows one moment in any transaction
            await connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        revision = await connection.run_sync(_revision)
        found = []
        for table in tables.metadata.sorted_tables:
            if table.name not in LEFT_OUT:
                columns = {column.name: kind_of(column.type) for column in table.columns}
                made = WrittenTable(table.name, columns, files.enter_context(spool(state.settings)))
                await _fill(connection, table, made, report)
                found.append(made)
    return Snapshot(created_at, revision, found)


def _revision(connection: sa.Connection) -> str:
    found = MigrationContext.configure(connection).get_current_revision()
    assert found is not None
    return found


async def _fill(connection: AsyncConnection, table: sa.Table, made: WrittenTable, report: Report) -> None:
    at_once = _BLOBS_AT_ONCE if "bytes" in made.columns.values() else _ROWS_AT_ONCE
    query = sa.select(table)
    if table is tables.objects:
        query = query.where(sa.or_(*(sa.exists().where(use == table.c.name) for use in USES)))
    rows = await connection.stream(query, execution_options={"yield_per": at_once})
    async for some in rows.partitions():
        await asyncio.to_thread(made.add, some)
        report(f"table {table.name}", made.rows, None)
