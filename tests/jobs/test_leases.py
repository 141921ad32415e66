"""Leases of jobs: claims, heartbeats, fencing, and recovery of the jobs of dead workers."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa
from test_queue import ANA, BEN, request, with_jobs

from serve.ensembles.requests import File, Outcome
from serve.errors import AtelierError, EngineFailure, EngineLost, InvalidRequest, Overloaded, StateUnavailable
from serve.jobs.queue.events import events_after
from serve.jobs.queue.generation_queue import GenerationQueue
from serve.jobs.queue.views import JobViews
from serve.jobs.worker.claims import ClaimedJob
from serve.jobs.worker.lease_reaper import LeaseReaper
from serve.jobs.worker.leases import LeaseLost, Leases
from serve.observability.costs import CostAccumulator
from serve.state import State
from serve.state.job_states import COMPLETED, FAILED, PENDING
from serve.state.tables import checkpoints, generations, jobs, measurements, results, utc_now, workers

DONE = Outcome([File(b"picture", "image/png", 8, 8, 7)], {"tokens": 3}, "mini", 0.5)


class Clock:
    """A monotonic clock that tests set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def worker(state: State) -> Leases:
    leases = Leases(state, {"illustrate": 2})
    await leases.register()
    return leases


async def one_job(state: State, leases: Leases) -> ClaimedJob:
    await GenerationQueue(state).add(request(), ANA)
    (claimed,) = await leases.claim("illustrate", 1)
    return claimed


async def complete(state: State, leases: Leases, job: ClaimedJob) -> None:
    await leases.complete(job, DONE, await state.objects.put_all([(b"picture", "image/png")]))


async def kinds(state: State, job_id: str) -> list[str]:
    return [event.kind for event in await events_after(state.database, job_id)]


async def test_concurrent_claims_never_share_a_job(state: State) -> None:
    await GenerationQueue(state).add_batch([request()] * 40, ANA)
    leases = [await worker(state) for _ in range(4)]

    async def all_of(worker_leases: Leases) -> list[str]:
        claimed_ids = []
        while claimed := await worker_leases.claim("illustrate", 3):
            claimed_ids += [job.id for job in claimed]
        return claimed_ids

    all_claimed = [
        job
        for claimed_ids in await asyncio.gather(*(all_of(worker_leases) for worker_leases in leases))
        for job in claimed_ids
    ]
    assert len(all_claimed) == len(set(all_claimed)) == 40


async def test_completed_job_is_stored_once(state: State) -> None:
    leases = await worker(state)
    job = await one_job(state, leases)
    await leases.report(job, "progress", {"step": 2, "steps": 8}, 0.25, {0: (2, b"latents")})
    await complete(state, leases, job)
    with pytest.raises(LeaseLost):
        await complete(state, leases, job)
    view = await JobViews(state.database).get(job.id)
    assert (view.status, view.progress, len(view.results)) == (COMPLETED, 1.0, 1)
    assert view.details == {"tokens": 3}
    assert await kinds(state, job.id) == ["queued", "started", "progress", "completed"]
    async with state.database.read() as connection:
        assert (await connection.execute(sa.select(checkpoints))).all() == []
        row = (await connection.execute(sa.select(measurements))).one()
        assert (row.user_id, row.success, row.generation_time_s, row.model_used) == ("ana", True, 0.5, "mini")


def cost(cpu_s: float, gpu_s: float) -> dict[str, float]:
    return {"cpu_seconds": cpu_s, "gpu_seconds": gpu_s}


async def measured(state: State) -> tuple[float, float]:
    async with state.database.read() as connection:
        return tuple(
            (await connection.execute(sa.select(measurements.c.cpu_seconds, measurements.c.gpu_seconds))).one()
        )  # type: ignore[return-value]


async def test_cost_of_all_attempts_adds_up(state: State) -> None:
    """Paused, retried and completed: the cost of all attempts counts, and no cost twice."""
    leases = await worker(state)
    job = await one_job(state, leases)
    await leases.report(job, "progress", {}, 0.2, {}, cost(1.0, 0.5))
    await leases.report(job, "progress", {}, 0.4, {0: (2, b"latents")}, cost(2.0, 1.0))
    await leases.release(job)
    (again,) = await leases.claim("illustrate", 1)
    await leases.report(again, "progress", {}, 0.6, {}, cost(4.0, 2.0))
    await leases.fail(again, Overloaded("full"), 1.0)
    async with state.database.write() as connection:
        await connection.execute(sa.update(jobs).values(available_at=utc_now() - timedelta(seconds=1)))
    (third,) = await leases.claim("illustrate", 1)
    await leases.report(third, "progress", {}, 0.9, {}, cost(0.5, 0.0))
    done = replace(DONE, details={"cost": cost(8.0, 4.0)})
    await leases.complete(third, done, await state.objects.put_all([(b"picture", "image/png")]))
    assert await measured(state) == (14.0, 7.0)


async def test_cost_of_a_failed_job_is_stored(state: State) -> None:
    leases = await worker(state)
    job = await one_job(state, leases)
    await leases.report(job, "progress", {}, 0.2, {}, cost(1.0, 0.5))
    assert await leases.fail(job, InvalidRequest("no"), 1.0) == FAILED
    assert await measured(state) == (1.0, 0.5)


def test_cost_counters_of_a_restarted_process_add_up() -> None:
    accumulator = CostAccumulator()
    totals = [accumulator.now(cost(*one)) for one in ((1.0, 0.5), (3.0, 1.5), (0.5, 0.2), (2.0, 1.0))]
    assert totals == [cost(*one) for one in ((1.0, 0.5), (3.0, 1.5), (3.5, 1.7), (5.0, 2.5))]
    assert accumulator.now(cost(2.0, 1.0)) == cost(5.0, 2.5), "told twice, charged once"


async def test_silent_worker_loses_its_jobs(state: State) -> None:
    dead, alive, clock = await worker(state), await worker(state), Clock()
    watch = LeaseReaper(state, clock)
    job = await one_job(state, dead)
    await dead.report(job, "progress", {"step": 2, "steps": 8}, 0.25, {0: (2, b"latents")})
    assert await watch.reap() == []
    for _ in range(3):
        clock.now += 0.4 * state.settings.jobs.lease_s
        await alive.renew()
        taken = await watch.reap()
    assert taken == [dead.worker_id]
    (again,) = await alive.claim("illustrate", 1)
    assert (again.id, again.attempt) == (job.id, 2)
    assert await alive.checkpoints(again) == {0: (2, b"latents")}


async def test_worker_declared_dead_claims_nothing(state: State) -> None:
    dead = await worker(state)
    await GenerationQueue(state).add(request(), ANA)
    async with state.database.write() as connection:
        await connection.execute(sa.delete(workers).where(workers.c.id == dead.worker_id))
    with pytest.raises(LeaseLost):
        await dead.claim("illustrate", 1)
    assert len(await (await worker(state)).claim("illustrate", 1)) == 1


async def test_writes_of_a_late_worker_are_refused(state: State) -> None:
    late, other, clock = await worker(state), await worker(state), Clock()
    watch = LeaseReaper(state, clock)
    job = await one_job(state, late)
    await watch.reap()
    clock.now += 11
    await other.renew()
    await watch.reap()
    (again,) = await other.claim("illustrate", 1)
    with pytest.raises(LeaseLost):
        await late.renew()
    with pytest.raises(LeaseLost):
        await late.report(job, "progress", {"step": 7}, 0.9, {0: (7, b"late")})
    with pytest.raises(LeaseLost):
        await complete(state, late, job)
    with pytest.raises(LeaseLost):
        await late.fail(job, EngineFailure("late"), 1.0)
    with pytest.raises(LeaseLost):
        await late.release(job)
    assert await other.checkpoints(again) == {}
    await complete(state, other, again)
    async with state.database.read() as connection:
        assert len((await connection.execute(sa.select(results))).all()) == 1


async def test_earlier_attempt_of_the_same_worker_is_fenced(state: State) -> None:
    leases = await worker(state)
    first = await one_job(state, leases)
    await leases.requeue_orphans([], "its worker forgot it")
    (second,) = await leases.claim("illustrate", 1)
    with pytest.raises(LeaseLost):
        await complete(state, leases, first)
    await complete(state, leases, second)


async def test_heartbeats_keep_the_jobs(state: State) -> None:
    slow, clock = await worker(state), Clock()
    watch = LeaseReaper(state, clock)
    await one_job(state, slow)
    for _ in range(5):
        await watch.reap()
        clock.now += 0.9 * state.settings.jobs.lease_s
        await slow.renew()
    assert await watch.reap() == []


async def test_locked_database_does_not_count_as_silence(state: State) -> None:
    """SQLite is readable while another process holds its lock. A reaper whose own heartbeat fails or waits assumes the
    same of the others."""
    alive, clock = await worker(state), Clock()
    watch = LeaseReaper(state, clock)

    async def refused() -> None:
        clock.now += 30
        raise StateUnavailable("the database is busy")

    async def late() -> None:
        clock.now += 30

    await watch.reap()
    with pytest.raises(StateUnavailable):
        await watch.reap(refused())
    assert await watch.reap(alive.renew()) == []
    assert await watch.reap(late()) == []
    clock.now += 11
    assert await watch.reap() == [alive.worker_id]


async def test_database_outage_does_not_count_as_silence(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    alive, clock = await worker(state), Clock()
    watch = LeaseReaper(state, clock)
    await watch.reap()
    clock.now += 30

    async def unavailable() -> dict[str, int]:
        raise StateUnavailable("gone")

    with monkeypatch.context() as patch:
        patch.setattr(watch, "_read_heartbeats", unavailable)
        with pytest.raises(StateUnavailable):
            await watch.reap()
    assert await watch.reap() == []  # no worker could send a heartbeat meanwhile
    clock.now += 5
    await alive.renew()
    assert await watch.reap() == []


async def test_jobs_of_an_unregistered_worker_are_requeued(state: State) -> None:
    leases = await worker(state)
    job = await one_job(state, leases)
    async with state.database.write() as connection:
        await connection.execute(sa.delete(workers))
    await LeaseReaper(state, Clock()).reap()
    assert (await JobViews(state.database).get(job.id)).status == PENDING


async def test_cancel_and_pause_hold_when_the_worker_dies(state: State) -> None:
    leases, queue = await worker(state), GenerationQueue(state)
    cancelled, paused = await one_job(state, leases), await one_job(state, leases)
    await queue.cancel(cancelled.id)
    await queue.pause(paused.id)
    await leases.unregister()
    views = JobViews(state.database)
    assert (await views.get(cancelled.id)).status == "cancelled"
    assert (await views.get(paused.id)).status == "paused"


async def test_unregistering_requeues_jobs_without_a_failure(state: State) -> None:
    state = with_jobs(state, max_failures=1)
    leases = await worker(state)
    job = await one_job(state, leases)
    await leases.unregister()
    other = await worker(state)
    (again,) = await other.claim("illustrate", 1)
    assert again.id == job.id


async def test_job_that_kills_its_workers_fails(state: State) -> None:
    clock = Clock()
    watch = LeaseReaper(state, clock)
    await GenerationQueue(state).add(request(), ANA)
    for _ in range(3):
        leases = await worker(state)
        (job,) = await leases.claim("illustrate", 1)
        await watch.reap()
        clock.now += 11
        assert await watch.reap() == [leases.worker_id]
    view = await JobViews(state.database).get(job.id)
    assert (view.status, view.attempt) == (FAILED, 3)
    assert view.error is not None
    assert "worker died" in view.error["detail"]
    assert await kinds(state, job.id) == ["queued"] + ["started", "retrying"] * 2 + ["started", "failed"]


async def test_job_with_new_checkpoints_is_retried_without_limit(state: State) -> None:
    clock = Clock()
    watch = LeaseReaper(state, clock)
    await GenerationQueue(state).add(request(), ANA)
    for step in range(1, 11):
        leases = await worker(state)
        (job,) = await leases.claim("illustrate", 1)
        await leases.report(job, "progress", {}, step / 20, {0: (step, b"")})
        await watch.reap()
        clock.now += 11
        await watch.reap()
    assert (await JobViews(state.database).get(job.id)).status == PENDING


async def test_engine_failures_are_retried_with_backoff_and_a_limit(state: State) -> None:
    leases = await worker(state)
    job = await one_job(state, leases)
    for wait_s in (1.0, 2.0):
        await leases.fail(job, EngineFailure("broke"), 0.1)
        assert await leases.claim("illustrate", 1) == []  # not yet
        due_s = await until_due_s(state, job.id)
        assert wait_s - 0.5 < due_s <= 1.5 * wait_s
        await due_now(state, job.id)
        (job,) = await leases.claim("illustrate", 1)
    await leases.fail(job, EngineFailure("broke"), 0.1)
    view = await JobViews(state.database).get(job.id)
    assert view.error == {"type": "EngineFailure", "status": 500, "detail": "broke", "field": None}
    assert (view.status, view.attempt) == (FAILED, 3)


async def test_client_errors_are_not_retried(state: State) -> None:
    leases = await worker(state)
    job = await one_job(state, leases)
    await leases.fail(job, InvalidRequest("no such size", "width"), 0.1)
    assert (await JobViews(state.database).get(job.id)).status == FAILED


async def test_job_that_kills_an_ensemble_fails(state: State) -> None:
    leases = await worker(state)
    job = await one_job(state, leases)
    for _ in range(2):
        await leases.fail(job, EngineLost("the Illustrator is restarting"), 0.1)
        await due_now(state, job.id)
        (job,) = await leases.claim("illustrate", 1)
    await leases.fail(job, EngineLost("the Illustrator is restarting"), 0.1)
    assert (await JobViews(state.database).get(job.id)).status == FAILED


@pytest.mark.parametrize("error", [Overloaded("full"), EngineFailure("broke"), InvalidRequest("no")])
async def test_cancellation_holds_when_the_attempt_fails(state: State, error: AtelierError) -> None:
    leases, queue = await worker(state), GenerationQueue(state)
    job = await one_job(state, leases)
    assert await queue.cancel(job.id) == "processing"
    await leases.fail(job, error, 0.1)
    assert (await JobViews(state.database).get(job.id)).status == "cancelled"


async def test_pause_holds_when_the_attempt_fails(state: State) -> None:
    leases, queue = await worker(state), GenerationQueue(state)
    job = await one_job(state, leases)
    await queue.pause(job.id)
    await leases.fail(job, Overloaded("full"), 0.1)
    assert (await JobViews(state.database).get(job.id)).status == "paused"


async def test_latest_requested_change_applies_on_release(state: State) -> None:
    """Whatever change the worker had read before."""
    leases, queue = await worker(state), GenerationQueue(state)
    cancelled, resumed = await one_job(state, leases), await one_job(state, leases)
    for job in (cancelled, resumed):
        await queue.pause(job.id)
    await queue.cancel(cancelled.id)
    await queue.resume(resumed.id)
    for job in (cancelled, resumed):
        await leases.release(job)
    views = JobViews(state.database)
    assert (await views.get(cancelled.id)).status == "cancelled"
    assert (await views.get(resumed.id)).status == PENDING


async def test_cancellation_holds_while_a_worker_unregisters(state: State) -> None:
    rng = random.Random(5)
    for _ in range(25):
        leases, queue = await worker(state), GenerationQueue(state)
        job = await one_job(state, leases)

        async def leave(leases: Leases = leases) -> None:
            await asyncio.sleep(rng.uniform(0, 0.005))
            await leases.unregister()

        await asyncio.gather(queue.cancel(job.id), leave())
        assert (await JobViews(state.database).get(job.id)).status == "cancelled"


async def test_overload_is_retried_without_limit(state: State) -> None:
    leases = await worker(state)
    job = await one_job(state, leases)
    for _ in range(6):
        await leases.fail(job, Overloaded("full"), 0.1)
        await due_now(state, job.id)
        (job,) = await leases.claim("illustrate", 1)
    assert job.attempt == 7


async def test_clock_set_back_delays_no_job(state: State) -> None:
    leases = await worker(state)
    job = await one_job(state, leases)
    await leases.fail(job, EngineFailure("broke"), 0.1)
    async with state.database.write() as connection:
        await connection.execute(sa.update(jobs).values(available_at=utc_now() + timedelta(days=400)))
    assert len(await leases.claim("illustrate", 1)) == 1


async def test_paused_lane_starts_no_job(state: State) -> None:
    from serve.state.tables import lanes

    leases = await worker(state)
    await GenerationQueue(state).add(request(), ANA)
    async with state.database.write() as connection:
        await connection.execute(lanes.insert().values(lane="illustrate", paused=True))
    assert await leases.claim("illustrate", 1) == []
    async with state.database.write() as connection:
        await connection.execute(sa.update(lanes).values(paused=False))
    assert len(await leases.claim("illustrate", 1)) == 1


async def test_webhook_deliveries_are_stored_with_their_events(state: State) -> None:
    from serve.state.tables import deliveries

    leases = await worker(state)
    order = replace(BEN, webhook_url="https://example.org/hook", webhook_events=("started", "completed"))
    await GenerationQueue(state).add(request(), order)
    (job,) = await leases.claim("illustrate", 1)
    await leases.report(job, "progress", {"step": 1}, 0.1, {})
    await complete(state, leases, job)
    async with state.database.read() as connection:
        rows = (await connection.execute(sa.select(deliveries).order_by(deliveries.c.created_at))).all()
    assert [(row.kind, row.body["status"]) for row in rows] == [("started", "processing"), ("completed", "completed")]


async def test_deleting_a_generation_deletes_its_rows(state: State) -> None:
    leases = await worker(state)
    job = await one_job(state, leases)
    await complete(state, leases, job)
    async with state.database.write() as connection:
        await connection.execute(sa.delete(generations))
    async with state.database.read() as connection:
        for table in (jobs, results):
            assert (await connection.execute(sa.select(table))).all() == []


async def until_due_s(state: State, job_id: str) -> float:
    async with state.database.read() as connection:
        due_at = await connection.scalar(sa.select(jobs.c.available_at).where(jobs.c.generation_id == job_id))
    assert due_at is not None
    return (due_at - utc_now()).total_seconds()


async def due_now(state: State, job_id: str) -> None:
    async with state.database.write() as connection:
        this = jobs.c.generation_id == job_id
        await connection.execute(sa.update(jobs).where(this).values(available_at=utc_now()))
