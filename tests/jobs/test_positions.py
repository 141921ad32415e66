"""What is ahead of a job: exact where that is short, and close to it where a lane is long."""

from __future__ import annotations

from dataclasses import replace

import pytest
import sqlalchemy as sa
from test_queue import ANA, BEN, request

from serve.jobs.queue import fair_order, positions, views
from serve.jobs.queue.generation_queue import GenerationQueue
from serve.state import State
from serve.state.job_states import PENDING
from serve.state.tables import jobs

CARA = replace(ANA, user_id="cara")


async def counted(state: State, job_id: str) -> int:
    """What a count says."""
    j = jobs.c
    async with state.database.read() as connection:
        row = (await connection.execute(sa.select(j.rank, j.round, j.seq).where(j.generation_id == job_id))).one()
        before = sa.tuple_(j.rank, j.round, j.seq) < sa.tuple_(row.rank, row.round, row.seq)
        waiting = sa.select(sa.func.count()).select_from(jobs).where(j.status == PENDING, before)
        return 1 + (await connection.scalar(waiting) or 0)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Five ahead are many."""
    monkeypatch.setattr(positions, "EXACT", 5)
    monkeypatch.setattr(fair_order, "_PLACEMENT", fair_order._placement_query())
    monkeypatch.setattr(
        views, "_WITH_POSITION", views._QUERY.add_columns(positions.ahead().label("ahead")).where(views._SELECTED)
    )
    return monkeypatch


@pytest.mark.usefixtures("short")
async def test_a_long_lane_is_told_as_a_count_would(state: State) -> None:
    """Users with jobs of several rounds and priorities; every position, and that of a job that comes later."""
    queue, looks = GenerationQueue(state), views.JobViews(state.database)
    ids = [*(await queue.add_batch([request()] * 20, ANA)).ids, *(await queue.add_batch([request()] * 7, BEN)).ids]
    ids += (await queue.add_batch([request()] * 9, replace(CARA, priority=-5))).ids
    wanted = [await counted(state, job_id) for job_id in ids]
    assert [(await looks.get(job_id)).position for job_id in ids] == wanted
    assert sorted(wanted) == list(range(1, 37))
    late = (await queue.add(request(), CARA)).ids[0]
    assert (await looks.get(late)).position == await counted(state, late)


@pytest.mark.parametrize("ahead", [3, 30])
async def test_what_is_told_of_a_new_job_is_what_a_look_at_it_tells(
    state: State, short: pytest.MonkeyPatch, ahead: int
) -> None:
    """Few ahead are counted with its round, many come from the lane's count."""
    short.setattr(positions, "_MAX_AGE_S", 60.0)
    queue, looks = GenerationQueue(state), views.JobViews(state.database)
    before = await queue.add_batch([request()] * ahead, ANA)
    await looks.get(before.ids[-1])  # from now on the lane is known
    added = await queue.add(request("a fox"), replace(BEN, priority=-5, webhook_url="https://example.com/hook"))
    told = await looks.of_submission(added)
    assert told == await looks.get(added.ids[0])
    assert told.position == ahead + 1
    assert await looks.of_submission(replace(added, row=None)) == told


@pytest.mark.parametrize("ahead", [2, 12])
async def test_many_new_jobs_are_told_what_looks_at_them_tell(
    state: State, short: pytest.MonkeyPatch, ahead: int
) -> None:
    """Of users who come one after the other: in a round of one, and behind rounds of another user."""
    short.setattr(positions, "_MAX_AGE_S", 60.0)
    queue, looks = GenerationQueue(state), views.JobViews(state.database)
    first = await queue.add_batch([request()] * ahead, ANA)
    await looks.get(first.ids[-1])
    told = []
    for n in range(9):
        added = await queue.add(request(), replace(ANA, user_id=f"user{n % 6}"))
        told.append((await looks.of_submission(added)).position)
        assert told[-1] == await counted(state, added.ids[0])
    assert len(set(told)) == 9


async def test_the_count_of_a_long_lane_is_kept_for_a_moment(state: State, short: pytest.MonkeyPatch) -> None:
    short.setattr(positions, "_MAX_AGE_S", 60.0)
    queue, looks = GenerationQueue(state), views.JobViews(state.database)
    ids = (await queue.add_batch([request()] * 20, ANA)).ids
    assert (await looks.get(ids[19])).position == 20
    for job_id in ids[:4]:
        await queue.cancel(job_id)
    assert (await looks.get(ids[9])).position == 6  # few enough to be counted
    assert (await looks.get(ids[19])).position == 20
    assert (await views.JobViews(state.database).get(ids[19])).position == 16
    short.setattr(positions, "_MAX_AGE_S", 0.0)
    assert (await looks.get(ids[19])).position == 16
