"""`Limiter`: rate limits per client address and per user, and the response headers that report them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from serve.errors import TooManyRequests
from serve.observability.metrics.catalogue import RATE_LIMITED
from serve.security.limits.addresses import is_loopback, rate_limit_key
from serve.security.limits.counters import Counters
from serve.security.limits.rate_leases import Rate, RateLeases, RateStatus
from serve.settings import RatesSettings
from serve.state.database import Database

Work = Literal["read", "write", "vectorize", "draw"]
"""The kind of a request; `rates.costs` has its cost."""


@dataclass(frozen=True)
class Client:
    """``user_id`` is None for a client without a key. ``forwarded``: the request names a hop before ``address``."""

    user_id: str | None
    address: str
    forwarded: bool = False


class Limiter:
    """For one event loop; `start` it, and `close` it."""

    def __init__(self, settings: RatesSettings, counters: Counters, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._counters = counters
        s, max_keys = settings, settings.max_tracked
        by_address = Rate("address", s.address_requests, s.address_period_s)
        by_user = Rate("user", s.user_requests, s.user_period_s)
        self._by_address = RateLeases(counters, by_address, max_keys, clock) if s.per_address else None
        self._by_user = RateLeases(counters, by_user, max_keys, clock) if s.per_user else None

    @classmethod
    def create(cls, settings: RatesSettings, database: Database) -> Limiter:
        """Raises InvalidRequest for an invalid `rates.redis_url`."""
        return cls(settings, Counters.create(settings, database))

    def start(self) -> None:
        for leases in (self._by_address, self._by_user):
            if leases is not None:
                leases.start()

    async def close(self) -> None:
        """Returns this process's leased quota."""
        for leases in (self._by_address, self._by_user):
            if leases is not None:
                await leases.close()
        await self._counters.close()

    def limits_for(self, client: Client) -> Sequence[tuple[RateLeases, str]]:
        """The limits that apply to ``client``, each with the client's key."""
        found: list[tuple[RateLeases, str]] = []
        if self._by_address is not None and self._is_limited_by_address(client):
            found.append((self._by_address, rate_limit_key(client.address)))
        if self._by_user is not None and client.user_id is not None:
            found.append((self._by_user, client.user_id))
        return found

    async def take(self, client: Client, work: Work) -> Sequence[RateStatus]:
        """Counts a request; the statuses of the client's limits. It is admitted if all of them allow it.

        A rejected request is not counted.
        """
        cost: int = getattr(self._settings.costs, work)
        statuses: list[RateStatus] = []
        taken: list[tuple[RateLeases, str]] = []
        for leases, key in self.limits_for(client):
            status = await leases.take(key, cost)
            statuses.append(status)
            if not status.allowed:
                RATE_LIMITED.add(1, status.rate.name)
                for one, taken_key in taken:
                    one.refund(taken_key, cost)
                break
            taken.append((leases, key))
        return statuses

    async def check(self, client: Client, work: Work) -> None:
        """As `take`, for APIs without response headers. Raises TooManyRequests."""
        raise_if_exceeded(await self.take(client, work))

    def _is_limited_by_address(self, client: Client) -> bool:
        if client.user_id is not None and not self._settings.users_by_address:
            return False
        # An unnamed proxy on this machine also connects from loopback, but adds a forwarding header.
        return self._settings.loopback or client.forwarded or not is_loopback(client.address)


def raise_if_exceeded(statuses: Sequence[RateStatus]) -> None:
    """Raises TooManyRequests for the first limit that does not allow the request."""
    for status in statuses:
        if not status.allowed:
            rate = status.rate
            message = (
                f"at most {rate.limit} requests per {rate.name} in {_period_text(rate.period_s)}; come again later"
            )
            raise TooManyRequests(message, None, status.reset_s)


def _period_text(seconds: int) -> str:
    for name, size in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if seconds % size == 0:
            return f"a {name}" if seconds == size else f"{seconds // size} {name}s"
    return f"{seconds} seconds"


HEADER_NAMES = ("RateLimit", "RateLimit-Policy", "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset")


def rate_limit_headers(statuses: Sequence[RateStatus]) -> list[tuple[str, str]]:
    """``RateLimit-Policy`` and ``RateLimit`` follow draft-ietf-httpapi-ratelimit-headers-10, and list every limit.
    ``RateLimit-Limit``, ``-Remaining`` and ``-Reset`` follow its drafts up to 06, which most clients know; they report
    the tightest limit. Empty without limits."""
    if not statuses:
        return []
    nearest = min(statuses, key=lambda one: (one.allowed, one.remaining, -one.reset_s))
    return [
        ("RateLimit-Policy", ", ".join(f'"{s.rate.name}";q={s.rate.limit};w={s.rate.period_s}' for s in statuses)),
        ("RateLimit", ", ".join(f'"{s.rate.name}";r={_remaining(s)};t={s.reset_s}' for s in statuses)),
        ("RateLimit-Limit", str(nearest.rate.limit)),
        ("RateLimit-Remaining", str(_remaining(nearest))),
        ("RateLimit-Reset", str(nearest.reset_s)),
    ]


def _remaining(status: RateStatus) -> int:
    """A rejected request has nothing left, even if a cheaper one would be allowed."""
    return status.remaining if status.allowed else 0
