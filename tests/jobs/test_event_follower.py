"""Followers of jobs: they see every event once, end with their job, and hold no place for longer (B-080)."""

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
async def hand(state: State) -> Hand:
    return await Hand.of(state)


async def added(state: State) -> str:
    return (await GenerationQueue(state).add(request(), ANA)).ids[0]


async def kinds(following: AsyncGenerator[Event]) -> list[str]:
    async with asyncio.timeout(20):
        return [event.kind async for event in following]


async def test_many_follow_many_jobs(state: State, follower: EventFollower, hand: Hand) -> None:
    ids = [await added(state) for _ in range(10)]
    following = [asyncio.create_task(kinds(follower.follow(job_id))) for job_id in ids * 5]
    await asyncio.sleep(0.05)
    await hand.do_all()
    assert await asyncio.gather(*following) == [["queued", "started", "completed"]] * 50
    assert [event async for event in follower.follow(ids[0], 3)] == []


async def test_who_waits_for_a_number_that_never_comes_ends_with_the_job(
    state: State, follower: EventFollower, hand: Hand
) -> None:
    following = asyncio.create_task(kinds(follower.follow(await added(state), 1000)))
    await asyncio.sleep(0.05)
    await hand.do_all()
    assert await following == []


async def test_a_job_that_is_gone_ends_its_followers(state: State, follower: EventFollower) -> None:
    first, second = await added(state), await added(state)
    gone, there = [asyncio.create_task(kinds(follower.follow(job_id))) for job_id in (first, second)]
    await asyncio.sleep(0.05)
    async with state.database.write() as connection:
        await connection.execute(sa.delete(generations).where(generations.c.id == first))
    with pytest.raises(NotFound):
        await gone
    await GenerationQueue(state).cancel(second)
    assert await there == ["queued", "cancelled"]


async def test_places_are_given_back(state: State) -> None:
    follower = EventFollower(with_jobs(state, poll_s=0.01, max_watchers=2))
    *ids, another = [await added(state) for _ in range(3)]
    for _ in range(3):
        async with contextlib.AsyncExitStack() as stack:
            for job_id in ids:
                await begun(follower, job_id, stack)
            with pytest.raises(Overloaded, match="jobs here"):
                await anext(follower.follow(another))
    with pytest.raises(NotFound):
        await anext(follower.follow("0" * 32))


async def begun(follower: EventFollower, job_id: str, stack: contextlib.AsyncExitStack) -> None:
    """Follows for as long as ``stack`` is open."""
    following = await stack.enter_async_context(contextlib.aclosing(follower.follow(job_id)))
    assert (await anext(following)).kind == "queued"


async def test_a_rush_on_one_job_leaves_places_to_others(state: State) -> None:
    follower = EventFollower(with_jobs(state, poll_s=0.01, max_watchers=8))
    rushed, *others = [await added(state) for _ in range(4)]
    async with contextlib.AsyncExitStack() as stack:
        for job_id in (rushed, rushed):
            await begun(follower, job_id, stack)
        for _ in range(8):
            with pytest.raises(Overloaded, match="this job"):
                await anext(follower.follow(rushed))
        for job_id in others * 2:
            await begun(follower, job_id, stack)
    async with contextlib.AsyncExitStack() as stack:
        for job_id in (rushed, rushed):
            await begun(follower, job_id, stack)


async def test_waiting(state: State, follower: EventFollower, hand: Hand) -> None:
    job_id = await added(state)
    assert [event.n for event in (await follower.wait(job_id, 0, 60)).events] == [1]
    silent = await follower.wait(job_id, 1, 0.02)
    assert (list(silent.events), silent.finished, silent.count) == ([], False, 1)
    await follower.wait_until_finished(job_id, 1, 0.02)
    over = asyncio.create_task(follower.wait_until_finished(job_id, 1, 60))
    news = asyncio.create_task(follower.wait(job_id, 1, 60))
    await hand.do_all()
    async with asyncio.timeout(20):
        await over
        assert (await news).events[0].kind == "started"
    last = await follower.wait(job_id, 2, 60)
    assert ([event.kind for event in last.events], last.finished) == (["completed"], True)
    end = await follower.wait(job_id, 3, 60)
    assert (list(end.events), end.finished) == ([], True)


async def test_what_is_over_keeps_no_checkpoint(state: State, hand: Hand) -> None:
    """However it came to be over."""
    queue = GenerationQueue(state)
    ids = [await added(state) for _ in range(4)]
    cancelled, paused, given_back, done = await hand.claim(most=4)
    for job in (cancelled, paused, given_back, done):
        await hand.show(job, 3)
    await queue.pause(paused.id)
    await hand.leases.release(paused)
    assert await count(state) == 4
    await queue.cancel(paused.id)
    await queue.cancel(cancelled.id)
    await hand.leases.release(cancelled)
    await hand.complete(done)
    assert await count(state) == 1
    await queue.cancel(given_back.id)
    await hand.leases.unregister()
    assert await count(state) == 0
    statuses = [(await JobViews(state.database).get(job_id)).status for job_id in ids]
    assert statuses == ["cancelled", "cancelled", "cancelled", "completed"]


async def count(state: State) -> int:
    async with state.database.read() as connection:
        return await connection.scalar(sa.select(sa.func.count()).select_from(checkpoints)) or 0


async def test_estimates_come_from_what_was_done(state: State, hand: Hand) -> None:
    """Half a second each, by four slots."""
    first = await added(state)
    assert (await JobViews(state.database).get(first)).estimated_s is None
    await hand.do_all()
    ids = [await added(state) for _ in range(5)]
    views = JobViews(state.database)
    assert [(await views.get(job_id)).estimated_s for job_id in ids] == [0.5, 0.5, 0.5, 0.5, 1.0]
