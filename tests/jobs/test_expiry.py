"""Jobs with an end to their time: never begun past it, taken out while they wait, ended while they are done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import sqlalchemy as sa
from illustrator_standin import IllustratorStandIn
from standin import StandIn
from test_queue import ANA, request, with_jobs
from test_worker import QUICK, over, until
from test_worker import request as drawing

from serve.errors import StateUnavailable
from serve.jobs.queue import expiry
from serve.jobs.queue.events import events_after
from serve.jobs.queue.generation_queue import GenerationQueue
from serve.jobs.queue.views import JobViews
from serve.jobs.worker import lease_reaper
from serve.jobs.worker.execution import JobExecutor
from serve.jobs.worker.lease_reaper import LeaseReaper
from serve.jobs.worker.leases import Leases
from serve.jobs.worker.worker import Worker
from serve.observability.request_context import Priority, current
from serve.state import State
from serve.state.job_states import PENDING
from serve.state.tables import jobs, workers

SOON = replace(ANA, timeout_s=0.2)


async def late(state: State) -> None:
    await asyncio.sleep(0.25)
    await LeaseReaper(state).reap()


async def leases_of(state: State) -> Leases:
    found = Leases(state, {"illustrate": 2})
    await found.register()
    return found


async def test_who_waits_past_its_time_is_never_begun(state: State) -> None:
    leases, queue = await leases_of(state), GenerationQueue(state)
    job_id = (await queue.add(request(), SOON)).ids[0]
    patient = (await queue.add(request(), ANA)).ids[0]
    await asyncio.sleep(0.25)
    assert [job.id for job in await leases.claim("illustrate", 4)] == [patient]
    await LeaseReaper(state).reap()
    view = await JobViews(state.database).get(job_id)
    assert (view.status, (view.error or {})["type"], view.attempt) == ("failed", "DeadlineExceeded", 0)
    assert view.expires_at is not None
    kinds = [event.kind for event in await events_after(state.database, job_id)]
    assert kinds == ["queued", "failed"]
    await LeaseReaper(state).reap()
    assert (await JobViews(state.database).get(job_id)).events == view.events  # once


async def test_a_pause_stops_no_clock(state: State) -> None:
    queue = GenerationQueue(state)
    job_id = (await queue.add(request(), SOON)).ids[0]
    await queue.pause(job_id)
    await late(state)
    assert (await JobViews(state.database).get(job_id)).status == "failed"


async def test_a_retry_has_as_much_time_again(state: State) -> None:
    queue, views = GenerationQueue(state), JobViews(state.database)
    job_id = (await queue.add(request(), SOON)).ids[0]
    await late(state)
    again = await views.get((await queue.retry(job_id)).ids[0])
    assert again.expires_at is not None
    assert (again.expires_at - again.created_at).total_seconds() == pytest.approx(0.2, abs=0.05)


async def test_many_are_taken_out_a_few_at_a_time(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that who looks after workers is never long without a beat of its own."""
    monkeypatch.setattr(expiry, "BATCH_SIZE", 2)
    queue, watch = GenerationQueue(state), LeaseReaper(state)
    for _ in range(5):
        await queue.add(request(), SOON)
    await asyncio.sleep(0.25)
    left = []
    for _ in range(3):
        await watch.reap()
        left.append(await waiting(state))
    assert left == [3, 1, 0]


async def test_a_failure_to_take_them_out_stops_no_watch(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refused(_: object) -> int:
        raise StateUnavailable("the database is busy")

    monkeypatch.setattr(lease_reaper, "fail_expired", refused)
    await leases_of(state)
    now = [0.0]
    watch = LeaseReaper(state, lambda: now[0])
    for seconds in (0.0, state.settings.jobs.lease_s):
        now[0] += seconds
        with pytest.raises(StateUnavailable):
            await watch.reap()
    async with state.database.read() as connection:
        assert (await connection.scalars(sa.select(workers.c.id))).all() == []  # its silence was seen all the same


async def waiting(state: State) -> int:
    async with state.database.read() as connection:
        return len((await connection.scalars(sa.select(jobs.c.generation_id).where(jobs.c.status == PENDING))).all())


class Seen(IllustratorStandIn):
    """Keeps how urgent each drawing was: its priority, and whether it had an end."""

    def __init__(self) -> None:
        super().__init__()
        self.urgencies: list[tuple[Priority, bool]] = []

    async def _step(self, step: int) -> None:
        self.urgencies.append((current().priority, current().deadline is not None))
        await super()._step(step)


@pytest.fixture
def illustrator() -> Seen:
    return Seen()


@pytest.fixture
def quick(state: State) -> State:
    return with_jobs(state, **QUICK)


@pytest.fixture
async def worker(quick: State, illustrator: Seen) -> AsyncIterator[Worker]:
    found = Worker(quick, JobExecutor(quick, StandIn(), illustrator))
    await found.start()
    yield found
    await found.close()


async def test_what_is_done_ends_with_its_time_and_is_not_tried_again(
    quick: State, worker: Worker, illustrator: Seen
) -> None:
    illustrator.step_s = 0.05
    order = replace(ANA, timeout_s=2.0)
    job_id = (await GenerationQueue(quick).add(drawing(num_inference_steps=900), order)).ids[0]
    view = await until(quick, job_id, over)
    assert (view.status, (view.error or {})["type"], view.attempt) == ("failed", "DeadlineExceeded", 1)
    made = len(illustrator.steps)
    await asyncio.sleep(0.3)
    assert 0 < made == len(illustrator.steps) < 900


async def test_a_job_is_as_urgent_as_its_place_in_the_queue_allows(
    quick: State, worker: Worker, illustrator: Seen
) -> None:
    """Low stays low; high has had its turn in the queue, and displaces nobody at the ensembles."""
    for seed, priority, at_the_door in ((1, -5, Priority.LOW), (2, 0, Priority.NORMAL), (3, 5, Priority.NORMAL)):
        illustrator.urgencies.clear()
        order = replace(ANA, priority=priority)
        job_id = (await GenerationQueue(quick).add(drawing(seed=seed, num_inference_steps=2), order)).ids[0]
        await until(quick, job_id, over)
        assert set(illustrator.urgencies) == {(at_the_door, True)}
