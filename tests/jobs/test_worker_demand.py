"""How many workers the queue could keep busy (A-113): by slots, up to a bound, without lanes that pause."""

from __future__ import annotations

import pytest
from test_queue import ANA, request

from serve.jobs.queue.generation_queue import GenerationQueue
from serve.jobs.queue.lanes import desired_workers
from serve.jobs.worker.leases import Leases
from serve.settings import JobsSettings, Settings
from serve.state import State
from serve.state.tables import lanes


@pytest.fixture
def settings(settings: Settings) -> Settings:
    jobs = settings.jobs.model_copy(update={"max_workers": 3, "slots": {"illustrate": 4, "vectorize": 2}})
    return settings.model_copy(update={"jobs": jobs})


async def test_an_empty_queue_wants_nobody(state: State) -> None:
    assert await desired_workers(state) == 0


async def test_jobs_that_wait_and_jobs_that_are_done_want_slots(state: State) -> None:
    queue, leases = GenerationQueue(state), Leases(state, state.settings.jobs.slots)
    await leases.register()
    for count, workers in ((1, 1), (3, 1), (1, 2)):
        await queue.add_batch([request()] * count, ANA)
        assert await desired_workers(state) == workers
    assert len(await leases.claim("illustrate", 4)) == 4
    assert await desired_workers(state) == 2, "who is done has a slot, too"


async def test_a_long_queue_wants_one_more_than_there_may_be(state: State) -> None:
    """Ray Serve bounds it; nobody counts a hundred thousand jobs every second."""
    await GenerationQueue(state).add_batch([request()] * 60, ANA)
    assert await desired_workers(state) == 4


async def test_a_lane_that_pauses_wants_nobody(state: State) -> None:
    await GenerationQueue(state).add_batch([request()] * 5, ANA)
    async with state.database.write() as connection:
        await connection.execute(lanes.insert(), {"lane": "illustrate", "paused": True})
    assert await desired_workers(state) == 0


def test_a_site_has_as_many_as_before_unless_it_says_more() -> None:
    assert JobsSettings().max_workers is None
