"""Heartbeats stay in time, also while a database call of the same process hangs."""

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
from serve.jobs.worker.execution import JobExecutor
from serve.jobs.worker.lease_reaper import DatabaseTimeout, LeaseReaper
from serve.jobs.worker.leases import LeaseLost
from serve.jobs.worker.worker import Worker
from serve.state import State

QUICK = {"poll_s": 0.01, "beat_s": 0.05, "lease_s": 1.5}


class BlockedCall:
    """Blocks the first call of a wrapped method after `begin` until the test ends, as a dead connection does.
    ``passed`` counts completed calls; ``ended`` is set when the blocked call is over."""

    def __init__(self) -> None:
        self.over, self.is_blocked, self.ended = asyncio.Event(), False, False
        self.passed = 0
        self._begun = False

    def begin(self) -> None:
        self._begun = True

    def wrap(self, method: Callable[..., Awaitable[Any]], *, always: bool = False) -> Callable[..., Awaitable[Any]]:
        async def wrapped(*arguments: Any) -> Any:
            if self._begun and (always or not self.is_blocked):
                self.is_blocked = True
                try:
                    await self.over.wait()
                finally:
                    self.ended = True
            answer = await method(*arguments)
            self.passed += 1
            return answer

        return wrapped


@pytest.fixture
def blocked() -> Iterator[BlockedCall]:
    call = BlockedCall()
    yield call
    call.over.set()


def quick_worker(state: State, **limits: Any) -> Worker:
    return Worker(with_jobs(state, **QUICK, **limits), JobExecutor(state, StandIn(), IllustratorStandIn()))


async def check_heartbeats_continue(blocked: BlockedCall, heartbeats: BlockedCall) -> None:
    blocked.begin()
    await until(lambda: blocked.is_blocked, 60)
    before = heartbeats.passed
    await until(lambda: heartbeats.passed > before + 2, 60)
    assert not blocked.over.is_set()
    blocked.over.set()


@pytest.mark.parametrize("where", ["beat", "claim", "orphans"])
async def test_worker_heartbeat_continues(state: State, blocked: BlockedCall, where: str) -> None:
    process = quick_worker(state)
    leases, watch, heartbeats = process._leases, process._lease_reaper, BlockedCall()
    leases.renew = heartbeats.wrap(leases.renew)  # type: ignore[method-assign, assignment]
    if where == "beat":
        leases.renew = blocked.wrap(leases.renew)  # type: ignore[method-assign, assignment]
    elif where == "claim":
        leases.claim = blocked.wrap(leases.claim, always=True)  # type: ignore[method-assign, assignment]
    else:
        watch._requeue_orphans = blocked.wrap(watch._requeue_orphans)  # type: ignore[method-assign, assignment]
    await process.start()
    await check_heartbeats_continue(blocked, heartbeats)
    await process.close()


async def test_gateway_heartbeat_continues(state: State, blocked: BlockedCall) -> None:
    process, heartbeats = InFlightRequests(with_jobs(state, **QUICK)), BlockedCall()
    process._leases.renew = blocked.wrap(heartbeats.wrap(process._leases.renew))  # type: ignore[method-assign, assignment]
    process.start()
    await check_heartbeats_continue(blocked, heartbeats)
    await process.close()


async def test_blocked_heartbeat_does_not_block_claims(state: State, blocked: BlockedCall) -> None:
    process = quick_worker(state)
    process._leases.renew = blocked.wrap(process._leases.renew)  # type: ignore[method-assign]
    blocked.begin()
    await process.start()
    await until(lambda: blocked.is_blocked, 60)
    (job_id,) = (await GenerationQueue(state).add(request(), ANA)).ids
    view = await job_until(state, job_id, over, 60)
    assert (view.status, view.attempt) == ("completed", 1)
    assert not blocked.over.is_set()
    await process.close()


async def test_slow_check_declares_no_worker_dead(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database was unavailable between the reaper's own heartbeat and its check: no worker could send one."""
    clock = Clock()
    alive, watch = await worker(state), LeaseReaper(state, clock)
    assert await watch.reap() == []
    heartbeats = watch._read_heartbeats

    async def slow() -> dict[str, int]:
        clock.now += 30
        return await heartbeats()

    with monkeypatch.context() as patch:
        patch.setattr(watch, "_read_heartbeats", slow)
        assert await watch.reap() == []
    clock.now += state.settings.jobs.lease_s
    assert await watch.reap() == [alive.worker_id]


async def test_abandoned_check_declares_no_worker_dead(
    state: State, blocked: BlockedCall, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database was unavailable for longer than the lease, and the next check is quick: others send heartbeats
    after it."""
    clock, alive = Clock(), await worker(state)
    watch = LeaseReaper(with_jobs(state, lease_s=1.5), clock)
    assert await watch.reap() == []
    blocked.begin()
    monkeypatch.setattr(watch, "_read_heartbeats", blocked.wrap(watch._read_heartbeats))
    with pytest.raises(StateUnavailable):
        await watch.reap_within_lease(asyncio.sleep(0))
    clock.now += 2
    assert await watch.reap() == []
    clock.now += 2
    assert await watch.reap() == [alive.worker_id]
    await watch.close()
    assert blocked.ended


async def test_check_blocked_after_reading_heartbeats_keeps_its_result(
    state: State, blocked: BlockedCall, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, dead = Clock(), await worker(state)
    watch = LeaseReaper(with_jobs(state, lease_s=9), clock)
    blocked.begin()
    monkeypatch.setattr(watch, "_requeue_orphans", blocked.wrap(watch._requeue_orphans, always=True))
    for _ in range(2):
        with pytest.raises(StateUnavailable):
            await watch.reap_within_lease(asyncio.sleep(0))
        assert blocked.is_blocked
        clock.now += 10
    with pytest.raises(LeaseLost):
        await dead.renew()
    await watch.close()


class Claims:
    """A worker whose claim responses hang: the first only, or ``always``."""

    def __init__(self, state: State, blocked: BlockedCall, *, always: bool = False, **limits: Any) -> None:
        self.worker = quick_worker(state, **limits)
        self.worker._claim_s = 2.0
        self._claim = self.worker._leases.claim
        self._answers = blocked.wrap(self._answer, always=always)
        self.worker._leases.claim = self.claim_and_block  # type: ignore[method-assign]
        blocked.begin()

    async def claim_and_block(self, *arguments: Any) -> list[ClaimedJob]:
        jobs = await self._claim(*arguments)
        return await self._answers(jobs) if jobs else jobs

    @staticmethod
    async def _answer(jobs: list[ClaimedJob]) -> list[ClaimedJob]:
        return jobs


async def test_jobs_of_an_abandoned_claim_are_claimed_again(state: State, blocked: BlockedCall) -> None:
    """The response was lost, which is no failure of the job: it may not fail even once."""
    process = Claims(state, blocked, max_failures=1).worker
    await process.start()
    (job_id,) = (await GenerationQueue(state).add(request(), ANA)).ids
    view = await job_until(state, job_id, over, 60)
    assert (view.status, view.attempt) == ("completed", 2)
    assert blocked.ended, "a claim that was given up takes nothing later"
    await process.close()


async def test_repeatedly_blocked_claims_hold_no_job(state: State, blocked: BlockedCall) -> None:
    """Each claim is returned before the next begins, so that other workers can take the job."""
    process = Claims(state, blocked, always=True)
    await GenerationQueue(state).add(request(), ANA)
    await process.worker.start()
    await until(lambda: blocked.is_blocked, 60)

    async def nothing(*_: Any) -> list[ClaimedJob]:
        retried.set()
        return []

    retried, process._claim = asyncio.Event(), nothing
    await asyncio.wait_for(retried.wait(), 60)
    (taken,) = await (await worker(state)).claim("illustrate", 1)
    assert taken.attempt == 2
    await process.worker.close()


async def test_unexpected_error_counts_as_a_failed_attempt(state: State) -> None:
    """A job that always breaks the worker's own loop is not retried for ever."""
    process = quick_worker(state, max_failures=2)

    async def broken(*_: Any, **__: Any) -> None:
        raise KeyError("nobody foresaw it")

    process._leases.complete = broken  # type: ignore[method-assign]
    await process.start()
    (job_id,) = (await GenerationQueue(state).add(request(), ANA)).ids
    view = await job_until(state, job_id, over, 60)
    assert (view.status, view.attempt) == ("failed", 2)
    await process.close()


async def test_late_failures_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def late(error: Exception) -> None:
        await asyncio.sleep(0.05)
        raise error

    timeout = DatabaseTimeout(cancels=False)
    for error in (KeyError("nobody foresaw it"), StateUnavailable("away")):
        with pytest.raises(StateUnavailable, match="in time"):
            await timeout.run(0.001, late(error))
        assert not timeout.is_idle
    await until(lambda: timeout.is_idle, 60)
    assert [record.exc_info[1].args for record in caplog.records if record.exc_info] == [("nobody foresaw it",)]


@pytest.mark.parametrize("kind", [InFlightRequests, Worker])
async def test_close_ends_a_blocked_check(
    state: State, blocked: BlockedCall, kind: type[InFlightRequests | Worker]
) -> None:
    process = InFlightRequests(with_jobs(state, **QUICK)) if kind is InFlightRequests else quick_worker(state)
    watch = process._lease_reaper
    watch._requeue_orphans = blocked.wrap(watch._requeue_orphans)  # type: ignore[method-assign, assignment]
    blocked.begin()
    if isinstance(process, Worker):
        await process.start()
    else:
        process.start()
    await until(lambda: blocked.is_blocked, 60)
    await process.close()
    assert blocked.ended
