"""`CachedValue`: what the database says, a few seconds old at most; while it is away, as it was seen last."""

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
    """For one event loop. ``read`` may raise StateUnavailable; until it has answered once, ``initial`` holds."""

    def __init__(
        self,
        what: str,
        read: Callable[[], Awaitable[T]],
        initial: T,
        for_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``what``: for the log."""
        self._what = what
        self._read = read
        self._for_s = for_s
        self._clock = clock
        self.known = initial
        self._read_at: float | None = None
        self._first = asyncio.Lock()
        self._tries = 0

    async def get(self) -> T:
        now = self._clock()
        if self._read_at is None:
            await self._read_first()
        elif now - self._read_at >= self._for_s:
            self._read_at = now  # before the answer: others do not ask at the same time
            await self._try()
        return self.known

    async def _read_first(self) -> None:
        """Who comes meanwhile waits for what comes of it, and does not try again when it fails."""
        tries = self._tries
        async with self._first:
            if self._read_at is None and self._tries == tries:
                now = self._clock()
                if await self._try():
                    self._read_at = now
                self._tries += 1

    async def _try(self) -> bool:
        try:
            self.known = await self._read()
        except StateUnavailable as error:
            LOGGER.warning("%s stay as they were: %s", self._what, error)
            return False
        return True
