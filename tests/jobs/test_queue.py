"""The job queue: fairness, limits, positions and the users' changes to their jobs (C-042, C-043)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa

from serve.ensembles.illustrator.illustration import IllustrateOptions
from serve.ensembles.requests import File, IllustrateRequest, Outcome
from serve.errors import Conflict, KeyReused, NotFound, TooManyJobs
from serve.jobs.queue.events import events_after
from serve.jobs.queue.generation_queue import GenerationQueue
from serve.jobs.queue.insertion import JobOptions
from serve.jobs.queue.views import JobViews
from serve.jobs.worker.leases import Leases
from serve.settings import Settings
from serve.state import State
from serve.state.tables import generations, jobs, utc_now

ANA, BEN = JobOptions("ana"), JobOptions("ben")


def request(prompt: str = "a fox", seed: int | None = 7) -> IllustrateRequest:
    return IllustrateRequest(IllustrateOptions(prompt, seed=seed))


def with_jobs(state: State, **values: object) -> State:
    settings: Settings = state.settings.model_copy(update={"jobs": state.settings.jobs.model_copy(update=values)})
    return replace(state, settings=settings)


@pytest.fixture
def queue(state: State) -> GenerationQueue:
    return GenerationQueue(state)


@pytest.fixture
async def leases(state: State) -> Leases:
    registered = Leases(state, {"illustrate": 4})
    await registered.register()
    return registered


async def start_jobs(leases: Leases, count: int) -> list[str]:
    """The users of the next jobs, in the order in which they start."""
    return [job.user_id for _ in range(count) for job in await leases.claim("illustrate", 1)]


async def test_users_alternate(queue: GenerationQueue, leases: Leases) -> None:
    for _ in range(3):
        await queue.add(request(), ANA)
    await queue.add(request(), BEN)
    await queue.add(request(), BEN)
    assert await start_jobs(leases, 6) == ["ana", "ben", "ana", "ben", "ana"]


async def test_single_job_waits_for_at_most_one_of_another_user(state: State, leases: Leases) -> None:
    queue = GenerationQueue(with_jobs(state, max_queued_per_user=20_000))
    for _ in range(10):
        await queue.add_batch([request()] * 1000, ANA)
    assert await start_jobs(leases, 3) == ["ana"] * 3
    (ben,) = (await queue.add(request(), BEN)).ids
    assert (await JobViews(state.database).get(ben)).position == 2
    assert "ben" in await start_jobs(leases, 2)
    assert await start_jobs(leases, 1) == ["ana"]


async def test_immediate_resubmission_does_not_overtake(queue: GenerationQueue, leases: Leases) -> None:
    await queue.add_batch([request()] * 6, ANA)
    order = []
    for _ in range(3):
        await queue.add(request(), BEN)
        order += await start_jobs(leases, 2)
    assert order == ["ana", "ben"] * 3


async def test_higher_priority_starts_first(queue: GenerationQueue, leases: Leases) -> None:
    await queue.add(request(), ANA)
    await queue.add(request(), replace(BEN, priority=-5))
    await queue.add(request(), replace(ANA, priority=5))
    await queue.add(request(), JobOptions("cyd", priority=5))
    assert await start_jobs(leases, 4) == ["ana", "cyd", "ana", "ben"]


async def test_position_counts_the_jobs_started_before(queue: GenerationQueue, state: State) -> None:
    ids = [(await queue.add(request(), order)).ids[0] for order in (ANA, ANA, ANA, BEN)]
    views = JobViews(state.database)
    assert [(await views.get(job_id)).position for job_id in ids] == [1, 3, 4, 2]
    await queue.set_priority(ids[2], 3)
    assert [(await views.get(job_id)).position for job_id in ids] == [2, 4, 1, 3]
    assert (await views.get(ids[2])).priority == 3


async def test_queue_limits_per_user_and_in_total(state: State) -> None:
    queue = GenerationQueue(with_jobs(state, max_queued_per_user=2, max_queued=3))
    await queue.add_batch([request()] * 2, ANA)
    with pytest.raises(TooManyJobs, match="of this user"):
        await queue.add(request(), ANA)
    await queue.add(request(), BEN)
    with pytest.raises(TooManyJobs, match="3 jobs are waiting"):
        await queue.add(request(), BEN)
    with pytest.raises(TooManyJobs):
        await queue.add_batch([request()] * 2, BEN)
    assert len(await JobViews(state.database).lanes([])) == 1


async def test_total_limit_holds_across_gateways(state: State) -> None:
    """No gateway counts all jobs each time, and none exceeds the limit."""
    queues = [GenerationQueue(with_jobs(state, max_queued=12)) for _ in range(3)]
    for number in range(12):
        await queues[number % 3].add(request(), ANA)
    for queue in queues:
        with pytest.raises(TooManyJobs, match="12 jobs are waiting"):
            await queue.add(request(), ANA)


async def test_user_limit_holds_for_concurrent_submissions(state: State) -> None:
    queue = GenerationQueue(with_jobs(state, max_queued_per_user=5))
    answers = await asyncio.gather(*(queue.add(request(), ANA) for _ in range(12)), return_exceptions=True)
    assert sum(isinstance(answer, TooManyJobs) for answer in answers) == 7
    assert (await JobViews(state.database).lanes([]))["illustrate"].counts == {"pending": 5}
    async with state.database.read() as connection:
        rounds = (await connection.scalars(sa.select(jobs.c.round).order_by(jobs.c.round))).all()
    assert rounds == [0, 1, 2, 3, 4]


async def test_idempotency_key_gives_one_job(queue: GenerationQueue, state: State) -> None:
    order = replace(ANA, idempotency_key="k")
    first = await queue.add(request(seed=None), order)
    again = await asyncio.gather(*(queue.add(request(seed=None), order) for _ in range(8)))
    assert all(repeated.ids == first.ids and repeated.is_replay for repeated in again)
    with pytest.raises(KeyReused):
        await queue.add(request("a cat", seed=None), order)
    assert (await queue.add(request("a cat"), replace(BEN, idempotency_key="k"))).ids != first.ids
    batch = await queue.add_batch([request()] * 2, replace(ANA, idempotency_key="b"))
    assert await queue.add_batch([request()] * 2, replace(ANA, idempotency_key="b")) == replace(batch, is_replay=True)


async def test_idempotency_key_of_a_deleted_generation_is_free(queue: GenerationQueue, state: State) -> None:
    order = replace(ANA, idempotency_key="k")
    (first,) = (await queue.add(request(), order)).ids
    async with state.database.write() as connection:
        await connection.execute(sa.delete(generations).where(generations.c.id == first))
    second = await queue.add(request(), order)
    assert (second.is_replay, await queue.add(request(), order)) == (False, replace(second, is_replay=True))
    with pytest.raises(KeyReused):
        await queue.add(request("a cat"), order)


async def test_jobs_waiting_for_a_retry_are_not_overtaken(queue: GenerationQueue, state: State, leases: Leases) -> None:
    await queue.add_batch([request()] * 3, ANA)
    assert await start_jobs(leases, 2) == ["ana", "ana"]
    async with state.database.write() as connection:
        later = utc_now() + timedelta(seconds=30)
        await connection.execute(sa.update(jobs).where(jobs.c.status == "pending").values(available_at=later))
    (ben,) = (await queue.add(request(), BEN)).ids
    assert (await JobViews(state.database).get(ben)).position == 2


async def test_seed_is_chosen_on_submission(queue: GenerationQueue, leases: Leases) -> None:
    await queue.add(request(seed=None), ANA)
    ((job,),) = [await leases.claim("illustrate", 1)]
    assert isinstance(job.request, IllustrateRequest)
    assert job.request.options.seed is not None
    assert not job.request.repeatable  # that seed will not be requested again


async def test_pending_job_is_cancelled(queue: GenerationQueue, state: State, leases: Leases) -> None:
    (job,) = (await queue.add(request(), ANA)).ids
    assert await queue.cancel(job) == "cancelled"
    assert await queue.cancel(job) == "cancelled"
    assert await leases.claim("illustrate", 1) == []
    assert [event.kind for event in await events_after(state.database, job)] == ["queued", "cancelled"]
    with pytest.raises(Conflict, match="cancelled"):
        await queue.resume(job)


async def test_running_job_is_cancelled(queue: GenerationQueue, leases: Leases) -> None:
    (job,) = (await queue.add(request(), ANA)).ids
    (claimed,) = await leases.claim("illustrate", 1)
    assert await queue.cancel(job) == "processing"
    assert await queue.pause(job) == "processing"  # too late: a cancellation is pending
    assert await leases.requested_changes() == {job: "cancel"}
    await leases.release(claimed)
    assert await queue.cancel(job) == "cancelled"


async def test_jobs_are_paused_and_resumed(queue: GenerationQueue, state: State, leases: Leases) -> None:
    waiting, running = [(await queue.add(request(), order)).ids[0] for order in (ANA, BEN)]
    assert await queue.pause(waiting) == "paused"
    ((claimed,),) = [await leases.claim("illustrate", 5)]
    assert claimed.id == running
    assert await queue.pause(running) == "processing"
    assert await queue.resume(running) == "processing"
    assert await leases.requested_changes() == {}
    await queue.pause(running)
    await leases.release(claimed)
    assert (await JobViews(state.database).get(running)).status == "paused"
    assert await queue.resume(running) == "pending"
    assert await queue.resume(waiting) == "pending"
    assert await start_jobs(leases, 3) == ["ana", "ben"]


async def test_only_finished_jobs_are_retried(queue: GenerationQueue, state: State) -> None:
    (job,) = (await queue.add(request(), replace(ANA, priority=4))).ids
    with pytest.raises(Conflict, match="pending"):
        await queue.retry(job)
    await queue.cancel(job)
    (again,) = (await queue.retry(job)).ids
    view = await JobViews(state.database).get(again)
    assert (view.retried_from, view.priority, view.status) == (job, 4, "pending")
    assert view.parameters == (await JobViews(state.database).get(job)).parameters


async def test_batch_is_cancelled_as_a_whole(queue: GenerationQueue, state: State, leases: Leases) -> None:
    batch = await queue.add_batch([request(seed=n) for n in range(4)], ANA)
    assert batch.batch_id is not None
    (claimed,) = await leases.claim("illustrate", 1)
    done = Outcome([File(b"x", "image/png", 1, 1, 0)], {}, "mini", 0.5)
    await leases.complete(claimed, done, await state.objects.put_all([(b"x", "image/png")]))
    assert await queue.cancel_batch(batch.batch_id) == 3
    views = await JobViews(state.database).of_batch(batch.batch_id)
    assert [view.status for view in views] == ["completed"] + ["cancelled"] * 3
    assert [view.parameters["options"]["seed"] for view in views] == [0, 1, 2, 3]
    with pytest.raises(NotFound):
        await queue.cancel_batch("0" * 32)


async def test_unknown_jobs_are_not_found(queue: GenerationQueue, state: State) -> None:
    for act in (queue.cancel, queue.pause, queue.resume, queue.retry, JobViews(state.database).get):
        with pytest.raises(NotFound):
            await act("0" * 32)


async def test_generation_status_follows_the_job_status(queue: GenerationQueue, state: State, leases: Leases) -> None:
    (job,) = (await queue.add(request(), ANA)).ids

    async def both() -> tuple[str, str]:
        query = sa.select(jobs.c.status, generations.c.status).join(
            generations, generations.c.id == jobs.c.generation_id
        )
        async with state.database.read() as connection:
            row = (await connection.execute(query.where(jobs.c.generation_id == job))).one()
            return row[0], row[1]

    assert await both() == ("pending", "pending")
    (claimed,) = await leases.claim("illustrate", 1)
    assert await both() == ("processing", "processing")
    await leases.complete(claimed, Outcome([], {"tokens": 3}, "mini", 0.5), [])
    assert await both() == ("completed", "completed")
