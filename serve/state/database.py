"""Connections to the site's database, SQLite or PostgreSQL, and the translation of driver errors.

`Database.read` yields a connection for queries, `Database.write` one inside a transaction; `Database.write_batch`
writes what is known beforehand, in a transaction with what others write at that moment.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from serve.errors import InvalidRequest, OutOfSpace, StateUnavailable
from serve.observability.metrics import catalogue
from serve.observability.metrics.metric import Histogram
from serve.settings import DatabaseSettings, Settings
from serve.state.database_errors import map_database_errors
from serve.state.event_watch import event_watch_of
from serve.state.sqlite import SqliteWriteLock, connect
from serve.state.write_batches import SqliteWriter, Statements, Write, run_on_postgresql


@contextlib.contextmanager
def measured(histogram: Histogram, kind: str) -> Iterator[None]:
    """Measures the block as one operation of ``kind``. Only outages count as errors, not invalid requests."""
    started, outcome = time.perf_counter(), "ok"
    try:
        yield
    except (StateUnavailable, OutOfSpace):
        outcome = "error"
        raise
    except asyncio.CancelledError:  # includes timeouts
        outcome = "cancelled"
        raise
    finally:
        histogram.observe(time.perf_counter() - started, kind, outcome)


_WRITES = "atelier_writes"
_DRIVERS = {
    "sqlite": "sqlite+aiosqlite",
    "postgresql": "postgresql+asyncpg",
    "postgres": "postgresql+asyncpg",
}


def database_url(settings: Settings) -> URL:
    """The URL of ``settings`` with the async drivers; by default SQLite in the state folder.

    Raises ``InvalidRequest`` for a URL of no supported database.
    """
    configured = settings.database.url
    if configured is None:
        return URL.create(_DRIVERS["sqlite"], database=str(settings.state_dir / "atelier.db"))
    try:
        url = make_url(configured.get_secret_value())
    except (ArgumentError, ValueError):  # the message may quote a part of the password
        raise InvalidRequest("is not a URL such as postgresql://user:password@host/name", "database.url") from None
    kind = url.drivername.partition("+")[0]
    if kind not in _DRIVERS or (kind == "sqlite" and url.database in (None, "", ":memory:")):
        raise InvalidRequest("must be sqlite:///path or postgresql://user:password@host/name", "database.url")
    return url.set(drivername=_DRIVERS[kind])


AlsoWrite = Callable[[AsyncConnection], Awaitable[None]]
"""Further writes of a caller, made in the same transaction."""


class Database:
    """For one event loop. Its tables are those of `serve.state.tables`."""

    def __init__(self, url: URL, settings: DatabaseSettings) -> None:
        self.url = url
        self.is_sqlite = url.get_backend_name() == "sqlite"
        self._settings = settings
        self._engine: AsyncEngine = _sqlite(url, settings) if self.is_sqlite else _postgresql(url, settings)
        self._writers = self._engine.execution_options(**{_WRITES: True})
        # READ COMMITTED gives each statement its own snapshot anyway, so reads need no transaction.
        self._readers = self._engine if self.is_sqlite else self._engine.execution_options(isolation_level="AUTOCOMMIT")
        self._write_lock = SqliteWriteLock(Path(str(url.database)), settings.timeout_s) if self.is_sqlite else None
        self._writer: SqliteWriter | None = None
        if self._write_lock is not None:
            dialect = self._engine.dialect
            self._writer = SqliteWriter(str(url.database), settings.timeout_s, self._write_lock, dialect)
        self._statements = Statements(self._engine.dialect)
        self._event_watch = event_watch_of(url, self._engine.dialect, settings.timeout_s)

    @property
    def dialect(self) -> str:
        """sqlite or postgresql."""
        return self._engine.dialect.name

    async def close(self) -> None:
        if self._writer is not None:
            await self._writer.close()
        await self._event_watch.close()
        await self._engine.dispose()
        if self._write_lock is not None:
            self._write_lock.close()

    async def event_marker(self) -> object | None:
        """As `EventWatch.marker`."""
        return await self._event_watch.marker()

    @contextlib.asynccontextmanager
    async def read(self, kind: Literal["read", "poll"] = "read") -> AsyncIterator[AsyncConnection]:
        """A connection for queries: on SQLite one snapshot, on PostgreSQL one per statement. Raises StateUnavailable.

        Never write with it: PostgreSQL would commit. ``kind`` is for metrics: repeated queries are polls.
        """
        with measured(catalogue.DATABASE_SECONDS, kind), map_database_errors():
            async with self._readers.connect() as connection:
                yield connection

    @contextlib.asynccontextmanager
    async def write(self, kind: Literal["write", "delete"] = "write") -> AsyncIterator[AsyncConnection]:
        """A transaction, committed when the block ends, and rolled back when it raises.

        On SQLite there is one writer at a time. Raises StateUnavailable, OutOfSpace. ``kind`` is for metrics: a delete
        waits for the object store.
        """
        with measured(catalogue.DATABASE_SECONDS, kind), map_database_errors():
            async with self._write_lock or contextlib.nullcontext(), self._writers.begin() as connection:
                yield connection

    async def write_batch(self, writes: Sequence[Write]) -> bool:
        """Writes all of ``writes``, or nothing: if one fails, or a required one changes no row (the result is False).

        On SQLite the batches of the same moment share a transaction. Raises StateUnavailable, OutOfSpace.
        """
        if self._writer is not None:
            with measured(catalogue.DATABASE_SECONDS, "write"), map_database_errors():
                return await self._writer.write(writes)
        batch = [self._statements.of(one) for one in writes]
        with measured(catalogue.DATABASE_SECONDS, "write"), map_database_errors():
            async with self._writers.connect() as connection:
                return await run_on_postgresql(connection, batch)


def _sqlite(url: URL, settings: DatabaseSettings) -> AsyncEngine:
    engine = create_async_engine(
        url,
        async_creator=lambda: connect(str(url.database), settings.timeout_s),
        pool_size=settings.connections,
        max_overflow=0,
        pool_timeout=settings.timeout_s,
        hide_parameters=True,
    )

    @sa.event.listens_for(engine.sync_engine, "connect")
    def prepare(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # transactions are begun explicitly, below
        cursor = connection.cursor()
        for pragma in (
            "journal_mode=WAL",
            "synchronous=NORMAL",
            "foreign_keys=ON",
            f"journal_size_limit={64 * 1024 * 1024}",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @sa.event.listens_for(engine.sync_engine, "begin")
    def begin(connection: sa.Connection) -> None:
        driver: Any = connection.connection.driver_connection
        driver.begin(writes=bool(connection.get_execution_options().get(_WRITES)))

    return engine


def _postgresql(url: URL, settings: DatabaseSettings) -> AsyncEngine:
    limits = {"timeout": settings.timeout_s, "command_timeout": 2 * settings.timeout_s}
    # Below the driver's own timeout, which would lose the connection.
    server_settings = {"lock_timeout": f"{round(1000 * settings.timeout_s)}", "application_name": "atelier"}
    return create_async_engine(
        url,
        pool_size=settings.connections,
        max_overflow=0,  # a short-lived connection would have cold caches
        pool_timeout=settings.timeout_s,
        pool_pre_ping=False,
        pool_recycle=1800,
        connect_args={**limits, "server_settings": server_settings},
        hide_parameters=True,
    )
