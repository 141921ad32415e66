"""Jobs with a deadline: never started after it, removed from the queue at it, stopped at it while running."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

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
from serve.state.tables import generations, jobs, utc_now, workers

TIMEOUT_S = 60.0
SOON = replace(ANA, timeout_s=TIMEOUT_S)


async def let_expire(state: State) -> None:
    """As if the jobs that have a deadline had been submitted twice their time ago."""
    now = utc_now()
    ids = sa.select(jobs.c.generation_id).where(jobs.c.expires_at.is_not(None))
    async with state.database.write() as connection:
        submitted = now - 2 * timedelta(seconds=TIMEOUT_S)
        await connection.execute(sa.update(generations).where(generations.c.id.in_(ids)).values(created_at=submitted))
        missed = now - timedelta(seconds=TIMEOUT_S)
        await connection.execute(sa.update(jobs).where(jobs.c.expires_at.is_not(None)).values(expires_at=missed))


async def reap_after_the_deadline(state: State) -> None:
    await let_expire(state)
    await LeaseReaper(state).reap()


async def registered_leases(state: State) -> Leases:
    leases = Leases(state, {"illustrate": 2})
    await leases.register()
    return leases


async def test_job_past_its_deadline_is_never_started(state: State) -> None:
    leases, queue = await registered_leases(state), GenerationQueue(state)
    job_id = (await queue.add(request(), SOON)).ids[0]
    patient = (await queue.add(request(), ANA)).ids[0]
    await let_expire(state)
    assert [job.id for job in await leases.claim("illustrate", 4)] == [patient]
    await LeaseReaper(state).reap()
    view = await JobViews(state.database).get(job_id)
    assert (view.status, (view.error or {})["type"], view.attempt) == ("failed", "DeadlineExceeded", 0)
    assert view.expires_at is not None
    kinds = [event.kind for event in await events_after(state.database, job_id)]
    assert kinds == ["queued", "failed"]
    await LeaseReaper(state).reap()
    assert (await JobViews(state.database).get(job_id)).events == view.events  # once


async def test_paused_job_expires(state: State) -> None:
    queue = GenerationQueue(state)
    job_id = (await queue.add(request(), SOON)).ids[0]
    await queue.pause(job_id)
    await reap_after_the_deadline(state)
    assert (await JobViews(state.database).get(job_id)).status == "failed"


async def test_retry_gets_the_full_time_again(state: State) -> None:
    queue, views = GenerationQueue(state), JobViews(state.database)
    job_id = (await queue.add(request(), SOON)).ids[0]
    await reap_after_the_deadline(state)
    again = await views.get((await queue.retry(job_id)).ids[0])
    assert again.expires_at is not None
    assert (again.expires_at - again.created_at).total_seconds() == pytest.approx(TIMEOUT_S)


async def test_expired_jobs_fail_in_batches(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches keep the lease reaper's own heartbeat in time."""
    monkeypatch.setattr(expiry, "BATCH_SIZE", 2)
    queue, watch = GenerationQueue(state), LeaseReaper(state)
    for _ in range(5):
        await queue.add(request(), SOON)
    await let_expire(state)
    left = []
    for _ in range(3):
        await watch.reap()
        left.append(await pending_count(state))
    assert left == [3, 1, 0]


async def test_failed_expiry_does_not_stop_the_lease_reaper(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refused(_: object) -> int:
        raise StateUnavailable("the database is busy")

    monkeypatch.setattr(lease_reaper, "fail_expired", refused)
    await registered_leases(state)
    now = [0.0]
    watch = LeaseReaper(state, lambda: now[0])
    for seconds in (0.0, state.settings.jobs.lease_s):
        now[0] += seconds
        with pytest.raises(StateUnavailable):
            await watch.reap()
    async with state.database.read() as connection:
        assert (
            await connection.scalars(sa.select(workers.c.id))
        ).all() == []  # the silent worker was detected all the same


async def pending_count(state: State) -> int:
    async with state.database.read() as connection:
        return len((await connection.scalars(sa.select(jobs.c.generation_id).where(jobs.c.status == PENDING))).all())


class RecordsPriority(IllustratorStandIn):
    """Records the priority of each drawing, and whether it has a deadline."""

    def __init__(self) -> None:
        super().__init__()
        self.priorities: list[tuple[Priority, bool]] = []

    async def _step(self, step: int) -> None:
        self.priorities.append((current().priority, current().deadline is not None))
        await super()._step(step)


@pytest.fixture
def illustrator() -> RecordsPriority:
    return RecordsPriority()


@pytest.fixture
def quick(state: State) -> State:
    return with_jobs(state, **QUICK)


@pytest.fixture
async def worker(quick: State, illustrator: RecordsPriority) -> AsyncIterator[Worker]:
    started = Worker(quick, JobExecutor(quick, StandIn(), illustrator))
    await started.start()
    yield started
    await started.close()


async def test_running_job_is_stopped_at_its_deadline_without_retry(
    quick: State, worker: Worker, illustrator: RecordsPriority
) -> None:
    illustrator.step_s = 0.05
    order = replace(ANA, timeout_s=5.0)
    job_id = (await GenerationQueue(quick).add(drawing(num_inference_steps=900), order)).ids[0]
    view = await until(quick, job_id, over)
    assert (view.status, (view.error or {})["type"], view.attempt) == ("failed", "DeadlineExceeded", 1)
    made = len(illustrator.steps)
    job_id = (await GenerationQueue(quick).add(drawing(seed=2, num_inference_steps=3), ANA)).ids[0]
    await until(quick, job_id, over)
    assert 0 < made == len(illustrator.steps) - 3 < 900


async def test_ensemble_priority_follows_the_job_priority(
    quick: State, worker: Worker, illustrator: RecordsPriority
) -> None:
    """Low stays low; high counted in the job queue, and displaces no request at the ensembles."""
    for seed, priority, expected in ((1, -5, Priority.LOW), (2, 0, Priority.NORMAL), (3, 5, Priority.NORMAL)):
        illustrator.priorities.clear()
        order = replace(ANA, priority=priority)
        job_id = (await GenerationQueue(quick).add(drawing(seed=seed, num_inference_steps=2), order)).ids[0]
        await until(quick, job_id, over)
        assert set(illustrator.priorities) == {(expected, True)}
