"""A site with rate limits: its counter store, one process of it, and a clock."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from loadtests.queue.postgresql import PostgreSQL
from loadtests.security.redis_server import RedisServer
from serve.security.limits.counters import Counters
from serve.security.limits.rate_leases import Rate, RateLeases
from serve.settings import RatesSettings, Settings
from serve.state.database import Database

PERIOD_S = 900
NOW = 1_800_000_000.0


@dataclass(frozen=True)
class Site:
    """The counter store; ``server`` is its database server, None with SQLite."""

    settings: Settings
    database: Database
    server: PostgreSQL | RedisServer | None

    def rates(self, **values: object) -> RatesSettings:
        return RatesSettings.model_validate({"redis_url": self.settings.rates.redis_url, **values})


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@contextlib.asynccontextmanager
async def process(site: Site, clock: Clock, limit: int = 100, max_windows: int = 1000) -> AsyncIterator[RateLeases]:
    """The rate leases of one process; slices are returned only when it closes."""
    shared = Counters.create(site.rates(timeout_s=10), site.database)
    leases = RateLeases(shared, Rate("address", limit, PERIOD_S), max_windows, clock)
    yield leases
    await leases.close()
    await shared.close()


async def allowed(leases: RateLeases, requests: int, key: str = "192.0.2.1", cost: int = 1) -> int:
    return sum([(await leases.take(key, cost)).allowed for _ in range(requests)])
