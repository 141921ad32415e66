"""Who lives shows it in time, also while something that it asked of the database hangs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from illustrator_standin import IllustratorStandIn
from standin import StandIn
from test_leases import Clock, worker
from test_queue import ANA, request, with_jobs
from test_worker import over
from test_worker import until as job_until
from waiting import until

from serve.errors import StateUnavailable
from serve.jobs.direct.in_flight import InFlightRequests
from serve.jobs.queue.generation_queue import GenerationQueue
from serve.jobs.worker.claims import ClaimedJob
from serve.jobs.worker.database_timeout import DatabaseTimeout
from serve.jobs.worker.execution import JobExecutor
from serve.jobs.worker.lease_reaper import LeaseReaper
from serve.jobs.worker.leases import LeaseLost
from serve.jobs.worker.worker import Worker
from serve.state import State

QUICK = {"poll_s": 0.01, "beat_s": 0.05, "lease_s": 1.5}


class Hanging:
    """Makes the first call of a method that comes after `begin` wait for the end of the test, as on a dead connection.

    ``passed`` calls came through; ``ended`` is that the one that hung is over.
    """

    def __init__(self) -> None:
        self.over, self.hangs, self.ended = asyncio.Event(), False, False
        self.passed = 0
        self._begun = False

    def begin(self) -> None:
        self._begun = True

    def of(self, method: Callable[..., Awaitable[Any]], *, always: bool = False) -> Callable[..., Awaitable[Any]]:
        async def called(*arguments: Any) -> Any:
            if self._begun and (always or not self.hangs):
                self.hangs = True
                try:
                    await self.over.wait()
                finally:
                    self.ended = True
            answer = await method(*arguments)
            self.passed += 1
            return answer

        return called


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    found = Hanging()
    yield found
    found.over.set()


def quick_worker(state: State, **limits: Any) -> Worker:
    return Worker(with_jobs(state, **QUICK, **limits), JobExecutor(state, StandIn(), IllustratorStandIn()))


async def goes_on(hanging: Hanging, beats: Hanging) -> None:
    hanging.begin()
    await until(lambda: hanging.hangs, 30)
    before = beats.passed
    await until(lambda: beats.passed > before + 2, 30)
    assert not hanging.over.is_set()
    hanging.over.set()


@pytest.mark.parametrize("where", ["beat", "claim", "orphans"])
async def test_a_worker_beats_on(state: State, hanging: Hanging, where: str) -> None:
    found = quick_worker(state)
    leases, watch, beats = found._leases, found._lease_reaper, Hanging()
    leases.renew = beats.of(leases.renew)  # type: ignore[method-assign, assignment]
    if where == "beat":
        leases.renew = hanging.of(leases.renew)  # type: ignore[method-assign, assignment]
    elif where == "claim":
        leases.claim = hanging.of(leases.claim, always=True)  # type: ignore[method-assign, assignment]
    else:
        watch._requeue_orphans = hanging.of(watch._requeue_orphans)  # type: ignore[method-assign, assignment]
    await found.start()
    await goes_on(hanging, beats)
    await found.close()


async def test_a_gateway_beats_on(state: State, hanging: Hanging) -> None:
    found, beats = InFlightRequests(with_jobs(state, **QUICK)), Hanging()
    found._leases.renew = hanging.of(beats.of(found._leases.renew))  # type: ignore[method-assign, assignment]
    found.start()
    await goes_on(hanging, beats)
    await found.close()


async def test_a_beat_that_hangs_holds_no_claim_up(state: State, hanging: Hanging) -> None:
    found = quick_worker(state)
    found._leases.renew = hanging.of(found._leases.renew)  # type: ignore[method-assign]
    hanging.begin()
    await found.start()
    await until(lambda: hanging.hangs, 30)
    (job_id,) = (await GenerationQueue(state).add(request(), ANA)).ids
    view = await job_until(state, job_id, over, 60)
    assert (view.status, view.attempt) == ("completed", 1)
    assert not hanging.over.is_set()
    await found.close()


async def test_a_look_that_itself_took_long_takes_nobody_for_dead(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database stood still between the watcher's own beat and its look: nobody else could beat either."""
    clock = Clock()
    alive, watch = await worker(state), LeaseReaper(state, clock)
    assert await watch.reap() == []
    beats = watch._read_heartbeats

    async def slow() -> dict[str, int]:
        clock.now += 30
        return await beats()

    with monkeypatch.context() as patch:
        patch.setattr(watch, "_read_heartbeats", slow)
        assert await watch.reap() == []
    clock.now += state.settings.jobs.lease_s
    assert await watch.reap() == [alive.worker_id]


async def test_a_look_that_was_given_up_makes_nobody_look_dead(
    state: State, hanging: Hanging, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database stood still for longer than the lease, and the next look is quick: others beat after it."""
    clock, alive = Clock(), await worker(state)
    watch = LeaseReaper(with_jobs(state, lease_s=1.5), clock)
    assert await watch.reap() == []
    hanging.begin()
    monkeypatch.setattr(watch, "_read_heartbeats", hanging.of(watch._read_heartbeats))
    with pytest.raises(StateUnavailable):
        await watch.reap_within_lease(asyncio.sleep(0))
    clock.now += 2
    assert await watch.reap() == []
    clock.now += 2
    assert await watch.reap() == [alive.worker_id]
    await watch.close()
    assert hanging.ended


async def test_a_look_that_hangs_after_it_saw_the_beats_forgets_nothing(
    state: State, hanging: Hanging, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, dead = Clock(), await worker(state)
    watch = LeaseReaper(with_jobs(state, lease_s=9), clock)
    hanging.begin()
    monkeypatch.setattr(watch, "_requeue_orphans", hanging.of(watch._requeue_orphans, always=True))
    for _ in range(2):
        with pytest.raises(StateUnavailable):
            await watch.reap_within_lease(asyncio.sleep(0))
        assert hanging.hangs
        clock.now += 10
    with pytest.raises(LeaseLost):
        await dead.renew()
    await watch.close()


class Claims:
    """Makes a worker whose claims are written down, and whose answers hang: the first alone, or ``always``."""

    def __init__(self, state: State, hanging: Hanging, *, always: bool = False, **limits: Any) -> None:
        self.worker = quick_worker(state, **limits)
        self.worker._claim_s = 2.0
        self._claim = self.worker._leases.claim
        self._answers = hanging.of(self._answer, always=always)
        self.worker._leases.claim = self.claim  # type: ignore[method-assign]
        hanging.begin()

    async def claim(self, *asked: Any) -> list[ClaimedJob]:
        taken = await self._claim(*asked)
        return await self._answers(taken) if taken else taken

    @staticmethod
    async def _answer(taken: list[ClaimedJob]) -> list[ClaimedJob]:
        return taken


async def test_what_a_claim_took_that_was_given_up_is_claimed_again(state: State, hanging: Hanging) -> None:
    """Its answer never came, which is not the job's fault: it may not fail a single time."""
    found = Claims(state, hanging, max_failures=1).worker
    await found.start()
    (job_id,) = (await GenerationQueue(state).add(request(), ANA)).ids
    view = await job_until(state, job_id, over, 60)
    assert (view.status, view.attempt) == ("completed", 2)
    assert hanging.ended, "a claim that was given up takes nothing later"
    await found.close()


async def test_claims_that_go_on_hanging_hold_no_job(state: State, hanging: Hanging) -> None:
    """After each, what it took is back before the next one begins: others may have it."""
    found = Claims(state, hanging, always=True)
    await GenerationQueue(state).add(request(), ANA)
    await found.worker.start()
    await until(lambda: hanging.hangs, 30)

    async def nothing(*_: Any) -> list[ClaimedJob]:
        retried.set()
        return []

    retried, found._claim = asyncio.Event(), nothing
    await asyncio.wait_for(retried.wait(), 30)
    (taken,) = await (await worker(state)).claim("illustrate", 1)
    assert taken.attempt == 2
    await found.worker.close()


async def test_what_it_does_not_know_of_goes_back_as_a_failure(state: State) -> None:
    """A job that always breaks the worker's own loop does not go round for ever."""
    found = quick_worker(state, max_failures=2)

    async def broken(*_: Any, **__: Any) -> None:
        raise KeyError("nobody foresaw it")

    found._leases.complete = broken  # type: ignore[method-assign]
    await found.start()
    (job_id,) = (await GenerationQueue(state).add(request(), ANA)).ids
    view = await job_until(state, job_id, over, 60)
    assert (view.status, view.attempt) == ("failed", 2)
    await found.close()


async def test_what_was_late_and_failed_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async def late(error: Exception) -> None:
        await asyncio.sleep(0.05)
        raise error

    patience = DatabaseTimeout(cancels=False)
    for error in (KeyError("nobody foresaw it"), StateUnavailable("away")):
        with pytest.raises(StateUnavailable, match="in time"):
            await patience.run(0.001, late(error))
        assert not patience.is_idle
    await until(lambda: patience.is_idle, 10)
    assert [record.exc_info[1].args for record in caplog.records if record.exc_info] == [("nobody foresaw it",)]


@pytest.mark.parametrize("kind", [InFlightRequests, Worker])
async def test_a_look_ends_with_who_began_it(
    state: State, hanging: Hanging, kind: type[InFlightRequests | Worker]
) -> None:
    found = InFlightRequests(with_jobs(state, **QUICK)) if kind is InFlightRequests else quick_worker(state)
    watch = found._lease_reaper
    watch._requeue_orphans = hanging.of(watch._requeue_orphans)  # type: ignore[method-assign, assignment]
    hanging.begin()
    if isinstance(found, Worker):
        await found.start()
    else:
        found.start()
    await until(lambda: hanging.hangs, 30)
    await found.close()
    assert hanging.ended
