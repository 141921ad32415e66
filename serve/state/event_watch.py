"""`EventWatch`: a marker that differs once any job may have another event, at next to no cost.

Whoever polls the queue looks at it first. On SQLite it is the newest row of the events, which is read only if the
files' times have changed: most writes are not of the queue. On PostgreSQL it counts the notifications of a trigger on
the events (migration 0013), to which a connection of its own listens. Where notifications do not arrive, as behind
PgBouncer's transactions, there is no marker, and polls read.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import sqlite3
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from sqlalchemy.engine import URL, Dialect

from serve.errors import OutOfSpace, StateUnavailable
from serve.state.database_errors import map_database_errors
from serve.state.sqlite import Connection, connect

LOGGER = logging.getLogger(__name__)

CHANNEL = "atelier_events"
"""PostgreSQL's notifications of new events."""
TEST_TIMEOUT_S = 5.0
"""How long the listener's first notification, by itself, may take."""
RETRY_S = 5.0
"""After a connection that was lost, or on which nothing arrived."""
UNCHANGED_S = 1.0
"""How long a database to which no events were written is not read: jobs also become due by time."""
_NEWEST = "SELECT max(rowid) FROM events"
_OF_SQLALCHEMY = ("prepared_statement_cache_size", "prepared_statement_name_func", "async_fallback", "async_creator_fn")
"""Parameters of a URL that are not asyncpg's."""


class EventWatch(Protocol):
    """For one event loop; close it."""

    async def marker(self) -> object | None:
        """Differs after events, save for those that are written within one tick of a file system's clock: so poll all
        the same, now and then. None: unknown. Raises StateUnavailable."""
        ...

    async def close(self) -> None: ...


class EventPoll:
    """When one reader has to look: the marker is another than at its last look, or `look_again` was called since, or
    UNCHANGED_S have passed."""

    def __init__(self, marker: Callable[[], Awaitable[object | None]]) -> None:
        self._read_marker = marker
        self._marker: object | None = None
        self._looked_at = -math.inf

    def look_again(self) -> None:
        self._looked_at = -math.inf

    async def has_to_look(self) -> bool:
        """Whether to look now; then that counts as the last look. Raises StateUnavailable."""
        marker, now = await self._read_marker(), time.monotonic()
        if marker is not None and marker == self._marker and now < self._looked_at + UNCHANGED_S:
            return False
        self._marker, self._looked_at = marker, now
        return True


def event_watch_of(url: URL, dialect: Dialect, timeout_s: float) -> EventWatch:
    """``timeout_s``: of a connection."""
    if url.get_backend_name() == "sqlite":
        return SqliteEvents(str(url.database), timeout_s)
    return PostgresqlEvents(dialect.create_connect_args(url)[1], timeout_s)


class SqliteEvents:
    def __init__(self, path: str, timeout_s: float) -> None:
        self._path = path
        self._timeout_s = timeout_s
        self._files: object | None = None
        self._newest: object = None
        self._reader: Connection | None = None

    async def marker(self) -> object | None:
        files = _file_marker(self._path), _file_marker(f"{self._path}-wal")
        if files != self._files:
            self._newest = (await self._read_newest(),)
            self._files = files
        return self._newest

    async def close(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            with contextlib.suppress(sqlite3.Error, ValueError):
                await reader.close()

    async def _read_newest(self) -> object:
        try:
            with map_database_errors():
                if self._reader is None:
                    self._reader = await connect(self._path, self._timeout_s)
                return await self._reader.run(_newest)
        except (StateUnavailable, OutOfSpace):
            await self.close()
            raise


def _newest(connection: sqlite3.Connection) -> object:
    return connection.execute(_NEWEST).fetchone()[0]


def _file_marker(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


class PostgresqlEvents:
    """Listens from the first `marker` on; a connection that is lost is made anew."""

    def __init__(self, arguments: Mapping[str, Any], timeout_s: float) -> None:
        """``arguments``: of `asyncpg.connect`."""
        self._arguments = {name: value for name, value in arguments.items() if name not in _OF_SQLALCHEMY}
        self._timeout_s = timeout_s
        self._count = 0
        self._notified, self._lost = asyncio.Event(), asyncio.Event()
        self._hears = False
        """Whether notifications arrive."""
        self._task: asyncio.Task[None] | None = None

    async def marker(self) -> object | None:
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        return (self._count,) if self._hears else None

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        import asyncpg  # which a site with SQLite does not need

        warned = False
        while True:
            try:
                await self._listen()
                warned = False
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                if not warned:
                    LOGGER.warning("the queue is polled, without notifications: %s", type(error).__name__)
                warned = True
            finally:
                self._hears = False
            await asyncio.sleep(RETRY_S)

    async def _listen(self) -> None:
        """Until the connection is lost. Raises TimeoutError where a notification of its own does not arrive."""
        import asyncpg

        timeout_s = self._timeout_s
        connection: Any = await asyncpg.connect(**self._arguments, timeout=timeout_s, command_timeout=timeout_s)
        try:
            self._lost.clear()
            self._notified.clear()
            connection.add_termination_listener(lambda *_: self._lost.set())
            await connection.add_listener(CHANNEL, self._on_notification)
            await connection.execute(f"NOTIFY {CHANNEL}")
            async with asyncio.timeout(TEST_TIMEOUT_S):
                await self._notified.wait()
            self._hears = True
            await self._lost.wait()
        finally:
            connection.terminate()

    def _on_notification(self, *_: object) -> None:
        self._count += 1
        self._notified.set()
