"""SQLite connections for asyncio: fewer thread hops than aiosqlite, and a fair write lock between processes."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import aiosqlite
from aiosqlite.core import _connection_worker_thread

from serve.errors import StateUnavailable

_FIRST_ROWS = 32
"""Small, since some rows have blobs."""


class Cursor(aiosqlite.Cursor):
    """Fetches the first rows, which are usually all, in the same thread hop as the statement.

    aiosqlite needs a hop to the connection's thread and back for each of cursor, statement, rows and close, which takes
    longer than SQLite's own work.
    """

    def __init__(self, connection: aiosqlite.Connection, cursor: sqlite3.Cursor) -> None:
        super().__init__(connection, cursor)
        self._rows: list[Any] = []
        self._exhausted = True
        """Whether SQLite is done with the statement."""

    async def execute(self, sql: str, parameters: Iterable[Any] | None = None) -> Cursor:
        self._exhausted = False
        await self._execute(self._run, sql, () if parameters is None else parameters)  # type: ignore[no-untyped-call]
        return self

    async def fetchone(self) -> Any:
        return next(iter(await self.fetchmany(1)), None)

    async def fetchmany(self, size: int | None = None) -> Iterable[Any]:
        count = self.arraysize if size is None else size
        rows, self._rows = self._rows[:count], self._rows[count:]
        remaining = count - len(rows)
        return rows if self._exhausted or not remaining else [*rows, *await super().fetchmany(remaining)]

    async def fetchall(self) -> Iterable[Any]:
        rows, self._rows = self._rows, []
        return rows if self._exhausted else [*rows, *await super().fetchall()]

    async def close(self) -> None:
        if not self._exhausted:  # more rows are left, or the statement was abandoned
            await super().close()

    def _run(self, sql: str, parameters: Iterable[Any]) -> None:
        self._cursor.execute(sql, parameters)  # type: ignore[arg-type]
        self._rows = self._cursor.fetchmany(_FIRST_ROWS)
        self._exhausted = len(self._rows) < _FIRST_ROWS


class Connection(aiosqlite.Connection):
    """Begins a transaction with its first statement, and ends a read-only one without waiting for the thread.

    It rolls back before it closes: a task cancelled in a transaction leaves unread statements; SQLite then keeps a
    closed connection, with its lock on the file, until Python has collected the last of them.
    """

    _pending_begin: str | None = None
    """The BEGIN that precedes the next statement."""
    _writes = False
    _in_transaction = False
    """Whether there may be a transaction, as far as the event loop's side knows."""

    def begin(self, writes: bool) -> None:
        """Takes effect with the next statement, so it needs no thread hop and cannot fail."""
        self._pending_begin, self._writes = "BEGIN IMMEDIATE" if writes else "BEGIN", writes

    async def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """``function(connection, *arguments)`` with the driver's own connection, in its thread."""
        return await super()._execute(partial(function, self._conn), *arguments)  # type: ignore[no-untyped-call]

    def cursor(self) -> Cursor:  # type: ignore[override]  # it is waited for by those who wait for no other
        return Cursor(self, self._conn.cursor())

    async def commit(self) -> None:
        self._pending_begin = None
        if self._in_transaction:
            await super().commit()
            self._in_transaction = False

    async def rollback(self) -> None:
        self._pending_begin = None
        if self._in_transaction and not self._writes and self._running and self._connection is not None:
            self._tx.put_nowait((None, self._connection.rollback))  # later statements of this connection run after it
        elif self._in_transaction:
            await super().rollback()
        self._in_transaction = False

    async def close(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error, ValueError):
                await self.rollback()
        await super().close()

    def stop(self):  # type: ignore[no-untyped-def]  # a future of a kind that aiosqlite does not name
        if self._connection is not None:
            self._tx.put_nowait((None, self._connection.rollback))
        return super().stop()

    async def _execute(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if self._pending_begin is not None:
            fn, self._pending_begin, self._in_transaction = (
                partial(self._run_in_transaction, self._pending_begin, fn),
                None,
                True,
            )
        return await super()._execute(fn, *args, **kwargs)  # type: ignore[no-untyped-call]

    def _run_in_transaction(self, begin: str, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self._conn.execute(begin)
        return fn(*args, **kwargs)


def _worker_thread(tx: Any) -> None:
    """aiosqlite's worker; it fails when the event loop is closed before abandoned work is done."""
    while True:
        try:
            _connection_worker_thread(tx)
            return
        except RuntimeError:
            if tx.empty():
                return


async def connect(path: str, timeout_s: float) -> Connection:
    """Opens a connection; ``timeout_s`` is how long a statement waits for a lock."""
    connection = Connection(lambda: sqlite3.connect(path, timeout=timeout_s, check_same_thread=False), 64)
    # A daemon thread: an unclosed connection does not keep the process alive.
    connection._thread = threading.Thread(target=_worker_thread, args=(connection._tx,), daemon=True)
    await connection
    return connection


_POLL_S = 0.001


class SqliteWriteLock:
    """Serialises writers of several processes on one SQLite file, fairly within one event loop.

    SQLite's own busy handler sleeps up to a tenth of a second, so a process that writes all the time starves others.
    Here every process polls each millisecond. The kernel releases the lock of a dead process. The lock file lies beside
    the database.
    """

    def __init__(self, database: Path, timeout_s: float) -> None:
        self._path = database.with_name(f"{database.name}-turn")
        self._timeout_s = timeout_s
        self._local_lock = asyncio.Lock()
        self._file: int | None = None

    async def __aenter__(self) -> None:
        """Raises StateUnavailable when the lock was not acquired within ``timeout_s``, and OSError without a folder."""
        deadline = time.monotonic() + self._timeout_s
        try:
            if not self._local_lock.locked():
                await self._local_lock.acquire()  # at once
            else:
                async with asyncio.timeout(self._timeout_s):
                    await self._local_lock.acquire()
        except TimeoutError:
            raise StateUnavailable("the database is busy; try again") from None
        try:
            while not self._try_lock():
                if time.monotonic() >= deadline:
                    raise StateUnavailable("the database is busy; try again")
                await asyncio.sleep(_POLL_S)
        except BaseException:
            self._local_lock.release()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            fcntl.flock(self._file, fcntl.LOCK_UN)
        self._local_lock.release()

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _try_lock(self) -> bool:
        if self._file is None:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
