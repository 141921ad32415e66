"""One database, SQLite or PostgreSQL, and its errors as ours.

`Database.read` and `Database.write` each give a connection; around what is written there is a transaction.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from serve.errors import InvalidRequest, OutOfSpace, StateUnavailable
from serve.observability.metrics import catalogue
from serve.settings import DatabaseSettings, Settings
from serve.state.sqlite_connection import connect
from serve.state.sqlite_write_lock import SqliteWriteLock
from serve.state.storage_metrics import measured

_WRITES = "atelier_writes"
_DRIVERS = {
    "sqlite": "sqlite+aiosqlite",
    "postgresql": "postgresql+asyncpg",
    "postgres": "postgresql+asyncpg",
}
_FULL = ("database or disk is full", "No space left on device")
_FULL_CODES = ("53100", "SQLITE_FULL", "SQLITE_IOERR_SHMSIZE", "SQLITE_IOERR_WRITE")
"""As PostgreSQL and SQLite say it. A disk that does not answer, or too little memory, no room would mend."""


def database_url(settings: Settings) -> URL:
    """The URL of ``settings`` with the drivers that are used here; SQLite in the state's folder when there is none.

    Raises ``InvalidRequest`` for one that names no database of these.
    """
    given = settings.database.url
    if given is None:
        return URL.create(_DRIVERS["sqlite"], database=str(settings.state_dir / "atelier.db"))
    try:
        url = make_url(given.get_secret_value())
    except (ArgumentError, ValueError):  # of a port that is no number: it may be a piece of the password
        raise InvalidRequest("is not a URL such as postgresql://user:password@host/name", "database.url") from None
    kind = url.drivername.partition("+")[0]
    if kind not in _DRIVERS or (kind == "sqlite" and url.database in (None, "", ":memory:")):
        raise InvalidRequest("must be sqlite:///path or postgresql://user:password@host/name", "database.url")
    return url.set(drivername=_DRIVERS[kind])


Also = Callable[[AsyncConnection], Awaitable[None]]
"""What a caller has done in the transaction of another."""


class Database:
    """For one event loop; `open` it first. Its tables are those of `serve.state.tables`."""

    def __init__(self, url: URL, settings: DatabaseSettings) -> None:
        self.url = url
        self.is_sqlite = url.get_backend_name() == "sqlite"
        self._settings = settings
        self._engine: AsyncEngine = _sqlite(url, settings) if self.is_sqlite else _postgresql(url, settings)
        self._writers = self._engine.execution_options(**{_WRITES: True})
        # PostgreSQL's READ COMMITTED gives each statement what is committed by then, as no transaction at all does.
        self._readers = self._engine if self.is_sqlite else self._engine.execution_options(isolation_level="AUTOCOMMIT")
        self._turn = SqliteWriteLock(Path(str(url.database)), settings.timeout_s) if self.is_sqlite else None

    async def close(self) -> None:
        await self._engine.dispose()
        if self._turn is not None:
            self._turn.close()

    @contextlib.asynccontextmanager
    async def read(self, kind: Literal["read", "poll"] = "read") -> AsyncIterator[AsyncConnection]:
        """To look, on SQLite at one moment, on PostgreSQL with each statement. Raises StateUnavailable.

        Never to write: PostgreSQL would keep it. ``kind`` is for metrics: what is asked again and again is a poll.
        """
        with measured(catalogue.DATABASE_SECONDS, kind), map_ray_errors():
            async with self._readers.connect() as connection:
                yield connection

    @contextlib.asynccontextmanager
    async def write(self, kind: Literal["write", "delete"] = "write") -> AsyncIterator[AsyncConnection]:
        """A transaction that is kept when the block ends, and undone when it raises.

        On SQLite nobody else writes meanwhile. Raises StateUnavailable, OutOfSpace. ``kind`` is for metrics: a delete
        waits for the object store.
        """
        with measured(catalogue.DATABASE_SECONDS, kind), map_ray_errors():
            async with self._turn or contextlib.nullcontext(), self._writers.begin() as connection:
                yield connection


@contextlib.contextmanager
def map_ray_errors() -> Iterator[None]:
    """What the libraries raise when the database is gone, busy or full; errors of the code itself stay as they are."""
    try:
        yield
    except DBAPIError as error:
        if any(text in str(error.orig) for text in _FULL) or _code(error) in _FULL_CODES:
            raise OutOfSpace("there is no space left to write this down; make room on the site's disk") from error
        if _is_the_codes(error):
            raise
        raise StateUnavailable("the database does not answer; try again") from error
    except (PoolTimeout, OSError, TimeoutError) as error:
        raise StateUnavailable("the database does not answer; try again") from error
    except SQLAlchemyError:
        raise


def _is_the_codes(error: DBAPIError) -> bool:
    return isinstance(error, sa.exc.IntegrityError | sa.exc.ProgrammingError | sa.exc.DataError)


def _code(error: DBAPIError) -> str | None:
    """PostgreSQL's SQLSTATE, or the name of SQLite's extended code."""
    found: str | None = getattr(error.orig, "sqlstate", None) or getattr(error.orig, "sqlite_errorname", None)
    return found


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
        connection.isolation_level = None  # transactions begin below, not where the driver thinks best
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
    # A statement that waits for a lock gives up before the driver does, which would lose the connection.
    own = {"lock_timeout": f"{round(1000 * settings.timeout_s)}", "application_name": "atelier"}
    return create_async_engine(
        url,
        pool_size=settings.connections,
        max_overflow=0,  # one that is made for a moment has everything to learn
        pool_timeout=settings.timeout_s,
        pool_pre_ping=False,
        pool_recycle=1800,
        connect_args={**limits, "server_settings": own},
        hide_parameters=True,
    )
