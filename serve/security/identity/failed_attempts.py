"""Rate limits wrong API keys per source: after some, the source has to wait, with each more twice as long.

Nothing is delayed: a source that has to wait gets an error with the time at once. Counts are per process, and bounded
in number; the least recently failed source is forgotten first.
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

MAX_TRACKED = 10_000
"""Addresses, or keys, tracked at once."""
_MAX_LENGTH = 64


@dataclass
class _Failures:
    count: int = 0
    last: float = 0.0
    until: float = 0.0


class FailedAttempts:
    """``clock`` is in seconds, and monotonic."""

    def __init__(self, settings: AccessSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._failures: OrderedDict[str, _Failures] = OrderedDict()

    def __len__(self) -> int:
        return len(self._failures)

    def check(self, source: str) -> None:
        """Raises TooManyAttempts as long as ``source`` has to wait."""
        failures = self._failures.get(source)
        remaining_s = 0.0 if failures is None else failures.until - self._clock()
        if remaining_s > 0:
            raise TooManyAttempts("too many wrong keys came from there; try again later", None, math.ceil(remaining_s))

    def record_failure(self, source: str) -> bool:
        """Counts one more; whether ``source`` has to wait from now on."""
        now, limits = self._clock(), self._settings
        failures = self._failures.pop(source, None)
        if failures is None or now - failures.last > limits.wait_max_s:
            failures = _Failures()
        self._failures[source] = failures  # moves it to the end
        if len(self._failures) > MAX_TRACKED:
            self._failures.popitem(last=False)
        failures.count, failures.last = failures.count + 1, now
        excess = failures.count - limits.max_failures
        if excess < 0:
            return False
        failures.until = now + min(limits.wait_max_s, limits.wait_s * 2.0 ** min(excess, 60))
        return True


def client_group(address: str | None) -> str:
    """The source of a client: an IPv4 address, or the /64 of an IPv6 address, the usual allocation of one customer."""
    if address is None:
        return "unknown"
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:_MAX_LENGTH]
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.IPv6Network((int(found) >> 64 << 64, 64)))
    return str(found)
