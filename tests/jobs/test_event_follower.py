"""Event followers: they get every event once, end with their job, and release their place (B-080)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator

import pytest
import sqlalchemy as sa
from jobs_standin import Hand
from test_queue import ANA, request, with_jobs

from serve.errors import NotFound, Overloaded
from serve.jobs.queue.events import Event, EventFollower
from serve.jobs.queue.generation_queue import GenerationQueue
from serve.jobs.queue.views import JobViews
from serve.state import State
from serve.state.tables import checkpoints, generations


@pytest.fixture
def follower(state: State) -> EventFollower:
    return EventFollower(with_jobs(state, poll_s=0.01, max_watchers=60))


@pytest.fixture
async def manual_worker(state: State) -> Hand:
    return await Hand.of(state)


async def add_job(state: State) -> str:
    return (await GenerationQueue(state).add(request(), ANA)).ids[0]


async def kinds(following: AsyncGenerator[Event]) -> list[str]:
    async with asyncio.timeout(60):
        return [event.kind async for event in following]


async def test_many_followers_of_many_jobs_get_all_events(
    state: State, follower: EventFollower, manual_worker: Hand
) -> None:
    ids = [await add_job(state) for _ in range(10)]
    following = [asyncio.create_task(kinds(follower.follow(job_id))) for job_id in ids * 5]
    await asyncio.sleep(0.05)
    await manual_worker.do_all()
    assert await asyncio.gather(*following) == [["queued", "started", "completed"]] * 50
    assert [event async for event in follower.follow(ids[0], 3)] == []


async def test_follower_beyond_the_last_event_ends_with_the_job(
    state: State, follower: EventFollower, manual_worker: Hand
) -> None:
    following = asyncio.create_task(kinds(follower.follow(await add_job(state), 1000)))
    await asyncio.sleep(0.05)
    await manual_worker.do_all()
    assert await following == []


async def test_deleted_job_ends_its_followers(state: State, follower: EventFollower) -> None:
    first, second = await add_job(state), await add_job(state)
    deleted, remaining = [asyncio.create_task(kinds(follower.follow(job_id))) for job_id in (first, second)]
    await asyncio.sleep(0.05)
    async with state.database.write() as connection:
        await connection.execute(sa.delete(generations).where(generations.c.id == first))
    with pytest.raises(NotFound):
        await deleted
    await GenerationQueue(state).cancel(second)
    assert await remaining == ["queued", "cancelled"]


async def test_follower_places_are_released(state: State) -> None:
    follower = EventFollower(with_jobs(state, poll_s=0.01, max_watchers=2))
    *ids, another = [await add_job(state) for _ in range(3)]
    for _ in range(3):
        async with contextlib.AsyncExitStack() as stack:
            for job_id in ids:
                await start_following(follower, job_id, stack)
            with pytest.raises(Overloaded, match="jobs here"):
                await anext(follower.follow(another))
    with pytest.raises(NotFound):
        await anext(follower.follow("0" * 32))


async def start_following(follower: EventFollower, job_id: str, stack: contextlib.AsyncExitStack) -> None:
    """Follows until ``stack`` is closed."""
    following = await stack.enter_async_context(contextlib.aclosing(follower.follow(job_id)))
    assert (await anext(following)).kind == "queued"


async def test_followers_per_job_are_limited(state: State) -> None:
    follower = EventFollower(with_jobs(state, poll_s=0.01, max_watchers=8))
    rushed, *others = [await add_job(state) for _ in range(4)]
    async with contextlib.AsyncExitStack() as stack:
        for job_id in (rushed, rushed):
            await start_following(follower, job_id, stack)
        for _ in range(8):
            with pytest.raises(Overloaded, match="this job"):
                await anext(follower.follow(rushed))
        for job_id in others * 2:
            await start_following(follower, job_id, stack)
    async with contextlib.AsyncExitStack() as stack:
        for job_id in (rushed, rushed):
            await start_following(follower, job_id, stack)


async def test_wait_returns_new_events_or_times_out(state: State, follower: EventFollower, manual_worker: Hand) -> None:
    job_id = await add_job(state)
    assert [event.n for event in (await follower.wait(job_id, 0, 60)).events] == [1]
    silent = await follower.wait(job_id, 1, 0.02)
    assert (list(silent.events), silent.finished, silent.count) == ([], False, 1)
    await follower.wait_until_finished(job_id, 1, 0.02)
    finished = asyncio.create_task(follower.wait_until_finished(job_id, 1, 60))
    next_events = asyncio.create_task(follower.wait(job_id, 1, 60))
    await manual_worker.do_all()
    async with asyncio.timeout(60):
        await finished
        assert (await next_events).events[0].kind == "started"
    last = await follower.wait(job_id, 2, 60)
    assert ([event.kind for event in last.events], last.finished) == (["completed"], True)
    end = await follower.wait(job_id, 3, 60)
    assert (list(end.events), end.finished) == ([], True)


async def test_finished_jobs_keep_no_checkpoint(state: State, manual_worker: Hand) -> None:
    """For every way in which a job ends."""
    queue = GenerationQueue(state)
    ids = [await add_job(state) for _ in range(4)]
    cancelled, paused, given_back, done = await manual_worker.claim(most=4)
    for job in (cancelled, paused, given_back, done):
        await manual_worker.show(job, 3)
    await queue.pause(paused.id)
    await manual_worker.leases.release(paused)
    assert await checkpoint_count(state) == 4
    await queue.cancel(paused.id)
    await queue.cancel(cancelled.id)
    await manual_worker.leases.release(cancelled)
    await manual_worker.complete(done)
    assert await checkpoint_count(state) == 1
    await queue.cancel(given_back.id)
    await manual_worker.leases.unregister()
    assert await checkpoint_count(state) == 0
    statuses = [(await JobViews(state.database).get(job_id)).status for job_id in ids]
    assert statuses == ["cancelled", "cancelled", "cancelled", "completed"]


async def checkpoint_count(state: State) -> int:
    async with state.database.read() as connection:
        return await connection.scalar(sa.select(sa.func.count()).select_from(checkpoints)) or 0


async def test_estimates_follow_past_durations(state: State, manual_worker: Hand) -> None:
    """Half a second each, in four slots."""
    first = await add_job(state)
    assert (await JobViews(state.database).get(first)).estimated_s is None
    await manual_worker.do_all()
    ids = [await add_job(state) for _ in range(5)]
    views = JobViews(state.database)
    assert [(await views.get(job_id)).estimated_s for job_id in ids] == [0.5, 0.5, 0.5, 0.5, 1.0]
