"""Rows of a backup into tables that are empty."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy.exc import DataError, IntegrityError, ProgrammingError
from sqlalchemy.ext.asyncio import AsyncConnection

from serve.state.backups.format import BadBackup, Kind, TablePart
from serve.state.backups.progress import Report
from serve.state.backups.reading import Found
from serve.state.backups.rows import TYPES, kind_of

Schema = Mapping[str, Mapping[str, Kind | None]]


async def load(connection: AsyncConnection, found: Found, report: Report) -> None:
    """Within a transaction, at the backup's own revision of the schema. Raises BadBackup for what does not fit it."""
    schema = await connection.run_sync(_schema)
    try:
        for part in found.manifest.tables:
            _refuse_strangers(part, schema)
            await _fill(connection, found, part, report)
            await _count_on(connection, part)
    except (IntegrityError, DataError, ProgrammingError) as error:
        raise BadBackup(f"its rows contradict each other ({type(error).__name__})") from error


def _schema(connection: sa.Connection) -> Schema:
    """What the database says of its tables."""
    inspector = sa.inspect(connection)
    columns = {name: inspector.get_columns(name) for name in inspector.get_table_names()}
    return {name: {column["name"]: kind_of(column["type"]) for column in found} for name, found in columns.items()}


def _refuse_strangers(part: TablePart, schema: Schema) -> None:
    known = schema.get(part.name, {})
    for name, kind in part.columns.items():
        if known.get(name) != kind:
            raise BadBackup(f"it has a column {part.name}.{name} of kind {kind}, which its schema has not")


async def _fill(connection: AsyncConnection, found: Found, part: TablePart, report: Report) -> None:
    columns = [sa.column(name, TYPES[kind]) for name, kind in part.columns.items()]
    insert = sa.table(part.name, *columns).insert()
    batches = found.rows(part)
    done = 0
    while (rows := await asyncio.to_thread(next, batches, None)) is not None:
        await connection.execute(insert, rows)
        done += len(rows)
        report(f"table {part.name}", done, part.rows)


async def _count_on(connection: AsyncConnection, part: TablePart) -> None:
    """PostgreSQL's counters go on behind the largest number; SQLite's do so by themselves."""
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
