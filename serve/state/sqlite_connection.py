"""A connection to an SQLite file that leaves no transaction behind."""

from __future__ import annotations

import contextlib
import sqlite3

import aiosqlite


class Connection(aiosqlite.Connection):
    """It rolls back before it closes.

    A task that is cancelled in a transaction leaves statements that nobody reads to their end; SQLite then keeps a
    closed connection, with its lock on the file, until Python has collected the last of them.
    """

    async def close(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error, ValueError):
                await self.rollback()
        await super().close()

    def stop(self):  # type: ignore[no-untyped-def]  # a future of a kind that aiosqlite does not name
        if self._connection is not None:
            self._tx.put_nowait((None, self._connection.rollback))
        return super().stop()


async def connect(path: str, timeout_s: float) -> Connection:
    """Opened; ``timeout_s`` is how long a statement waits for a lock."""
    connection = Connection(lambda: sqlite3.connect(path, timeout=timeout_s, check_same_thread=False), 64)
    connection._thread.daemon = True  # a process that forgot to close it ends all the same
    await connection
    return connection
