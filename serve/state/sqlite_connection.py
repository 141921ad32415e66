"""A connection to an SQLite file that leaves no transaction behind, and seldom crosses to its thread."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import aiosqlite
from aiosqlite.core import _connection_worker_thread

_FIRST_ROWS = 32
"""Few: some rows have blobs."""


class Cursor(aiosqlite.Cursor):
    """Fetches the first rows, which are most often all, where the statement runs.

    aiosqlite crosses to the connection's thread and back for a cursor, a statement, its rows and the end of it, which
    takes longer than what SQLite does there.
    """

    def __init__(self, connection: aiosqlite.Connection, cursor: sqlite3.Cursor) -> None:
        super().__init__(connection, cursor)
        self._rows: list[Any] = []
        self._ended = True
        """Whether SQLite is done with the statement."""

    async def execute(self, sql: str, parameters: Iterable[Any] | None = None) -> Cursor:
        self._ended = False
        await self._execute(self._run, sql, () if parameters is None else parameters)  # type: ignore[no-untyped-call]
        return self

    async def fetchone(self) -> Any:
        return next(iter(await self.fetchmany(1)), None)

    async def fetchmany(self, size: int | None = None) -> Iterable[Any]:
        most = self.arraysize if size is None else size
        found, self._rows = self._rows[:most], self._rows[most:]
        missing = most - len(found)
        return found if self._ended or not missing else [*found, *await super().fetchmany(missing)]

    async def fetchall(self) -> Iterable[Any]:
        found, self._rows = self._rows, []
        return found if self._ended else [*found, *await super().fetchall()]

    async def close(self) -> None:
        if not self._ended:  # there is more, or it is under way and nobody waits for it any more
            await super().close()

    def _run(self, sql: str, parameters: Iterable[Any]) -> None:
        self._cursor.execute(sql, parameters)  # type: ignore[arg-type]
        self._rows = self._cursor.fetchmany(_FIRST_ROWS)
        self._ended = len(self._rows) < _FIRST_ROWS


class Connection(aiosqlite.Connection):
    """A transaction crosses to the thread with its first statement, and one that only read ends without waiting for it.

    It rolls back before it closes: a task that is cancelled in a transaction leaves statements that nobody reads to
    their end; SQLite then keeps a closed connection, with its lock on the file, until Python has collected the last of
    them.
    """

    _begin: str | None = None
    """What the next statement has to start with."""
    _writes = False
    _open = False
    """Whether there may be a transaction, as far as this side of the thread knows."""

    def begin(self, writes: bool) -> None:
        """With the next statement; on the loop's side, so it costs nothing and cannot fail."""
        self._begin, self._writes = "BEGIN IMMEDIATE" if writes else "BEGIN", writes

    def cursor(self) -> Cursor:  # type: ignore[override]  # it is waited for by those who wait for no other
        return Cursor(self, self._conn.cursor())

    async def commit(self) -> None:
        self._begin = None
        if self._open:
            await super().commit()
            self._open = False

    async def rollback(self) -> None:
        self._begin = None
        if self._open and not self._writes and self._running and self._connection is not None:
            self._tx.put_nowait((None, self._connection.rollback))  # what follows on this connection comes after it
        elif self._open:
            await super().rollback()
        self._open = False

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
        if self._begin is not None:
            fn, self._begin, self._open = partial(self._begun, self._begin, fn), None, True
        return await super()._execute(fn, *args, **kwargs)  # type: ignore[no-untyped-call]

    def _begun(self, begin: str, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self._conn.execute(begin)
        return fn(*args, **kwargs)


def _work(tx: Any) -> None:
    """aiosqlite's, which fails where a loop is gone before that is done for which nobody waits any more."""
    while True:
        try:
            _connection_worker_thread(tx)
            return
        except RuntimeError:
            if tx.empty():
                return


async def connect(path: str, timeout_s: float) -> Connection:
    """Opened; ``timeout_s`` is how long a statement waits for a lock."""
    connection = Connection(lambda: sqlite3.connect(path, timeout=timeout_s, check_same_thread=False), 64)
    # A process that forgot to close it ends all the same.
    connection._thread = threading.Thread(target=_work, args=(connection._tx,), daemon=True)
    await connection
    return connection
