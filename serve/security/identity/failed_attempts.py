"""Wrong keys, counted by who tries them: after some, one has to wait, and with each more twice as long.

Nobody is held: who has to wait is told so at once, and for how long. What is counted is of this process, and bounded in
number; who was quiet for longest is forgotten first.
"""

from __future__ import annotations

import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from serve.errors import TooManyAttempts
from serve.settings import AccessSettings

MOST = 10_000
"""Addresses, or keys, that are counted at once."""
_MAX_NAME = 64


@dataclass
class _Failures:
    wrong: int = 0
    last: float = 0.0
    until: float = 0.0


class FailedAttempts:
    """``clock`` is in seconds, and never goes back."""

    def __init__(self, settings: AccessSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._tries: OrderedDict[str, _Failures] = OrderedDict()

    def __len__(self) -> int:
        return len(self._tries)

    def check(self, name: str) -> None:
        """Raises TooManyAttempts as long as ``name`` has to wait."""
        tries = self._tries.get(name)
        left = 0.0 if tries is None else tries.until - self._clock()
        if left > 0:
            raise TooManyAttempts("too many wrong keys came from there; try again later", None, math.ceil(left))

    def failed(self, name: str) -> bool:
        """Counts one more; whether ``name`` has to wait from now on."""
        now, limits = self._clock(), self._settings
        tries = self._tries.pop(name, None)
        if tries is None or now - tries.last > limits.wait_max_s:
            tries = _Failures()
        self._tries[name] = tries  # behind all others
        if len(self._tries) > MOST:
            self._tries.popitem(last=False)
        tries.wrong, tries.last = tries.wrong + 1, now
        more = tries.wrong - limits.max_failures
        if more < 0:
            return False
        tries.until = now + min(limits.wait_max_s, limits.wait_s * 2.0 ** min(more, 60))
        return True


def name_of(address: str | None) -> str:
    """Of a client: an IPv4 address, or the /64 of an IPv6 one, which is what one customer commonly has."""
    if address is None:
        return "unknown"
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:_MAX_NAME]
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.IPv6Network((int(found) >> 64 << 64, 64)))
    return str(found)
