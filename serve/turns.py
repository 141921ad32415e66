"""``Turns``: a bounded queue before bounded work."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

from serve.errors import Overloaded
from serve.metrics import catalogue


class Turns:
    """At most ``at_once`` work, in the order in which they came; at most ``waiting`` wait. For one event loop."""

    def __init__(self, at_once: int, waiting: int, ensemble: str | None = None) -> None:
        """Those of an ``ensemble`` are measured."""
        self._ensemble = ensemble
        self._free = asyncio.Semaphore(at_once)
        self._most = at_once + waiting
        self._here = 0
        self._at_work = 0
        self._tell_waiting()

    @contextlib.asynccontextmanager
    async def taken(self) -> AsyncIterator[None]:
        """Raises Overloaded at once when no more may wait. Whoever is cancelled leaves the queue."""
        if self._here >= self._most:
            raise Overloaded("too many requests are waiting; try again later")
        self._here += 1
        self._tell_waiting()
        try:
            began = time.perf_counter()
            async with self._free, self._working(began):
                yield
        finally:
            self._here -= 1
            self._tell_waiting()

    @contextlib.asynccontextmanager
    async def _working(self, began: float) -> AsyncIterator[None]:
        self._at_work += 1
        if self._ensemble is not None:
            catalogue.QUEUE_SECONDS.observe(time.perf_counter() - began, self._ensemble)
        self._tell_waiting()
        try:
            yield
        finally:
            self._at_work -= 1

    def _tell_waiting(self) -> None:
        if self._ensemble is not None:
            catalogue.WAITING.set(self._here - self._at_work, self._ensemble)
            catalogue.WORKING.set(self._at_work, self._ensemble)
