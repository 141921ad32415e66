"""The number of workers that the queue could keep busy (A-113): by slots, limited, without paused lanes."""

from __future__ import annotations

import pytest
from test_queue import ANA, request

from serve.jobs.queue.generation_queue import GenerationQueue, desired_workers
from serve.jobs.worker.leases import Leases
from serve.settings import JobsSettings, Settings
from serve.state import State
from serve.state.tables import lanes


@pytest.fixture
def settings(settings: Settings) -> Settings:
    jobs = settings.jobs.model_copy(update={"max_workers": 3, "slots": {"illustrate": 4, "vectorize": 2}})
    return settings.model_copy(update={"jobs": jobs})


async def test_empty_queue_needs_no_worker(state: State) -> None:
    assert await desired_workers(state) == 0


async def test_pending_and_running_jobs_need_slots(state: State) -> None:
    queue, leases = GenerationQueue(state), Leases(state, state.settings.jobs.slots)
    await leases.register()
    for count, workers in ((1, 1), (3, 1), (1, 2)):
        await queue.add_batch([request()] * count, ANA)
        assert await desired_workers(state) == workers
    assert len(await leases.claim("illustrate", 4)) == 4
    assert await desired_workers(state) == 2, "who is done has a slot, too"


async def test_long_queue_needs_one_more_than_the_maximum(state: State) -> None:
    """Ray Serve limits the number; counting stops one above the limit."""
    await GenerationQueue(state).add_batch([request()] * 60, ANA)
    assert await desired_workers(state) == 4


async def test_paused_lane_needs_no_worker(state: State) -> None:
    await GenerationQueue(state).add_batch([request()] * 5, ANA)
    async with state.database.write() as connection:
        await connection.execute(lanes.insert(), {"lane": "illustrate", "paused": True})
    assert await desired_workers(state) == 0


def test_maximum_of_workers_is_unset_by_default() -> None:
    assert JobsSettings().max_workers is None
