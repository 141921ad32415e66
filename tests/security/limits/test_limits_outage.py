"""Outage of the counter store: requests neither hang nor pass without a limit."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time

import pytest
from limited_site import PERIOD_S, Clock, Site, allowed
from pydantic import SecretStr

from loadtests.security.redis_server import RedisServer
from serve.security.limits.counters import Counters
from serve.security.limits.rate_leases import Rate, RateLeases
from serve.settings import RatesSettings

RATE = Rate("address", 100, PERIOD_S)


class StoreOutage:
    """Blocks the counter store from `begin` until `end`."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._other: sqlite3.Connection | None = None

    def begin(self) -> None:
        if self._site.server is not None:
            self._site.server.freeze()
        else:
            self._other = sqlite3.connect(str(self._site.database.url.database), isolation_level=None)
            self._other.execute("BEGIN EXCLUSIVE")

    def end(self) -> None:
        if self._site.server is not None:
            self._site.server.thaw()
        elif self._other is not None:
            self._other.close()


@pytest.fixture
def outage(site: Site) -> StoreOutage:
    return StoreOutage(site)


async def test_process_counts_alone_and_settles_after_the_outage(
    site: Site, clock: Clock, outage: StoreOutage, caplog: pytest.LogCaptureFixture
) -> None:
    counters = Counters.create(site.rates(timeout_s=1.0), site.database)
    leases, others = RateLeases(counters, RATE, 100, clock), RateLeases(counters, RATE, 100, clock)
    assert await allowed(leases, 10) == 10
    outage.begin()
    began = time.monotonic()
    try:
        with caplog.at_level(logging.WARNING, "serve.security.limits.counters"):
            assert await allowed(leases, 30) == 30
            assert await allowed(leases, 200, "192.0.2.2") == 100, "never more than the limit"
        assert time.monotonic() - began < 60.0, "one request waits, and not all of them"
    finally:
        outage.end()
    assert caplog.text.count("counts alone") == 1
    await _wait_until_up(counters)
    await leases.settle(idle_s=0.0)
    assert await allowed(others, 100) in range(100 - 40 - 8, 100 - 40 + 1)
    assert await allowed(others, 100, "192.0.2.2") <= 8, "what was not told in time may be lost"
    await leases.close()
    await others.close()
    await counters.close()


async def test_used_up_window_stays_refused_during_an_outage(site: Site, clock: Clock, outage: StoreOutage) -> None:
    counters = Counters.create(site.rates(timeout_s=1.0), site.database)
    leases = RateLeases(counters, RATE, 100, clock)
    assert await allowed(leases, 101) == 100
    outage.begin()
    try:
        for window in leases._windows.values():
            window.retry_at = 0.0  # some seconds later
        assert await allowed(leases, 50) == 0
    finally:
        outage.end()
    await leases.close()
    await counters.close()


@pytest.mark.redis
async def test_unreachable_redis_limits_per_process(clock: Clock, tmp_path: object) -> None:
    gone = RatesSettings(redis_url=SecretStr("redis://127.0.0.1:1/0"), timeout_s=0.2)
    counters = Counters.create(gone, None)  # type: ignore[arg-type]  # it is not asked
    leases = RateLeases(counters, RATE, 100, clock)
    assert await allowed(leases, 300) == 100
    await leases.close()
    await counters.close()


@pytest.mark.redis
async def test_restarted_empty_redis_gets_the_used_counts(redis_server: RedisServer, clock: Clock) -> None:
    settings = RatesSettings(redis_url=SecretStr(redis_server.url), timeout_s=2.0)
    counters = Counters.create(settings, None)  # type: ignore[arg-type]  # it is not asked
    leases = RateLeases(counters, RATE, 100, clock)
    assert await allowed(leases, 60) == 60
    redis_server.stop()
    assert await allowed(leases, 200) == 40
    redis_server.start()
    await _wait_until_up(counters)
    await leases.settle(idle_s=0.0)
    assert await allowed(leases, 10) == 0
    await leases.close()
    await counters.close()


async def _wait_until_up(counters: Counters) -> None:
    async with asyncio.timeout(60):
        while counters._is_down:
            try:
                await counters.add("probe", 1, 60)
            except Exception:
                await asyncio.sleep(0.05)
