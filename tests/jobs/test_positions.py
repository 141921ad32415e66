"""Queue positions: exact in short lanes, estimated from a cached count in long ones."""

from __future__ import annotations

from dataclasses import replace

import pytest
import sqlalchemy as sa
from test_queue import ANA, BEN, request

from serve.jobs.queue import fair_order, views
from serve.jobs.queue.generation_queue import GenerationQueue
from serve.state import State
from serve.state.job_states import PENDING
from serve.state.tables import jobs

CARA = replace(ANA, user_id="cara")


async def counted_position(state: State, job_id: str) -> int:
    """The position by counting the jobs ahead."""
    j = jobs.c
    async with state.database.read() as connection:
        row = (await connection.execute(sa.select(j.rank, j.round, j.seq).where(j.generation_id == job_id))).one()
        before = sa.tuple_(j.rank, j.round, j.seq) < sa.tuple_(row.rank, row.round, row.seq)
        waiting = sa.select(sa.func.count()).select_from(jobs).where(j.status == PENDING, before)
        return 1 + (await connection.scalar(waiting) or 0)


@pytest.fixture
def short_limit(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Five jobs ahead make a lane long."""
    monkeypatch.setattr(fair_order, "EXACT", 5)
    monkeypatch.setattr(fair_order, "_PLACEMENT", fair_order._placement_query())
    monkeypatch.setattr(
        views, "_WITH_POSITION", views._QUERY.add_columns(fair_order.ahead().label("ahead")).where(views._SELECTED)
    )
    return monkeypatch


@pytest.mark.usefixtures("short_limit")
async def test_long_lane_positions_equal_a_count(state: State) -> None:
    """Users with jobs in several rounds and priorities; every position, and that of a job added later."""
    queue, job_views = GenerationQueue(state), views.JobViews(state.database)
    ids = [*(await queue.add_batch([request()] * 20, ANA)).ids, *(await queue.add_batch([request()] * 7, BEN)).ids]
    ids += (await queue.add_batch([request()] * 9, replace(CARA, priority=-5))).ids
    expected = [await counted_position(state, job_id) for job_id in ids]
    assert [(await job_views.get(job_id)).position for job_id in ids] == expected
    assert sorted(expected) == list(range(1, 37))
    added_later = (await queue.add(request(), CARA)).ids[0]
    assert (await job_views.get(added_later)).position == await counted_position(state, added_later)


@pytest.mark.parametrize("ahead", [3, 30])
async def test_submission_view_equals_the_job_view(state: State, short_limit: pytest.MonkeyPatch, ahead: int) -> None:
    """Few jobs ahead are counted with its round; many come from the lane's count."""
    short_limit.setattr(fair_order, "_MAX_AGE_S", 60.0)
    queue, job_views = GenerationQueue(state), views.JobViews(state.database)
    before = await queue.add_batch([request()] * ahead, ANA)
    await job_views.get(before.ids[-1])  # fills the lane's cached count
    added = await queue.add(request("a fox"), replace(BEN, priority=-5, webhook_url="https://example.com/hook"))
    response = await job_views.of_submission(added)
    assert response == await job_views.get(added.ids[0])
    assert response.position == ahead + 1
    assert await job_views.of_submission(replace(added, row=None)) == response


@pytest.mark.parametrize("ahead", [2, 12])
async def test_submission_positions_equal_counts(state: State, short_limit: pytest.MonkeyPatch, ahead: int) -> None:
    """New users one after the other: alone in a round, and behind rounds of another user."""
    short_limit.setattr(fair_order, "_MAX_AGE_S", 60.0)
    queue, job_views = GenerationQueue(state), views.JobViews(state.database)
    first = await queue.add_batch([request()] * ahead, ANA)
    await job_views.get(first.ids[-1])
    response = []
    for n in range(9):
        added = await queue.add(request(), replace(ANA, user_id=f"user{n % 6}"))
        response.append((await job_views.of_submission(added)).position)
        assert response[-1] == await counted_position(state, added.ids[0])
    assert len(set(response)) == 9


async def test_count_of_a_long_lane_is_cached(state: State, short_limit: pytest.MonkeyPatch) -> None:
    short_limit.setattr(fair_order, "_MAX_AGE_S", 60.0)
    queue, job_views = GenerationQueue(state), views.JobViews(state.database)
    ids = (await queue.add_batch([request()] * 20, ANA)).ids
    assert (await job_views.get(ids[19])).position == 20
    for job_id in ids[:4]:
        await queue.cancel(job_id)
    assert (await job_views.get(ids[9])).position == 6  # few enough to be counted
    assert (await job_views.get(ids[19])).position == 20
    assert (await views.JobViews(state.database).get(ids[19])).position == 16
    short_limit.setattr(fair_order, "_MAX_AGE_S", 0.0)
    assert (await job_views.get(ids[19])).position == 16
