"""`Limiter`: whether a request may pass, by where it comes from and by who asks."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from serve.errors import TooManyRequests
from serve.observability.metrics.catalogue import RATE_LIMITED
from serve.security.limits.addresses import counted_as, is_loopback
from serve.security.limits.counters import Counters
from serve.security.limits.leases import RateLeases
from serve.security.limits.windows import Rate, Standing
from serve.settings import RatesSettings
from serve.state.database import Database

Work = Literal["read", "write", "vectorize", "draw"]
"""What a request is about: `rates.costs` has what each takes."""


@dataclass(frozen=True)
class Client:
    """``user_id`` is None for who showed no key. ``forwarded``: the request names a hop before ``address``."""

    user_id: str | None
    address: str
    forwarded: bool = False


class Limiter:
    """For one event loop; `start` it, and `close` it."""

    def __init__(self, settings: RatesSettings, counters: Counters, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._counters = counters
        s, most = settings, settings.max_tracked
        by_address = Rate("address", s.address_requests, s.address_period_s)
        by_user = Rate("user", s.user_requests, s.user_period_s)
        self._by_address = RateLeases(counters, by_address, most, clock) if s.per_address else None
        self._by_user = RateLeases(counters, by_user, most, clock) if s.per_user else None

    @classmethod
    def of(cls, settings: RatesSettings, database: Database) -> Limiter:
        """Raises InvalidRequest for a `rates.redis_url` that is none."""
        return cls(settings, Counters.of(settings, database))

    def start(self) -> None:
        for leases in (self._by_address, self._by_user):
            if leases is not None:
                leases.start()

    async def close(self) -> None:
        """What this process holds of the limits goes back to all."""
        for leases in (self._by_address, self._by_user):
            if leases is not None:
                await leases.close()
        await self._counters.close()

    def rates_for(self, client: Client) -> Sequence[tuple[RateLeases, str]]:
        """The limits that ``client`` is under, and what it is counted as."""
        found: list[tuple[RateLeases, str]] = []
        if self._by_address is not None and self._counts_address(client):
            found.append((self._by_address, counted_as(client.address)))
        if self._by_user is not None and client.user_id is not None:
            found.append((self._by_user, client.user_id))
        return found

    async def take(self, client: Client, work: Work) -> Sequence[Standing]:
        """How ``client`` stands to each of its limits once this request is counted, which is let in if all allow it.

        One that is refused is not counted.
        """
        cost: int = getattr(self._settings.costs, work)
        standings: list[Standing] = []
        taken: list[tuple[RateLeases, str]] = []
        for leases, key in self.rates_for(client):
            standing = await leases.take(key, cost)
            standings.append(standing)
            if not standing.allowed:
                RATE_LIMITED.add(1, standing.rate.name)
                for one, its_key in taken:
                    one.put_back(its_key, cost)
                break
            taken.append((leases, key))
        return standings

    async def check(self, client: Client, work: Work) -> None:
        """As `take`, for doors without headers. Raises TooManyRequests."""
        refuse_beyond(await self.take(client, work))

    def _counts_address(self, client: Client) -> bool:
        if client.user_id is not None and not self._settings.users_by_address:
            return False
        # A proxy on this machine that the site does not name calls from loopback too, and adds such a header.
        return self._settings.loopback or client.forwarded or not is_loopback(client.address)


def refuse_beyond(standings: Sequence[Standing]) -> None:
    """Raises TooManyRequests for the one that does not allow it."""
    for standing in standings:
        if not standing.allowed:
            rate = standing.rate
            told = f"at most {rate.limit} requests per {rate.name} in {_words(rate.period_s)}; come again later"
            raise TooManyRequests(told, None, standing.reset_s)


def _words(seconds: int) -> str:
    for name, size in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if seconds % size == 0:
            return f"a {name}" if seconds == size else f"{seconds // size} {name}s"
    return f"{seconds} seconds"
