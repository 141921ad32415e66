"""Metrics of the whole site, from the database."""

from __future__ import annotations

from datetime import timedelta

import sqlalchemy as sa
from test_queue import ANA, request

from serve.ensembles.requests import ILLUSTRATE
from serve.jobs.queue.generation_queue import GenerationQueue, set_lane_paused
from serve.jobs.worker.leases import Leases
from serve.jobs.worker.site import update_site_metrics
from serve.observability.metrics import catalogue
from serve.state import State
from serve.state.tables import jobs, utc_now


async def oldest_s(state: State) -> float:
    await update_site_metrics(state.database)
    return catalogue.OLDEST_JOB.value(ILLUSTRATE)


async def test_age_of_the_oldest_startable_job(state: State) -> None:
    """Of the jobs that could start: not of running or delayed ones, nor of paused lanes."""
    queue, leases = GenerationQueue(state), Leases(state, {ILLUSTRATE: 2})
    await leases.register()
    assert await oldest_s(state) == 0
    first, second, later = (await queue.add_batch([request()] * 3, ANA)).ids

    async def available(job_id: str, in_s: float) -> None:
        at = utc_now() + timedelta(seconds=in_s)
        async with state.database.write() as connection:
            await connection.execute(sa.update(jobs).where(jobs.c.generation_id == job_id).values(available_at=at))

    for job_id, in_s in ((first, -900.0), (second, -300.0), (later, 60.0)):
        await available(job_id, in_s)
    assert 900 <= await oldest_s(state) < 930
    assert [job.id for job in await leases.claim(ILLUSTRATE, 1)] == [first]
    assert 300 <= await oldest_s(state) < 330
    await set_lane_paused(state.database, ILLUSTRATE, True)
    assert await oldest_s(state) == 0, "somebody wants it so"
