"""Requests that come at a rate, whether or not earlier ones are answered: an open loop.

Users who wait for their answers ask less often the slower they are answered, and so hide what others would have
waited for. Here each request has its time. It is sent by whichever user is free then, and another user is made when
none is; with ``MOST`` under way it is not sent, and counts as late.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from typing import Any

import gevent

from loadtests.load.users import USERS
from loadtests.load.users.load_user import LoadUser

MOST = 500
"""Under way at once: 30 s at 1,000 a minute."""


class Arrivals:
    """Sends ``per_minute`` requests for ``seconds``, at random times (Poisson), in the shares of ``mix``."""

    def __init__(self, environment: Any, mix: Mapping[str, int], per_minute: float, seconds: float) -> None:
        self._environment = environment
        self._names, self._weights = list(mix), list(mix.values())
        self._rate, self._seconds = per_minute / 60, seconds
        self._random = random.Random(7)
        self._free: dict[str, list[LoadUser]] = {name: [] for name in mix}
        self._under_way: set[gevent.Greenlet] = set()

    def run(self) -> None:
        """Until the last request is answered."""
        began, due_s = time.perf_counter(), self._random.expovariate(self._rate)
        while due_s < self._seconds:
            gevent.sleep(max(0.0, began + due_s - time.perf_counter()))
            self._send(began + due_s)
            due_s += self._random.expovariate(self._rate)
        gevent.joinall(list(self._under_way))

    def _send(self, due: float) -> None:
        if len(self._under_way) >= MOST:
            LoadUser.notes.could_not_be_sent()
            return
        name = self._random.choices(self._names, self._weights)[0]
        greenlet = gevent.spawn(self._act, name, due)
        self._under_way.add(greenlet)
        greenlet.link(self._under_way.discard)

    def _act(self, name: str, due: float) -> None:
        user = self._free[name].pop() if self._free[name] else self._made(name)
        LoadUser.notes.came(time.perf_counter() - due)
        user.act()
        self._free[name].append(user)

    def _made(self, name: str) -> LoadUser:
        user = USERS[name](self._environment)
        user.on_start()
        return user
