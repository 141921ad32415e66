"""`CachedValue`: a value from the database, at most a few seconds old; during an outage, the last known value."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from serve.errors import StateUnavailable

LOGGER = logging.getLogger(__name__)

T = TypeVar("T")


class CachedValue(Generic[T]):
    """For one event loop. ``read`` may raise StateUnavailable; ``initial`` is used until it has succeeded once."""

    def __init__(
        self,
        description: str,
        read: Callable[[], Awaitable[T]],
        initial: T,
        max_age_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``description``: for the log."""
        self._description = description
        self._read = read
        self._max_age_s = max_age_s
        self._clock = clock
        self.value = initial
        self._read_at: float | None = None
        self._first_read = asyncio.Lock()
        self._attempts = 0
        self._refreshing = False

    async def get(self) -> T:
        now = self._clock()
        if self._read_at is None:
            await self._read_first()
        elif not self._refreshing and now - self._read_at >= self._max_age_s:
            self._read_at = now
            self._refreshing = True  # concurrent callers do not read as well, and no older read ends after a newer one
            try:
                await self._refresh()
            finally:
                self._refreshing = False
        return self.value

    async def _read_first(self) -> None:
        """Concurrent callers wait for the same attempt, and do not retry when it fails."""
        attempts = self._attempts
        async with self._first_read:
            if self._read_at is None and self._attempts == attempts:
                now = self._clock()
                if await self._refresh():
                    self._read_at = now
                self._attempts += 1

    async def _refresh(self) -> bool:
        try:
            self.value = await self._read()
        except StateUnavailable as error:
            LOGGER.warning("%s stay as they were: %s", self._description, error)
            return False
        return True
