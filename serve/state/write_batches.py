"""Batches of writes, past SQLAlchemy; on SQLite the batches of the same moment in one transaction and one thread hop.

A `Write` is a statement with its rows, and a batch is what one request writes: all of it, or nothing. SQLAlchemy builds
a statement once; here its text and the conversions of its parameters are kept, so that a batch costs little more than
the database's own work. PostgreSQL has a transaction for each batch: it groups what it flushes itself, and transactions
of several requests would lock rows in different orders.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.asyncio import AsyncConnection

from serve.state.sqlite import Connection, SqliteWriteLock, connect

Row = Mapping[str, Any]
_COUNTED = {"preserve_rowcount": True}
"""SQLAlchemy's option for the number of inserted rows."""


@dataclass(frozen=True, eq=False)
class Write:
    """``statement`` is kept by its caller, and has no values of its own, as it is compiled once. ``required``: without
    a row that it changes, nothing of the batch is written."""

    statement: sa.Insert | sa.Update | sa.Delete
    rows: Sequence[Row]
    required: bool = False


async def execute(connection: AsyncConnection, writes: Sequence[Write]) -> bool:
    """``writes`` in the transaction of ``connection``; False at the first required one that changes no row."""
    for write in writes:
        rows: Any = write.rows[0] if len(write.rows) == 1 else list(write.rows)
        options = _COUNTED if write.required else None
        result = await connection.execute(write.statement, rows, execution_options=options)
        if write.required and result.rowcount < 1:
            return False
    return True


@dataclass(frozen=True)
class _Prepared:
    """``names`` of the parameters in their order, each with its conversion and its default."""

    text: str
    names: Sequence[tuple[str, Callable[[Any], Any] | None, Any]]

    def values(self, row: Row) -> list[Any]:
        values = []
        for name, convert, default in self.names:
            value = row.get(name, default)
            values.append(value if convert is None else convert(value))
        return values


Statement = tuple[str, Sequence[Sequence[Any]], bool]
"""A text for the driver, the parameters of each row, and whether a row has to change."""


class Statements:
    """Writes as the driver takes them; each is compiled once."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._prepared: dict[tuple[Any, tuple[str, ...]], _Prepared] = {}

    def of(self, write: Write) -> Statement:
        columns = tuple(write.rows[0])
        prepared = self._prepared.get((write.statement, columns))
        if prepared is None:
            prepared = self._prepared[write.statement, columns] = self._prepare(write.statement, columns)
        return prepared.text, [prepared.values(row) for row in write.rows], write.required

    def _prepare(self, statement: Any, columns: tuple[str, ...]) -> _Prepared:
        insert = {"column_keys": list(columns)} if isinstance(statement, sa.Insert) else {}
        compiled: Any = statement.compile(dialect=self._dialect, **insert)
        convert = compiled._bind_processors
        return _Prepared(
            compiled.string,
            [(name, convert.get(name), compiled.binds[name].value) for name in compiled.positiontup],
        )


@dataclass(eq=False)
class _Batch:
    statements: Sequence[Statement]
    done: asyncio.Future[bool]


class SqliteWriter:
    """For one event loop; close it. ``lock`` is that of all writers."""

    def __init__(self, path: str, timeout_s: float, lock: SqliteWriteLock, dialect: Dialect) -> None:
        self._path = path
        self._timeout_s = timeout_s
        self._lock = lock
        self._statements = Statements(dialect)
        self._connection: Connection | None = None
        self._pending: list[_Batch] = []
        self._flushing: asyncio.Task[None] | None = None

    async def close(self) -> None:
        if self._flushing is not None:
            await asyncio.gather(self._flushing, return_exceptions=True)
        if self._connection is not None:
            await self._connection.close()

    async def write(self, writes: Sequence[Write]) -> bool:
        """False if a required write changed no row; then nothing of the batch is written."""
        batch = _Batch([self._statements.of(one) for one in writes], asyncio.get_running_loop().create_future())
        self._pending.append(batch)
        if self._flushing is None or self._flushing.done():
            # A context of its own: the transaction belongs to no request.
            self._flushing = asyncio.create_task(self._flush(), context=contextvars.Context())
        return await batch.done

    async def _flush(self) -> None:
        """Writes until nothing is pending. Batches that arrive meanwhile are the next transaction."""
        while self._pending:
            batches: list[_Batch] = []
            try:
                async with self._lock:
                    batches, self._pending = [one for one in self._pending if not one.done.done()], []
                    if self._connection is None:
                        self._connection = await self._open()
                    outcomes = await self._connection.run(_run_all, [one.statements for one in batches])
            except BaseException as error:
                if not batches:  # the lock is not to be had
                    batches, self._pending = self._pending, []
                for batch in batches:
                    _set(batch.done, error)
                await self._reset()
                if not isinstance(error, Exception):
                    raise
            else:
                for batch, outcome in zip(batches, outcomes, strict=True):
                    _set(batch.done, outcome)

    async def _reset(self) -> None:
        """Closes a connection that has failed; the next batch opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error, ValueError):
                await connection.close()

    async def _open(self) -> Connection:
        connection = await connect(self._path, self._timeout_s)
        await connection.run(_prepare_connection)
        return connection


def _set(future: asyncio.Future[bool], outcome: bool | BaseException) -> None:
    if future.done():
        return
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    elif isinstance(outcome, BaseException):
        future.cancel()
    else:
        future.set_result(outcome)


def _prepare_connection(connection: sqlite3.Connection) -> None:
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _run_all(connection: sqlite3.Connection, batches: Sequence[Sequence[Statement]]) -> list[bool | Exception]:
    """One transaction; a batch that fails is undone alone."""
    outcomes: list[bool | Exception] = []
    connection.execute("BEGIN IMMEDIATE")
    try:
        for batch in batches:
            connection.execute("SAVEPOINT batch")
            try:
                written: bool | Exception = _run(connection, batch)
            except (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.ProgrammingError) as error:
                written = error
            if written is not True:
                connection.execute("ROLLBACK TO batch")
            connection.execute("RELEASE batch")
            outcomes.append(written)
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise
    return outcomes


def _run(connection: sqlite3.Connection, batch: Sequence[Statement]) -> bool:
    for text, rows, required in batch:
        cursor = connection.execute(text, rows[0]) if len(rows) == 1 else connection.executemany(text, rows)
        if required and cursor.rowcount < 1:
            return False
    return True


async def run_on_postgresql(connection: AsyncConnection, batch: Sequence[Statement]) -> bool:
    """``batch`` in a transaction of its own on a connection without one; False if a required write changed no row.

    Raises the errors of SQLAlchemy. A connection whose state is unknown is not used again.
    """
    import asyncpg

    driver: Any = (await connection.get_raw_connection()).driver_connection
    if driver.is_closed():  # while it was idle
        await connection.invalidate()
        driver = (await connection.get_raw_connection()).driver_connection
    try:
        transaction = driver.transaction()
        await transaction.start()
        try:
            written = await _run_all_of(driver, batch)
        except BaseException:
            await transaction.rollback()
            raise
        await (transaction.commit() if written else transaction.rollback())
    except asyncpg.PostgresError as error:
        if driver.is_closed():
            await _give_up(connection)
        raise _of_sqlalchemy(error) from error
    except BaseException as error:
        await _give_up(connection)
        if isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError):
            raise _of_sqlalchemy(error) from error
        raise
    return written


async def _give_up(connection: AsyncConnection) -> None:
    """Does not use it again; nor, after a server that ended, the idle ones beside it."""
    await connection.invalidate()
    task = asyncio.current_task()
    if task is None or not task.cancelling():
        await connection.engine.dispose()


async def _run_all_of(driver: Any, batch: Sequence[Statement]) -> bool:
    for text, rows, required in batch:
        if len(rows) > 1 and not required:
            await driver.executemany(text, rows)
            continue
        changed = 0
        for row in rows:
            status: str = await driver.execute(text, *row)  # such as "INSERT 0 1"
            changed += int(status.rpartition(" ")[2])
        if required and changed < 1:
            return False
    return True


def _of_sqlalchemy(error: Exception) -> sa.exc.DBAPIError:
    """As SQLAlchemy wraps it."""
    import asyncpg

    kinds: Sequence[tuple[type[Exception], type[sa.exc.DBAPIError]]] = (
        (asyncpg.IntegrityConstraintViolationError, sa.exc.IntegrityError),
        (asyncpg.DataError, sa.exc.DataError),
        (asyncpg.SyntaxOrAccessError, sa.exc.ProgrammingError),
    )
    kind = next((ours for theirs, ours in kinds if isinstance(error, theirs)), sa.exc.OperationalError)
    return kind("a batch of writes", None, error, hide_parameters=True)
