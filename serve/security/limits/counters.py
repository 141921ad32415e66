"""Counters shared by all processes of a site: in Redis if configured, otherwise in the site's database.

Both are storages of the library `limits`. A store that does not answer is skipped for a moment, so that requests do not
wait for it one after the other.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import limits.aio.storage
import sqlalchemy as sa
from limits.aio.storage import Storage
from limits.errors import ConfigurationError, StorageError
from limits.storage import storage_from_string
from sqlalchemy.dialects import postgresql, sqlite

from serve.errors import AtelierError, InvalidRequest, StateUnavailable
from serve.settings import RatesSettings
from serve.state.database import Database
from serve.state.tables import counters, utc_now

_BATCH_SIZE = 500
"""Counters changed per transaction."""


def _upsert(dialect: Any) -> Any:
    statement = dialect.insert(counters)
    added = {"used": counters.c.used + statement.excluded.used}
    changed = statement.on_conflict_do_update(index_elements=["key"], set_=added)
    return changed.returning(counters.c.key, counters.c.used)


_ADD = {True: _upsert(sqlite), False: _upsert(postgresql)}
"""By whether the database is SQLite."""
_SELECT = sa.select(counters.c.used, counters.c.expires_at).where(counters.c.key == sa.bindparam("of"))


@dataclass(frozen=True, eq=False)
class _Addition:
    key: str
    amount: int
    expires_at: datetime
    count: asyncio.Future[int]


class DatabaseStorage(Storage):
    """A storage of the library `limits` on the site's database, for fixed windows; for one event loop.

    Additions that arrive during a transaction are batched into the next one, so a process has one writer however many
    requests wait. A key belongs to one window, and is never reused. Methods raise StateUnavailable, OutOfSpace.
    """

    STORAGE_SCHEME = None

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._database = database
        self._waiting: list[_Addition] = []
        self._writing: asyncio.Task[None] | None = None

    @property
    def base_exceptions(self) -> type[Exception]:
        return AtelierError

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        count: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Addition(key, amount, utc_now() + timedelta(seconds=expiry), count))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_loop())
        return await count

    async def get(self, key: str) -> int:
        row = await self._find(key)
        return 0 if row is None else int(row.used)

    async def get_expiry(self, key: str) -> float:
        row = await self._find(key)
        return utc_now().timestamp() if row is None else float(row.expires_at.timestamp())

    async def check(self) -> bool:
        try:
            await self._find("")
        except AtelierError:
            return False
        return True

    async def reset(self) -> int | None:
        async with self._database.write() as connection:
            return (await connection.execute(sa.delete(counters))).rowcount

    async def clear(self, key: str) -> None:
        async with self._database.write() as connection:
            await connection.execute(sa.delete(counters).where(counters.c.key == key))

    async def close(self) -> None:
        """Waits for pending writes."""
        if self._writing is not None:
            await asyncio.wait([self._writing])

    async def _find(self, key: str) -> Any:
        async with self._database.read() as connection:
            row = (await connection.execute(_SELECT, {"of": key})).one_or_none()
        return row if row is not None and row.expires_at > utc_now() else None

    async def _write_loop(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:_BATCH_SIZE], self._waiting[_BATCH_SIZE:]
            batch = [one for one in batch if not one.count.done()]  # a caller that timed out counts locally
            try:
                counts = await self._write(batch)
            except BaseException as error:
                for one in batch:
                    if not one.count.done():
                        one.count.set_exception(error if isinstance(error, Exception) else TimeoutError())
                if not isinstance(error, Exception):
                    raise
            else:
                for one, count in zip(batch, counts, strict=True):
                    if not one.count.done():
                        one.count.set_result(count)

    async def _write(self, batch: Sequence[_Addition]) -> list[int]:
        """Each result is the count right after its own addition, as if the additions were made one by one."""
        rows: dict[str, dict[str, Any]] = {}
        for one in batch:
            row = rows.setdefault(one.key, {"key": one.key, "used": 0, "expires_at": one.expires_at})
            row["used"] += one.amount
        if not rows:
            return []
        ordered = [rows[key] for key in sorted(rows)]  # in one order, to avoid deadlocks
        async with self._database.write() as connection:
            found = (await connection.execute(_ADD[self._database.is_sqlite], ordered)).all()
        counts = {row.key: row.used - rows[row.key]["used"] for row in found}
        results = []
        for one in batch:
            counts[one.key] += one.amount
            results.append(counts[one.key])
        return results


LOGGER = logging.getLogger(__name__)

_OUTAGE_PAUSE_S = 1.0
"""How long a store that did not answer is skipped."""
_REDIS_SCHEMES = ("redis://", "rediss://", "unix://", "redis+unix://")
_REDIS_CONNECTIONS = 32
"""Redis connections; further calls wait."""
_MAX_PENDING = 10_000


class Counters:
    """For one event loop."""

    def __init__(
        self, storage: limits.aio.storage.Storage, timeout_s: float, max_concurrency: int = _MAX_PENDING
    ) -> None:
        self._storage = storage
        self._timeout_s = timeout_s
        self._semaphore = asyncio.Semaphore(max_concurrency)
        self._waiting = 0
        self._skip_until = 0.0
        self._is_down = False

    @classmethod
    def create(cls, settings: RatesSettings, database: Database) -> Counters:
        """Raises InvalidRequest for an invalid URL."""
        if settings.redis_url is None:
            return cls(DatabaseStorage(database), settings.timeout_s)
        return cls(redis_storage(settings), settings.timeout_s, _REDIS_CONNECTIONS)

    @property
    def is_unavailable(self) -> bool:
        """Whether the store is being skipped."""
        return self._is_down and time.monotonic() < self._skip_until

    async def add(self, key: str, amount: int, expiry_s: int) -> int:
        """Adds ``amount`` to the counter ``key``, kept for at least ``expiry_s``; returns the new count. Raises
        StateUnavailable."""
        if self.is_unavailable or self._waiting >= _MAX_PENDING:
            raise StateUnavailable("the counts of rate limits are not there")
        self._skip_until = time.monotonic() + _OUTAGE_PAUSE_S  # during an outage, only this call waits
        self._waiting += 1
        try:
            async with asyncio.timeout(self._timeout_s), self._semaphore:
                count: int = await self._storage.incr(key, expiry_s, amount)
        except (StorageError, AtelierError, OSError, TimeoutError) as error:
            self._mark_down(error)
            raise StateUnavailable("the counts of rate limits are not there") from error
        finally:
            self._waiting -= 1
        self._mark_up()
        return count

    async def close(self) -> None:
        client: Any = getattr(getattr(self._storage, "bridge", None), "storage", None)
        if client is not None:
            await client.aclose()
        if isinstance(self._storage, DatabaseStorage):
            await self._storage.close()

    def _mark_down(self, error: Exception) -> None:
        self._skip_until = time.monotonic() + _OUTAGE_PAUSE_S
        if not self._is_down:
            reason = type(error.storage_error if isinstance(error, StorageError) else error).__name__
            LOGGER.warning("the counters of rate limits do not answer (%s): this process counts alone", reason)
        self._is_down = True

    def _mark_up(self) -> None:
        if self._is_down:
            LOGGER.warning("the counters of rate limits answer again")
        self._is_down = False


def redis_storage(settings: RatesSettings) -> limits.aio.storage.Storage:
    """Raises InvalidRequest for an invalid URL; the server need not answer yet."""
    assert settings.redis_url is not None
    url = settings.redis_url.get_secret_value()
    if not url.startswith(_REDIS_SCHEMES):
        raise InvalidRequest("must be redis://host:port/number, rediss://... or unix:///path", "rates.redis_url")
    url = url.replace("unix://", "redis+unix://", 1) if url.startswith("unix://") else url
    options: dict[str, Any] = {
        "implementation": "redispy",
        "key_prefix": "atelier",
        "wrap_exceptions": True,
        "socket_timeout": settings.timeout_s,
        "socket_connect_timeout": settings.timeout_s,
    }
    try:
        storage = storage_from_string(f"async+{url}", **options)
    except (ConfigurationError, ValueError):
        raise InvalidRequest("is no URL of a Redis server", "rates.redis_url") from None
    assert isinstance(storage, limits.aio.storage.Storage)
    return storage
