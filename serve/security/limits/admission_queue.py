"""`AdmissionQueue`: a bounded, prioritised queue for bounded concurrency, which sheds the least urgent requests."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field

from serve.errors import DeadlineExceeded, Overloaded
from serve.observability import request_context
from serve.observability.metrics import catalogue
from serve.observability.request_context import Priority

OLDEST_EVERY = 4
"""One of so many slots goes to the request that has waited longest, whatever its priority: so it waits for at most so
many slots per request ahead of it."""
RETRY_AFTER_S = (1, 60)
_MEAN_WEIGHT = 0.2
"""Weight of the last duration in the running mean."""
_FULL = "too many requests are waiting; try again later"
_ORDER = sorted(Priority, reverse=True)


@dataclass(eq=False)
class _Waiter:
    number: int
    priority: Priority
    arrived: float
    granted: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class AdmissionQueue:
    """At most ``max_concurrency`` requests run, at most ``max_queued`` wait. For one event loop.

    Slots go by priority (`serve.observability.request_context`), first in, first out within one; every fourth slot goes
    to the request that has waited longest. A request that meets a full queue replaces the newest one of the lowest
    priority, if that priority is lower than its own and it is not the one that has waited longest.
    """

    def __init__(self, max_concurrency: int, max_queued: int, ensemble: str | None = None) -> None:
        """Queues of an ``ensemble`` report metrics."""
        self._ensemble = ensemble
        self._max_concurrency = max_concurrency
        self._max_queued = max_queued
        self._working = 0
        self._slots_given = 0
        self._mean_s = 0.0
        self._numbers = itertools.count()
        self._queues: dict[Priority, dict[int, _Waiter]] = {priority: {} for priority in _ORDER}
        # By priority, in order of arrival.
        self._update_metrics()

    @property
    def queued(self) -> int:
        return sum(map(len, self._queues.values()))

    @property
    def size(self) -> int:
        """Running and waiting requests."""
        return self._working + self.queued

    @contextlib.asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Holds a slot. Raises Overloaded, at once when the queue is full or later when displaced by a more urgent
        request, and DeadlineExceeded as soon as the deadline has passed. Cancellation leaves the queue."""
        arrived = time.monotonic()
        await self._acquire()
        started = time.monotonic()
        self._update_metrics(started - arrived)
        try:
            yield
        finally:
            duration_s = time.monotonic() - started
            self._mean_s += (_MEAN_WEIGHT if self._mean_s else 1.0) * (duration_s - self._mean_s)
            self._release()

    async def _acquire(self) -> None:
        context = request_context.current()
        if context.is_over:
            raise _deadline_error()
        if self._working < self._max_concurrency and not self.queued:
            self._working += 1
            return
        waiter = _Waiter(next(self._numbers), context.priority, time.monotonic())
        if self.queued >= self._max_queued:
            self._displace(waiter)
        self._queues[waiter.priority][waiter.number] = waiter
        self._update_metrics()
        remaining_s = None if context.deadline is None else context.deadline - time.monotonic()
        try:
            async with asyncio.timeout(remaining_s):
                await waiter.granted
        except BaseException as error:
            self._queues[waiter.priority].pop(waiter.number, None)
            if waiter.granted.done() and not waiter.granted.cancelled() and waiter.granted.exception() is None:
                self._release()  # the slot was granted at the same moment
            self._update_metrics(time.monotonic() - waiter.arrived)
            if isinstance(error, TimeoutError):
                raise _deadline_error() from None
            raise

    def _displace(self, arriving: _Waiter) -> None:
        """Raises Overloaded when no waiting request can be displaced."""
        if not self.queued:
            raise Overloaded(_FULL, None, self._retry_after_s())
        oldest = self._oldest()
        newest_by_priority = (next(reversed(queue.values())) for queue in reversed(self._by_priority()) if queue)
        displaced = next((waiter for waiter in newest_by_priority if waiter is not oldest), oldest)
        if displaced is oldest or displaced.priority >= arriving.priority:
            raise Overloaded(_FULL, None, self._retry_after_s())
        del self._queues[displaced.priority][displaced.number]
        if not displaced.granted.done():
            displaced.granted.set_exception(Overloaded(_FULL, None, self._retry_after_s()))

    def _release(self) -> None:
        """Hands the slot to the next request."""
        while self.queued:
            oldest = (self._slots_given + 1) % OLDEST_EVERY == 0
            waiter = self._oldest() if oldest else next(self._heads())
            del self._queues[waiter.priority][waiter.number]
            if not waiter.granted.done():  # else it was cancelled at the same moment
                self._slots_given += 1
                waiter.granted.set_result(None)
                return
        self._working -= 1
        self._update_metrics()

    def _update_metrics(self, waited_s: float | None = None) -> None:
        if self._ensemble is None:
            return
        catalogue.WAITING.set(self.queued, self._ensemble)
        catalogue.OLDEST_WAITING.since(self._oldest().arrived if self.queued else None, self._ensemble)
        catalogue.WORKING.set(self._working, self._ensemble)
        if waited_s is not None:
            catalogue.QUEUE_SECONDS.observe(waited_s, self._ensemble)

    def _by_priority(self) -> list[dict[int, _Waiter]]:
        return [self._queues[priority] for priority in _ORDER]

    def _heads(self) -> Iterator[_Waiter]:
        """The first of each priority, the most urgent first."""
        return (next(iter(queue.values())) for queue in self._by_priority() if queue)

    def _oldest(self) -> _Waiter:
        return min(self._heads(), key=lambda waiter: waiter.number)

    def _retry_after_s(self) -> int:
        """The estimated time to drain the queue, from recent durations."""
        ahead = (self._working + self.queued) / self._max_concurrency
        shortest_s, longest_s = RETRY_AFTER_S
        return min(longest_s, max(shortest_s, math.ceil(ahead * self._mean_s)))


def _deadline_error() -> DeadlineExceeded:
    return DeadlineExceeded("the time was over before its turn came")
