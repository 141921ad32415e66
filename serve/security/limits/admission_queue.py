"""``AdmissionQueue``: a bounded queue before bounded work, which sheds what is least urgent."""

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
"""Of so many turns one is of whoever waits longest, whatever its priority: it waits for at most so many turns for each
that was there before it."""
RETRY_AFTER_S = (1, 60)
_WEIGHT = 0.2
"""Of the last turn in the mean of how long turns take."""
_FULL = "too many requests are waiting; try again later"
_ORDER = sorted(Priority, reverse=True)


@dataclass(eq=False)
class _Waiter:
    number: int
    priority: Priority
    came: float
    turn: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class AdmissionQueue:
    """At most ``at_once`` work; at most ``waiting`` wait. For one event loop.

    Slots go by priority (`serve.observability.request_context`), first in, first out within one; every fourth slot goes
    to the request that has waited longest. A request that meets a full queue replaces the newest one of the lowest
    priority, if that priority is lower than its own and it is not the one that has waited longest.
    """

    def __init__(self, at_once: int, waiting: int, ensemble: str | None = None) -> None:
        """Those of an ``ensemble`` are measured."""
        self._ensemble = ensemble
        self._at_once = at_once
        self._most = waiting
        self._working = 0
        self._turns = 0
        self._mean_s = 0.0
        self._numbers = itertools.count()
        self._queues: dict[Priority, dict[int, _Waiter]] = {priority: {} for priority in _ORDER}
        """By priority the waiting, in the order in which they came."""
        self._tell()

    @property
    def waiting(self) -> int:
        return sum(map(len, self._queues.values()))

    @property
    def here(self) -> int:
        """At work, and waiting."""
        return self._working + self.waiting

    @contextlib.asynccontextmanager
    async def taken(self) -> AsyncIterator[None]:
        """Raises Overloaded, at once when no more may wait or when somebody more urgent comes, and DeadlineExceeded as
        soon as there is no time left. Whoever is cancelled leaves the queue."""
        came = time.monotonic()
        await self._turn()
        began = time.monotonic()
        self._tell(began - came)
        try:
            yield
        finally:
            took_s = time.monotonic() - began
            self._mean_s += (_WEIGHT if self._mean_s else 1.0) * (took_s - self._mean_s)
            self._end()

    async def _turn(self) -> None:
        asked = request_context.current()
        if asked.is_over:
            raise _late()
        if self._working < self._at_once and not self.waiting:
            self._working += 1
            return
        waiter = _Waiter(next(self._numbers), asked.priority, time.monotonic())
        if self.waiting >= self._most:
            self._make_room(waiter)
        self._queues[waiter.priority][waiter.number] = waiter
        self._tell()
        left_s = None if asked.deadline is None else asked.deadline - time.monotonic()
        try:
            async with asyncio.timeout(left_s):
                await waiter.turn
        except BaseException as error:
            self._queues[waiter.priority].pop(waiter.number, None)
            if waiter.turn.done() and not waiter.turn.cancelled() and waiter.turn.exception() is None:
                self._end()  # it got its turn in the same moment
            self._tell(time.monotonic() - waiter.came)
            if isinstance(error, TimeoutError):
                raise _late() from None
            raise

    def _make_room(self, newcomer: _Waiter) -> None:
        """Raises Overloaded when nobody gives way."""
        if not self.waiting:
            raise Overloaded(_FULL, None, self._retry_after_s())
        oldest = self._oldest()
        lasts = (next(reversed(queue.values())) for queue in reversed(self._by_priority()) if queue)
        last = next((waiter for waiter in lasts if waiter is not oldest), oldest)
        if last is oldest or last.priority >= newcomer.priority:
            raise Overloaded(_FULL, None, self._retry_after_s())
        del self._queues[last.priority][last.number]
        if not last.turn.done():
            last.turn.set_exception(Overloaded(_FULL, None, self._retry_after_s()))

    def _end(self) -> None:
        """Gives the place to who is next."""
        while self.waiting:
            oldest = (self._turns + 1) % OLDEST_EVERY == 0
            waiter = self._oldest() if oldest else next(self._heads())
            del self._queues[waiter.priority][waiter.number]
            if not waiter.turn.done():  # else it was cancelled in the same moment
                self._turns += 1
                waiter.turn.set_result(None)
                return
        self._working -= 1
        self._tell()

    def _tell(self, waited_s: float | None = None) -> None:
        if self._ensemble is None:
            return
        catalogue.WAITING.set(self.waiting, self._ensemble)
        catalogue.OLDEST_WAITING.since(self._oldest().came if self.waiting else None, self._ensemble)
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
        """When those that are here should be through, by how long turns took lately."""
        ahead = (self._working + self.waiting) / self._at_once
        shortest_s, longest_s = RETRY_AFTER_S
        return min(longest_s, max(shortest_s, math.ceil(ahead * self._mean_s)))


def _late() -> DeadlineExceeded:
    return DeadlineExceeded("the time was over before its turn came")
