"""Conversions recorded for training (D-080): only where the site collects them, and no longer than their generation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from illustrator_standin import IllustratorStandIn
from pictures import drawn, encode
from standin import StandIn
from test_worker import QUICK, add, over, until

from serve.ensembles.requests import VectorizeRequest
from serve.ensembles.vectorizer.vectorization import QualitySample, Vectorization, VectorizeOptions
from serve.jobs.worker.execution import JobExecutor
from serve.jobs.worker.maintenance import delete_old_samples
from serve.jobs.worker.worker import Worker
from serve.state import State
from serve.state.tables import generations, quality_samples
from tests.jobs.direct.direct_gateways import ADA, gateway, rows

SAMPLE = QualitySample(bytes(1024), [[0.0] * 10 + [0.95, 1200, 7]])
PICTURE = encode(drawn())
MEASURED = VectorizeOptions(validate=True)


class Sampling(StandIn):
    async def vectorize(self, data: bytes, options: VectorizeOptions) -> Vectorization:
        return replace(await super().vectorize(data, options), sample=SAMPLE)


def collecting(state: State, **samples: Any) -> State:
    settings = state.settings
    chosen = settings.vectorizer.samples.model_copy(update={"collect": True, **samples})
    vectorizer = settings.vectorizer.model_copy(update={"samples": chosen})
    jobs = settings.jobs.model_copy(update=QUICK)
    return State(state.database, state.objects, settings.model_copy(update={"vectorizer": vectorizer, "jobs": jobs}))


async def test_nothing_is_recorded_unless_the_site_says_so(state: State) -> None:
    async with gateway(state, vectorizer=Sampling()) as direct:
        await direct.vectorize(PICTURE, MEASURED, ADA)
    assert await rows(state, quality_samples) == []


@pytest.mark.parametrize("pictures", [False, True])
async def test_a_computed_conversion_is_recorded_once(state: State, pictures: bool) -> None:
    async with gateway(collecting(state, pictures=pictures), vectorizer=Sampling()) as direct:
        first = await direct.vectorize(PICTURE, MEASURED, ADA)
        again = await direct.vectorize(PICTURE, MEASURED, ADA)
    assert again.cached
    (row,) = await rows(state, quality_samples)
    assert (row.generation_id, row.embedding, row.trials) == (first.generation_id, SAMPLE.embedding, SAMPLE.trials)
    assert (row.predicted_quality, row.actual_quality) == (0.9, 0.95)
    assert row.prediction_error == pytest.approx(0.05)
    assert row.image_sha256 == first.details["input_sha256"]
    assert row.parameters == first.details["parameters"]
    assert row.engine_versions == {"plus_one": "1"}
    assert row.with_picture is pictures
    assert "sample" not in first.details


async def test_a_sample_goes_with_its_generation(state: State) -> None:
    async with gateway(collecting(state), vectorizer=Sampling()) as direct:
        await direct.vectorize(PICTURE, MEASURED, ADA)
    async with state.database.write() as connection:
        await connection.execute(sa.delete(generations))
    assert await rows(state, quality_samples) == []


async def test_a_job_is_recorded(state: State) -> None:
    site = collecting(state)
    worker = Worker(site, JobExecutor(site, Sampling(), IllustratorStandIn()))
    await worker.start()
    try:
        stored = await site.objects.put(PICTURE, "image/png")
        job = await add(site, VectorizeRequest(stored.name, MEASURED))
        await until(site, job, over)
    finally:
        await worker.close()
    assert [row.generation_id for row in await rows(state, quality_samples)] == [job]


async def test_the_oldest_are_removed(state: State) -> None:
    site = collecting(state, max_rows=2)
    async with gateway(site, vectorizer=Sampling()) as direct:
        made = [await direct.vectorize(encode(drawn(size=side)), MEASURED, ADA) for side in (16, 24, 32, 40)]
    await delete_old_samples(site)
    await delete_old_samples(site)
    assert [row.generation_id for row in await rows(state, quality_samples)] == [one.generation_id for one in made[2:]]
