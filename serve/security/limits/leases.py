"""`RateLeases`: a process takes slices of what is left of a window, and spends them by itself.

So most requests are let in without anybody being asked, and all processes together never let in more than the limit. A
slice is small against the limit, grows with use and shrinks towards the end; the next one is fetched before the last is
spent. What nobody uses goes back. What a process that is killed still held is lost until the window ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable

from serve.errors import StateUnavailable
from serve.security.limits.counters import Counters
from serve.security.limits.windows import Rate, Standing, Window, window_at

_SHARE = 100
"""A slice is at most this part of the limit ..."""
_LEAST = 4
"""... or so much, ..."""
_OF_LEFT = 8
"""... and this part of what is left."""
_IDLE_S = 5.0
"""After how long a slice that nobody uses goes back; and how soon a window that was used up is asked for again: at
first, then after twice as long each time."""
_SETTLE_S = 1.0
_AT_ONCE = 200
_LATER_S = 60
"""How long a count outlives its window: clocks differ."""
_CLOSE_S = 2.0


class RateLeases:
    """Of one `Rate`, for one event loop; `start` it, and `close` it. ``clock`` tells Unix time.

    It knows of ``most`` keys at most: which was used longest ago is forgotten first, and asked for again.
    """

    def __init__(self, counters: Counters, rate: Rate, most: int, clock: Callable[[], float] = time.time) -> None:
        self.rate = rate
        self._counters = counters
        self._most = most
        self._clock = clock
        self._cap = max(_LEAST, rate.limit // _SHARE)
        self._windows: OrderedDict[str, Window] = OrderedDict()
        self._unsettled: dict[Window, None] = {}
        """Those that hold something, or owe it."""
        self._forgotten: deque[tuple[str, int, float]] = deque(maxlen=most)
        """What is owed to windows that are not known any more: (key in the store, amount, when it ends)."""
        self._settling: asyncio.Task[None] | None = None

    def start(self) -> None:
        """From now on slices that nobody uses go back."""
        self._settling = asyncio.create_task(self._settle_forever())

    async def close(self) -> None:
        """Gives back all that is held."""
        if self._settling is not None:
            self._settling.cancel()
            await asyncio.gather(self._settling, return_exceptions=True)
        asking = [window.asking for window in self._windows.values() if window.asking is not None]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_S):
                await asyncio.gather(*asking)
                await self.settle(idle_s=0.0)

    async def take(self, key: str, cost: int) -> Standing:
        """Lets ``cost`` in, or not. It waits for the store when nothing is held, and for no longer than that takes."""
        now = self._clock()
        window = self._window(key, now)
        while window.held < cost and not self._is_used_up(window, cost):
            await asyncio.shield(window.asking or self._ask(window, cost))
        allowed = window.held >= cost
        if allowed and cost:
            window.held -= cost
            window.spent += cost
            window.used_at = time.monotonic()
            if window.asking is None and window.left and window.held <= window.slice // 4 and window.slice > 2:
                self._ask(window, 0)
        reset_s = max(1, math.ceil(window.ends_at - now))
        left = self.rate.limit if window.left is None else window.left + window.held
        return Standing(self.rate, allowed, left, reset_s)

    def put_back(self, key: str, cost: int) -> None:
        """What was taken and not used: it is held again."""
        window = self._windows.get(key)
        if window is not None and window.covers(self._clock()) and window.spent >= cost:
            window.spent -= cost
            window.held += cost
            self._unsettled[window] = None

    async def settle(self, idle_s: float = _IDLE_S) -> None:
        """Tells the store what is owed, and gives back what was not used for ``idle_s``."""
        now, before = self._clock(), time.monotonic() - idle_s
        due: list[tuple[Window, bool]] = []
        for window in list(self._unsettled):
            if now >= window.ends_at or not (window.held or window.owed):
                self._unsettled.pop(window, None)
            elif window.asking is None and (window.owed or window.used_at <= before):
                due.append((window, window.used_at <= before))
        for first in range(0, len(due), _AT_ONCE):
            if not self._counters.is_away:
                await asyncio.gather(*(self._pay(*one) for one in due[first : first + _AT_ONCE]))
        await self._settle_forgotten(now)
        while self._windows and next(iter(self._windows.values())).ends_at <= now:
            self._windows.popitem(last=False)

    def _window(self, key: str, now: float) -> Window:
        window = self._windows.get(key)
        if window is not None and window.covers(now):
            self._windows.move_to_end(key)
            return window
        window = self._windows[key] = window_at(self.rate, key, now)
        self._windows.move_to_end(key)
        if len(self._windows) > self._most:
            self._forget()
        return window

    def _forget(self) -> None:
        _, window = self._windows.popitem(last=False)
        if window in self._unsettled:
            del self._unsettled[window]
            if amount := window.owed - window.held:
                self._forgotten.append((window.stored_as, amount, window.ends_at))
            window.held = window.owed = 0

    def _is_used_up(self, window: Window, cost: int) -> bool:
        if window.spent + cost > self.rate.limit:  # of this process alone: whatever a store that was emptied says
            return True
        return window.left == 0 and window.asking is None and time.monotonic() < window.ask_again_at

    def _ask(self, window: Window, cost: int) -> asyncio.Task[None]:
        """Fetches the next slice, enough for ``cost``. The task raises nothing."""
        wanted = window.slice
        if window.left is not None:
            wanted = min(wanted, max(1, window.left // _OF_LEFT))
        window.slice = min(2 * window.slice, self._cap)
        window.asking = asyncio.create_task(self._lease(window, max(wanted, cost - window.held)))
        return window.asking

    async def _lease(self, window: Window, wanted: int) -> None:
        owed, window.owed = window.owed, 0
        try:
            count = await self._counters.add(window.stored_as, owed + wanted, self._expiry_s(window))
        except StateUnavailable:
            window.owed += max(0, owed)  # what was to be taken off may be taken off by now
            self._lease_alone(window, wanted)
        else:
            excess = min(wanted, max(0, count - self.rate.limit))
            window.held += wanted - excess
            window.owed -= excess
            window.left = max(0, self.rate.limit - count)
        finally:
            window.asking = None
            if window.held or window.owed:
                self._unsettled[window] = None
        if window.left == 0:
            window.wait_s = min(2 * window.wait_s, self.rate.period_s) or _IDLE_S
            window.ask_again_at = time.monotonic() + window.wait_s
        else:
            window.wait_s = 0.0

    def _lease_alone(self, window: Window, wanted: int) -> None:
        """Without the store a process lets in what was left when it last knew, and never more than the limit."""
        own = max(0, self.rate.limit - window.spent - window.held)
        left = own if window.left is None else min(own, window.left)
        granted = min(wanted, left)
        window.held += granted
        window.owed += granted
        window.left = left - granted

    async def _pay(self, window: Window, is_idle: bool) -> None:
        """What is owed, and of one that ``is_idle`` also what is held."""
        amount, window.owed = window.owed, 0
        if is_idle:
            amount, window.held, window.slice = amount - window.held, 0, 1
        if not amount:
            return
        try:
            count = await self._counters.add(window.stored_as, amount, self._expiry_s(window))
        except StateUnavailable:
            window.owed += max(0, amount)
        else:
            window.left = max(0, self.rate.limit - count)
            window.ask_again_at = 0.0

    async def _settle_forgotten(self, now: float) -> None:
        while self._forgotten and not self._counters.is_away:
            some = [self._forgotten.popleft() for _ in range(min(_AT_ONCE, len(self._forgotten)))]
            due = [(key, amount, math.ceil(ends_at - now) + _LATER_S) for key, amount, ends_at in some if ends_at > now]
            added = (self._counters.add(key, amount, expiry_s) for key, amount, expiry_s in due if amount)
            for result in await asyncio.gather(*added, return_exceptions=True):
                if isinstance(result, BaseException) and not isinstance(result, StateUnavailable):
                    raise result

    def _expiry_s(self, window: Window) -> int:
        return max(1, math.ceil(window.ends_at - self._clock())) + _LATER_S

    async def _settle_forever(self) -> None:
        while True:
            await asyncio.sleep(_SETTLE_S)
            await self.settle()
