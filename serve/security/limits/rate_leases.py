"""`RateLeases`: a process leases slices of a fixed window's remaining quota and spends them locally.

Most requests are admitted without a call to the shared store, and all processes together never exceed the limit. A
slice is small compared with the limit, grows with use and shrinks towards the end of the quota; the next slice is
fetched before the last is spent. Unused slices are returned. A slice held by a killed process is lost until the window
ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from serve.errors import StateUnavailable
from serve.security.limits.counters import Counters


@dataclass(frozen=True)
class Rate:
    """At most ``limit`` in ``period_s`` seconds. ``name`` is shown to clients, and part of the counter's key."""

    name: str
    limit: int
    period_s: int


@dataclass(frozen=True)
class RateStatus:
    """The state of a client under a `Rate`: whether the request is allowed, what is ``remaining``, and seconds to the
    next window. ``remaining`` is this process's knowledge: others may have used some since."""

    rate: Rate
    allowed: bool
    remaining: int
    reset_s: int


@dataclass(eq=False, slots=True)
class Window:
    """One window of one key. ``leased`` is what this process may spend without asking the store."""

    counter_key: str
    starts_at: float
    ends_at: float
    leased: int = 0
    owed: int = 0
    """To be added to the store's count; negative: to be subtracted."""
    store_remaining: int | None = None
    """What the store had left of the limit at the last query."""
    used: int = 0
    slice_size: int = 1
    """The size of the next lease."""
    used_at: float = 0.0
    retry_at: float = 0.0
    """When an exhausted window is queried again, since others may have returned some. In `monotonic` time, as
    ``used_at``."""
    backoff_s: float = 0.0
    lease_task: asyncio.Task[None] | None = field(default=None, repr=False)

    def covers(self, now: float) -> bool:
        return self.starts_at <= now < self.ends_at


def window_for(rate: Rate, key: str, now: float) -> Window:
    """The window of ``key`` at ``now`` (Unix time). Windows of different keys start at different times, so that not all
    clients return at the same moment."""
    digest = hashlib.blake2b(f"{rate.name}:{rate.period_s}:{key}".encode("utf-8", "replace"), digest_size=16).digest()
    offset = int.from_bytes(digest[:8]) % rate.period_s
    number = math.floor((now + offset) / rate.period_s)
    starts_at = number * rate.period_s - offset
    return Window(f"{digest.hex()}:{number}", starts_at, starts_at + rate.period_s)


_MAX_SLICE_DIVISOR = 100
"""A slice is at most the limit divided by this ..."""
_MIN_SLICE_CAP = 4
"""... or so much, ..."""
_REMAINING_DIVISOR = 8
"""... and at most the remaining quota divided by this."""
_IDLE_RETURN_S = 5.0
"""After how long an unused slice is returned, and after how long an exhausted window is queried again: first this, then
twice as long each time."""
_SETTLE_INTERVAL_S = 1.0
_CONCURRENT_PAYMENTS = 200
_EXPIRY_MARGIN_S = 60
"""How long a count outlives its window, since clocks differ."""
_CLOSE_S = 2.0


class RateLeases:
    """Of one `Rate`, for one event loop; `start` it, and `close` it. ``clock`` returns Unix time.

    It holds at most ``max_keys`` windows: the least recently used is evicted, and queried again when needed.
    """

    def __init__(self, counters: Counters, rate: Rate, max_keys: int, clock: Callable[[], float] = time.time) -> None:
        self.rate = rate
        self._counters = counters
        self._max_keys = max_keys
        self._clock = clock
        self._max_slice = max(_MIN_SLICE_CAP, rate.limit // _MAX_SLICE_DIVISOR)
        self._windows: OrderedDict[str, Window] = OrderedDict()
        self._unsettled: dict[Window, None] = {}
        # Windows with leased or owed amounts.
        self._evicted: deque[tuple[str, int, float]] = deque(maxlen=max_keys)
        # Amounts owed to evicted windows: (key in the store, amount, end).
        self._settle_task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """From now on unused slices are returned."""
        self._settle_task = asyncio.create_task(self._settle_forever())

    async def close(self) -> None:
        """Returns everything leased."""
        if self._settle_task is not None:
            self._settle_task.cancel()
            await asyncio.gather(self._settle_task, return_exceptions=True)
        lease_task = [window.lease_task for window in self._windows.values() if window.lease_task is not None]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_S):
                await asyncio.gather(*lease_task)
                await self.settle(idle_s=0.0)

    async def take(self, key: str, cost: int) -> RateStatus:
        """Spends ``cost``, if allowed. It waits for the store only when nothing is leased."""
        now = self._clock()
        window = self._window(key, now)
        while window.leased < cost and not self._is_exhausted(window, cost):
            await asyncio.shield(window.lease_task or self._start_lease(window, cost))
        allowed = window.leased >= cost
        if allowed and cost:
            window.leased -= cost
            window.used += cost
            window.used_at = time.monotonic()
            if (
                window.lease_task is None
                and window.store_remaining
                and window.leased <= window.slice_size // 4
                and window.slice_size > 2
            ):
                self._start_lease(window, 0)
        reset_s = max(1, math.ceil(window.ends_at - now))
        store_remaining = self.rate.limit if window.store_remaining is None else window.store_remaining + window.leased
        return RateStatus(self.rate, allowed, store_remaining, reset_s)

    def refund(self, key: str, cost: int) -> None:
        """Returns what was taken and not used."""
        window = self._windows.get(key)
        if window is not None and window.covers(self._clock()) and window.used >= cost:
            window.used -= cost
            window.leased += cost
            self._unsettled[window] = None

    async def settle(self, idle_s: float = _IDLE_RETURN_S) -> None:
        """Writes owed amounts to the store, and returns slices unused for ``idle_s``."""
        now, before = self._clock(), time.monotonic() - idle_s
        due: list[tuple[Window, bool]] = []
        for window in list(self._unsettled):
            if now >= window.ends_at or not (window.leased or window.owed):
                self._unsettled.pop(window, None)
            elif window.lease_task is None and (window.owed or window.used_at <= before):
                due.append((window, window.used_at <= before))
        for first in range(0, len(due), _CONCURRENT_PAYMENTS):
            if not self._counters.is_unavailable:
                await asyncio.gather(*(self._settle_window(*one) for one in due[first : first + _CONCURRENT_PAYMENTS]))
        await self._settle_evicted(now)
        while self._windows and next(iter(self._windows.values())).ends_at <= now:
            self._windows.popitem(last=False)

    def _window(self, key: str, now: float) -> Window:
        window = self._windows.get(key)
        if window is not None and window.covers(now):
            self._windows.move_to_end(key)
            return window
        window = self._windows[key] = window_for(self.rate, key, now)
        self._windows.move_to_end(key)
        if len(self._windows) > self._max_keys:
            self._evict_oldest()
        return window

    def _evict_oldest(self) -> None:
        _, window = self._windows.popitem(last=False)
        if window in self._unsettled:
            del self._unsettled[window]
            if amount := window.owed - window.leased:
                self._evicted.append((window.counter_key, amount, window.ends_at))
            window.leased = window.owed = 0

    def _is_exhausted(self, window: Window, cost: int) -> bool:
        if window.used + cost > self.rate.limit:  # by this process alone, even if the store was emptied
            return True
        return window.store_remaining == 0 and window.lease_task is None and time.monotonic() < window.retry_at

    def _start_lease(self, window: Window, cost: int) -> asyncio.Task[None]:
        """Leases the next slice, at least ``cost``. The task raises nothing."""
        amount_wanted = window.slice_size
        if window.store_remaining is not None:
            amount_wanted = min(amount_wanted, max(1, window.store_remaining // _REMAINING_DIVISOR))
        window.slice_size = min(2 * window.slice_size, self._max_slice)
        window.lease_task = asyncio.create_task(self._lease(window, max(amount_wanted, cost - window.leased)))
        return window.lease_task

    async def _lease(self, window: Window, amount_wanted: int) -> None:
        owed, window.owed = window.owed, 0
        try:
            count = await self._counters.add(window.counter_key, owed + amount_wanted, self._expiry_s(window))
        except StateUnavailable:
            window.owed += max(0, owed)  # a subtraction may have been applied
            self._lease_locally(window, amount_wanted)
        else:
            excess = min(amount_wanted, max(0, count - self.rate.limit))
            window.leased += amount_wanted - excess
            window.owed -= excess
            window.store_remaining = max(0, self.rate.limit - count)
        finally:
            window.lease_task = None
            if window.leased or window.owed:
                self._unsettled[window] = None
        if window.store_remaining == 0:
            window.backoff_s = min(2 * window.backoff_s, self.rate.period_s) or _IDLE_RETURN_S
            window.retry_at = time.monotonic() + window.backoff_s
        else:
            window.backoff_s = 0.0

    def _lease_locally(self, window: Window, amount_wanted: int) -> None:
        """Without the store, a process admits what was left at its last query, and never more than the limit."""
        own_remaining = max(0, self.rate.limit - window.used - window.leased)
        store_remaining = (
            own_remaining if window.store_remaining is None else min(own_remaining, window.store_remaining)
        )
        granted = min(amount_wanted, store_remaining)
        window.leased += granted
        window.owed += granted
        window.store_remaining = store_remaining - granted

    async def _settle_window(self, window: Window, is_idle: bool) -> None:
        """Writes what is owed; for an idle window, also returns what is leased."""
        amount, window.owed = window.owed, 0
        if is_idle:
            amount, window.leased, window.slice_size = amount - window.leased, 0, 1
        if not amount:
            return
        try:
            count = await self._counters.add(window.counter_key, amount, self._expiry_s(window))
        except StateUnavailable:
            window.owed += max(0, amount)
        else:
            window.store_remaining = max(0, self.rate.limit - count)
            window.retry_at = 0.0

    async def _settle_evicted(self, now: float) -> None:
        while self._evicted and not self._counters.is_unavailable:
            batch = [self._evicted.popleft() for _ in range(min(_CONCURRENT_PAYMENTS, len(self._evicted)))]
            due = [
                (key, amount, math.ceil(ends_at - now) + _EXPIRY_MARGIN_S)
                for key, amount, ends_at in batch
                if ends_at > now
            ]
            added = (self._counters.add(key, amount, expiry_s) for key, amount, expiry_s in due if amount)
            for result in await asyncio.gather(*added, return_exceptions=True):
                if isinstance(result, BaseException) and not isinstance(result, StateUnavailable):
                    raise result

    def _expiry_s(self, window: Window) -> int:
        return max(1, math.ceil(window.ends_at - self._clock())) + _EXPIRY_MARGIN_S

    async def _settle_forever(self) -> None:
        while True:
            await asyncio.sleep(_SETTLE_INTERVAL_S)
            await self.settle()
