"""The queue benchmarks, each with tiny numbers, on both databases: they measure what their tables state."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest
from fastapi import FastAPI
from illustrator_standin import IllustratorStandIn
from programs.http_server import listening
from standin import StandIn

from loadtests.benchmarks.queue import CACHED, CHECKPOINTS, CLAIMS, shown
from loadtests.queue import cached, checkpoints, claims, delays, endpoints, gallery, library
from loadtests.queue.callers import CLOSED_LOOP, OPEN_LOOP, Pace, Samples, interleave
from loadtests.queue.databases import told_by_environment
from loadtests.queue.report import Line, errors_of, line, table
from serve.api.app import create_app
from serve.api.jobs import JobServices
from serve.jobs.direct.service import DirectService
from serve.jobs.queue.events import events_after
from serve.settings import Settings, load
from serve.state import State

BRIEF = Pace(callers=3, every_s=0.1, again_s=0.4, at_once_s=0.2, rounds=2)


def application(settings: Settings) -> FastAPI:
    """The real application, with its own state, around stand-ins for the ensembles."""
    service, illustrator = StandIn(), IllustratorStandIn()
    app = create_app(service, settings, illustrator=illustrator)

    @contextlib.asynccontextmanager
    async def opened(_: FastAPI) -> AsyncIterator[None]:
        state = await State.open(settings)
        direct = DirectService(state, illustrator, service, settings)
        await direct.start()
        app.state.state, app.state.direct, app.state.jobs = state, direct, JobServices(state)
        yield
        await direct.close()
        await state.close()

    app.router.lifespan_context = opened
    return app


@pytest.fixture
def url(settings: Settings) -> Iterator[str]:
    """Its address."""
    with listening(application(settings)) as address:
        yield f"http://{address}"


def check(lines: Sequence[Line], *wanted: str) -> None:
    assert [one.what for one in lines] == list(wanted)
    assert errors_of(lines) == []
    for one in lines:
        assert one.count > 0
        assert 0 < one.p50_ms <= one.p95_ms < math.inf
        assert one.peer == "" or one.peer in wanted


async def test_library_benchmark(settings: Settings) -> None:
    found = await library.measure("here", settings, library.Plan(users=3, each=4, pace=BRIEF))
    names = (library.WRITE, library.ENQUEUE, library.READ, library.STATUS)
    check(found, *(f"{name}, {way}" for way in (OPEN_LOOP, CLOSED_LOOP) for name in names))
    assert [one.goal_ms for one in found[:4]] == [math.inf, 20.0, math.inf, 10.0]


@pytest.mark.parametrize("way", [(1, 3, 2), pytest.param((2, 1, 2), marks=pytest.mark.slow)])
async def test_claims_benchmark(settings: Settings, tmp_path: Path, way: tuple[int, int, int]) -> None:
    given = settings.database.url
    assert given is not None
    plan = claims.Plan(users=10, each=60, turns=4, turn_s=0.1)
    found = await claims.measure("here", given.get_secret_value(), tmp_path, plan, way)
    assert (found.processes, found.tasks, found.at_a_time) == way
    assert found.ours > 0
    assert found.bare > 0
    assert "| here |" in shown(CLAIMS, [found])


async def test_late_worker_claims_once(state: State) -> None:
    await library.fill_queue(state, users=10, each=1)
    turns = claims.Turns(tasks=1, at_a_time=1, turns=4, turn_s=0.1)
    found = await claims.interleave_claims(state.settings, turns, lambda: asyncio.sleep(0, time.time() - 60))
    assert min(found) > 0


async def test_bare_claim_takes_the_first_jobs(state: State) -> None:
    waiting = await library.fill_queue(state, users=2, each=2)
    assert await claims.claim_bare(state.database, "me", 3) == 3
    assert await claims.claim_bare(state.database, "me", 3) == 1
    assert await claims.claim_bare(state.database, "me", 3) == 0
    assert [len(await events_after(state.database, job_id)) for job_id in waiting] == [1] * 4


async def test_gallery_benchmark(settings: Settings) -> None:
    found = await gallery.measure("here", settings, gallery.Plan(mine=300, others=100, repetitions=3))
    check(found, *gallery.CASES, gallery.DEEP, gallery.OFFSET)
    assert {one.count for one in found} == {3}


async def test_checkpoints_benchmark(settings: Settings) -> None:
    found = await checkpoints.measure("here", settings, IllustratorStandIn(), checkpoints.Plan(rounds=2))
    assert [(one.every, one.pairs) for one in found] == [(5, 2), (1, 2)]
    assert all(0 < one.low <= one.ratio <= one.high for one in found)
    assert "every 5 steps | here | 2 |" in shown(CHECKPOINTS, found)


async def test_endpoints_benchmark(settings: Settings, url: str) -> None:
    found = await endpoints.measure("here", url, settings, endpoints.Plan(users=3, each=4, pace=BRIEF))
    names = (endpoints.LIVE, endpoints.ENQUEUE, endpoints.STATUS)
    check(found, *(f"{name}, {way}" for way in (OPEN_LOOP, CLOSED_LOOP) for name in names))


async def test_cached_answers_benchmark(url: str) -> None:
    pace = Pace(callers=2, every_s=0.1, again_s=0.4, at_once_s=0.2, rounds=1)
    found = await cached.measure("here", url, cached.Plan([pace]))
    names = (cached.LIVE, cached.ILLUSTRATED, cached.VECTORIZED)
    check(found, *(f"{name}, 2 callers, {way}" for way in (OPEN_LOOP, CLOSED_LOOP) for name in names))
    assert "POST /api/convert-ai" in shown(CACHED, found)


async def test_delays_benchmark(settings: Settings, url: str) -> None:
    found = await delays.measure("here", url, settings, delays.Plan(jobs=(1, 3), every_s=0.1, seconds=0.5))
    check(found, "1 client follows 1 job", "3 clients follow 3 jobs")
    assert found[1].count > found[0].count


async def test_paced_callers_do_not_wait_for_responses() -> None:
    """Callers without a pace do."""

    async def slow(_: int) -> None:
        await asyncio.sleep(0.25)

    found = await interleave({"slow": slow}, Pace(callers=2, every_s=0.05, again_s=0.5, at_once_s=0.5, rounds=1))
    assert len(found["slow", OPEN_LOOP].taken_s) > 8
    assert len(found["slow", CLOSED_LOOP].taken_s) == 4


async def test_errors_are_counted_and_not_averaged() -> None:
    async def broken(caller: int) -> None:
        await asyncio.sleep(0.01)
        if caller:
            raise ValueError("no")

    found = await interleave({"broken": broken}, Pace(callers=2, again_s=0.0, at_once_s=0.2, rounds=1))
    one = line("here", "broken", found["broken", CLOSED_LOOP], 1e6)
    assert one.count > 0
    assert one.errors > 0
    assert not one.met
    assert errors_of([one]) == ["error seen, here, broken: ValueError: no"]


def test_table_has_databases_side_by_side_and_ratios_to_peers() -> None:
    lines = [
        line(database, what, Samples(2.0, [seconds] * 10), goal, peer)
        for database, seconds in (("a", 0.010), ("b", 0.040))
        for what, goal, peer in (("peer", math.inf, ""), ("ours", 20.0, "peer"))
    ]
    lines[1] = line("a", "ours", Samples(2.0, [0.015] * 10), 20.0, "peer")
    rows = [row.strip("| ").split(" | ") for row in table("what", lines).splitlines()[2:]]
    assert [row[:2] for row in rows] == [["peer", "a"], ["peer", "b"], ["ours", "a"], ["ours", "b"]]
    assert rows[0][4:] == ["5", "10.0", "10.0", "–", "–", "–"]
    assert rows[2][4:] == ["5", "15.0", "15.0", "1.50 x", "20", "yes"]
    assert rows[3][4:] == ["5", "40.0", "40.0", "1.00 x", "20", "no"]


def test_measurement_without_responses_still_gives_a_line() -> None:
    assert line("here", "nothing", Samples(1.0, [], ["broken"]), 5.0).met is False


def test_stack_gets_its_database_by_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ATELIER_DATABASE__URL", raising=False)
    with told_by_environment(f"sqlite:///{tmp_path}/a.db"):
        given = load().database.url
    assert given is not None
    assert given.get_secret_value() == f"sqlite:///{tmp_path}/a.db"
    assert load().database.url is None
