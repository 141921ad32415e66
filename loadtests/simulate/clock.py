"""Simulated time: what is to happen, in order."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from typing import Any

Action = Callable[..., None]


class Clock:
    def __init__(self) -> None:
        self.now = 0.0
        self._order = itertools.count()
        self._events: list[tuple[float, int, Action, tuple[Any, ...]]] = []

    def at(self, time_s: float, action: Action, *arguments: Any) -> None:
        """What is due at the same time happens in the order in which it was asked for."""
        heapq.heappush(self._events, (time_s, next(self._order), action, arguments))

    def after(self, seconds: float, action: Action, *arguments: Any) -> None:
        self.at(self.now + seconds, action, *arguments)

    def run(self) -> None:
        """Until nothing is left to happen."""
        while self._events:
            self.now, _, action, arguments = heapq.heappop(self._events)
            action(*arguments)
