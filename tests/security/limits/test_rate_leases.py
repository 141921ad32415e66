"""A rate limit holds across processes, restarts, clock changes and store outages (C-092)."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from limited_site import NOW, PERIOD_S, Clock, Site, allowed, process

from serve.jobs.worker.maintenance import delete_old_counters
from serve.security.limits.rate_leases import Rate, window_for
from serve.state import State
from serve.state.tables import counters, utc_now


async def test_limit_is_enforced_per_address(site: Site, clock: Clock) -> None:
    async with process(site, clock) as leases:
        assert await allowed(leases, 150) == 100
        assert await allowed(leases, 1, "192.0.2.2") == 1


async def test_remaining_counts_down_to_zero(site: Site, clock: Clock) -> None:
    async with process(site, clock, limit=20) as leases:
        decisions = [await leases.take("192.0.2.1", 1) for _ in range(21)]
    assert [one.remaining for one in decisions] == [*range(19, -1, -1), 0]
    assert decisions[-1].allowed is False
    assert 1 <= decisions[-1].reset_s <= PERIOD_S


async def test_request_costs_add_up(site: Site, clock: Clock) -> None:
    async with process(site, clock) as leases:
        assert await allowed(leases, 30, cost=7) == 14
        assert await allowed(leases, 5, cost=1) == 2
        assert not (await leases.take("192.0.2.1", 101)).allowed
        assert await allowed(leases, 3, cost=0) == 3
        assert (await leases.take("192.0.2.2", 0)).remaining == 100


@pytest.mark.parametrize("limit", [1, 3, 100, 1000])
async def test_processes_share_one_limit(site: Site, clock: Clock, limit: int) -> None:
    async with contextlib.AsyncExitStack() as stack:
        all_of_them = [await stack.enter_async_context(process(site, clock, limit)) for _ in range(4)]
        counts = await asyncio.gather(*(allowed(one, limit) for one in all_of_them))
    assert sum(counts) == limit


async def test_restart_keeps_the_counts(site: Site, clock: Clock) -> None:
    async with process(site, clock) as leases:
        assert await allowed(leases, 37) == 37
    async with process(site, clock) as leases:
        assert await allowed(leases, 100) == 63
    async with process(site, clock) as leases:
        assert await allowed(leases, 10) == 0


async def test_crash_loses_at_most_two_slices(site: Site, clock: Clock) -> None:
    async with process(site, clock) as leases:
        assert await allowed(leases, 37) == 37
        leases._unsettled.clear()  # killed: its slices are not returned
    async with process(site, clock) as leases:
        assert 63 - 8 <= await allowed(leases, 100) <= 63


async def test_unused_slices_are_returned(site: Site, clock: Clock) -> None:
    async with process(site, clock) as idle, process(site, clock) as busy:
        assert await allowed(idle, 37) == 37
        await idle.settle(idle_s=0.0)
        assert await allowed(busy, 100) == 63


async def test_used_up_window_is_requested_again(site: Site, clock: Clock) -> None:
    async with process(site, clock) as idle, process(site, clock) as busy:
        assert await allowed(idle, 6) == 6
        assert 85 <= await allowed(busy, 100) < 94
        (window,) = busy._windows.values()
        await idle.settle(idle_s=0.0)
        window.retry_at = 0.0  # some seconds later
        found = await allowed(busy, 100)
        assert found > 0
        assert 6 + window.used == 100


async def test_next_window_starts_at_zero(site: Site, clock: Clock) -> None:
    ends_at = window_for(Rate("address", 100, PERIOD_S), "192.0.2.1", NOW).ends_at
    async with process(site, clock) as leases:
        clock.now = ends_at - 0.001
        assert await allowed(leases, 101) == 100
        clock.now = ends_at
        assert await allowed(leases, 101) == 100
        clock.now = ends_at + PERIOD_S - 0.001
        assert await allowed(leases, 1) == 0


async def test_clock_set_back_allows_nothing_extra(site: Site, clock: Clock) -> None:
    async with process(site, clock) as leases, process(site, clock) as other:
        assert await allowed(leases, 101) == 100
        clock.now += PERIOD_S
        assert await allowed(leases, 60) == 60
        clock.now -= PERIOD_S
        assert await allowed(leases, 10) == 0
        assert await allowed(other, 10) == 0
        clock.now += PERIOD_S
        assert 30 <= await allowed(leases, 100) <= 40


async def test_windows_of_addresses_start_at_different_times() -> None:
    rate = Rate("address", 100, PERIOD_S)
    starts = {window_for(rate, f"192.0.2.{n}", NOW).starts_at for n in range(100)}
    assert len(starts) > 80
    assert all(NOW - PERIOD_S < start <= NOW for start in starts)


async def test_most_requests_do_not_call_the_store(site: Site, clock: Clock) -> None:
    async with process(site, clock, limit=10_000) as leases:
        calls = 0
        add = leases._counters.add

        async def counted(key: str, amount: int, expiry_s: int) -> int:
            nonlocal calls
            calls += 1
            return await add(key, amount, expiry_s)

        leases._counters.add = counted  # type: ignore[method-assign]
        assert await allowed(leases, 5000) == 5000
        assert calls < 80
        await allowed(leases, 5000)
        calls = 0
        assert await allowed(leases, 100_000) == 0
        assert calls < 20


@pytest.mark.slow
async def test_memory_is_bounded_for_many_addresses(site: Site, clock: Clock) -> None:
    async with process(site, clock, max_windows=250) as leases:
        for first in range(0, 2_000, 125):
            found = await asyncio.gather(*(leases.take(f"2001:db8:{n:x}::/64", 1) for n in range(first, first + 125)))
            assert all(one.allowed for one in found)
        assert len(leases._windows) == 250
        assert len(leases._unsettled) + len(leases._evicted) <= 500
        assert await allowed(leases, 100, "2001:db8:0::/64") == 99


async def test_expired_counters_are_deleted(site: Site, clock: Clock) -> None:
    if site.settings.rates.redis_url is not None:
        pytest.skip("Redis forgets by itself")
    state = await State.open(site.settings)
    async with process(site, clock) as leases:
        await allowed(leases, 3)
        await allowed(leases, 3, "192.0.2.2")
    first = sa.select(sa.func.min(counters.c.key)).scalar_subquery()
    async with site.database.write() as connection:
        past = {"expires_at": utc_now() - timedelta(seconds=1)}
        await connection.execute(sa.update(counters).where(counters.c.key == first).values(past))
    await delete_old_counters(state)
    async with site.database.read() as connection:
        assert await connection.scalar(sa.select(sa.func.count()).select_from(counters)) == 1
    await state.close()


_PROCESS = """
import asyncio, sys
from pydantic import SecretStr
from serve.security.limits.limiter import Client, Limiter
from serve.settings import DatabaseSettings, RatesSettings, Settings
from serve.state.database import Database, database_url

async def main(url, redis_url, requests):
    rates = RatesSettings(redis_url=SecretStr(redis_url) if redis_url else None, timeout_s=10)
    settings = Settings(database=DatabaseSettings(url=SecretStr(url), timeout_s=60), rates=rates)
    database = Database(database_url(settings), settings.database)
    limiter = Limiter.create(rates, database)
    limiter.start()
    found = 0
    for first in range(0, requests, 20):
        client = Client("ada", f"192.0.2.{first % 250}")
        taken = await asyncio.gather(*(limiter.take(client, "read") for _ in range(20)))
        found += sum(all(one.allowed for one in standings) for standings in taken)
    await limiter.close()
    await database.close()
    print(found)

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""


@pytest.mark.slow
def test_real_processes_share_one_limit(site: Site) -> None:
    """1,000 a day for one user, from many addresses (C-092)."""
    url, rates = site.settings.database.url, site.settings.rates
    assert url is not None
    redis_url = rates.redis_url.get_secret_value() if rates.redis_url is not None else ""
    home = Path(__file__).parents[3]
    command = [sys.executable, "-c", _PROCESS, url.get_secret_value(), redis_url, "600"]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, cwd=home) for _ in range(2)]
    counts = [int(one.communicate(timeout=300)[0]) for one in running]
    assert 980 <= sum(counts) <= 1000
