"""Counts that all processes of a site share: in Redis where there is one, else in the site's database.

Both are storages of the library `limits`. A store that does not answer is left alone for a moment, so that requests do
not wait for it one after the other.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import limits.aio.storage
from limits.errors import ConfigurationError, StorageError
from limits.storage import storage_from_string

from serve.errors import AtelierError, InvalidRequest, StateUnavailable
from serve.security.limits.database_storage import DatabaseStorage
from serve.settings import RatesSettings
from serve.state.database import Database

LOGGER = logging.getLogger(__name__)

_AWAY_S = 1.0
"""How long a store that did not answer is not asked."""
_REDIS_SCHEMES = ("redis://", "rediss://", "unix://", "redis+unix://")
_REDIS_AT_ONCE = 32
"""Connections to Redis; who asks beyond that waits."""
_MOST_WAITING = 10_000


class Counters:
    """For one event loop."""

    def __init__(self, storage: limits.aio.storage.Storage, timeout_s: float, at_once: int = _MOST_WAITING) -> None:
        self._storage = storage
        self._timeout_s = timeout_s
        self._asking = asyncio.Semaphore(at_once)
        self._waiting = 0
        self._away_until = 0.0
        self._is_away = False

    @classmethod
    def of(cls, settings: RatesSettings, database: Database) -> Counters:
        """Raises InvalidRequest for a URL that is none."""
        if settings.redis_url is None:
            return cls(DatabaseStorage(database), settings.timeout_s)
        return cls(redis_storage(settings), settings.timeout_s, _REDIS_AT_ONCE)

    @property
    def is_away(self) -> bool:
        """Whether it is not worth while to ask."""
        return self._is_away and time.monotonic() < self._away_until

    async def add(self, key: str, amount: int, expiry_s: int) -> int:
        """The count of ``key`` with ``amount``, kept for at least ``expiry_s``. Raises StateUnavailable."""
        if self.is_away or self._waiting >= _MOST_WAITING:
            raise StateUnavailable("the counts of rate limits are not there")
        self._away_until = time.monotonic() + _AWAY_S  # if it is away still, only this call waits to learn it
        self._waiting += 1
        try:
            async with asyncio.timeout(self._timeout_s), self._asking:
                count: int = await self._storage.incr(key, expiry_s, amount)
        except (StorageError, AtelierError, OSError, TimeoutError) as error:
            self._lost(error)
            raise StateUnavailable("the counts of rate limits are not there") from error
        finally:
            self._waiting -= 1
        self._found()
        return count

    async def close(self) -> None:
        client: Any = getattr(getattr(self._storage, "bridge", None), "storage", None)
        if client is not None:
            await client.aclose()
        if isinstance(self._storage, DatabaseStorage):
            await self._storage.close()

    def _lost(self, error: Exception) -> None:
        self._away_until = time.monotonic() + _AWAY_S
        if not self._is_away:
            reason = type(error.storage_error if isinstance(error, StorageError) else error).__name__
            LOGGER.warning("the counts of rate limits do not answer (%s): this process counts alone", reason)
        self._is_away = True

    def _found(self) -> None:
        if self._is_away:
            LOGGER.warning("the counts of rate limits answer again")
        self._is_away = False


def redis_storage(settings: RatesSettings) -> limits.aio.storage.Storage:
    """Raises InvalidRequest for a URL that is none; it need not answer yet."""
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
