"""The worker on stand-in ensembles: jobs are completed, followed, stopped, and resumed from their checkpoints."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import numpy as np
import pytest
import sqlalchemy as sa
from illustrator_standin import IllustratorStandIn, disk
from PIL import Image
from standin import StandIn
from test_queue import ANA, BEN, with_jobs

from serve.ensembles.illustrator.encoding import Encoding
from serve.ensembles.illustrator.illustration import IllustrateOptions
from serve.ensembles.requests import IllustrateRequest, JobRequest, VectorizeRequest
from serve.ensembles.vectorizer.vectorization import VectorizeOptions
from serve.errors import EngineFailure, StateUnavailable
from serve.jobs.queue.events import events_after
from serve.jobs.queue.generation_queue import GenerationQueue
from serve.jobs.queue.views import JobView, JobViews
from serve.jobs.worker.execution import JobExecutor
from serve.jobs.worker.worker import Worker
from serve.state import State
from serve.state.tables import results, workers

QUICK = {"poll_s": 0.01, "beat_s": 0.05, "lease_s": 0.5, "progress_s": 0.0, "retry_s": 0.01, "checkpoint_every": 1}


@pytest.fixture
def quick(state: State) -> State:
    return with_jobs(state, **QUICK)


@pytest.fixture
def illustrator() -> IllustratorStandIn:
    return IllustratorStandIn()


@pytest.fixture
async def worker(quick: State, illustrator: IllustratorStandIn) -> AsyncIterator[Worker]:
    started = Worker(quick, JobExecutor(quick, StandIn(), illustrator))
    await started.start()
    yield started
    await started.close()


def request(**options: object) -> IllustrateRequest:
    return IllustrateRequest(IllustrateOptions("a fox", **{"seed": 7, **options}))  # type: ignore[arg-type]


async def add(state: State, job_request: JobRequest) -> str:
    return (await GenerationQueue(state).add(job_request, ANA)).ids[0]


async def until(state: State, job_id: str, is_so: Callable[[JobView], bool], limit_s: float = 60.0) -> JobView:
    views = JobViews(state.database)
    async with asyncio.timeout(limit_s):
        while not is_so(view := await views.get(job_id)):  # noqa: ASYNC110 (a database has no event)
            await asyncio.sleep(0.01)
    return view


def over(view: JobView) -> bool:
    return view.status in ("completed", "failed", "cancelled")


async def pixels(state: State, view: JobView, place: int = 0) -> np.ndarray:
    query = sa.select(results.c.object).where(results.c.id == view.results[place].id)
    async with state.database.read() as connection:
        name = await connection.scalar(query)
    assert name is not None
    return np.asarray(Image.open(io.BytesIO(await state.objects.get(name))))


async def test_illustration_is_completed(quick: State, worker: Worker) -> None:
    view = await until(quick, await add(quick, request(n=2)), over)
    assert (view.status, view.error, view.progress) == ("completed", None, 1.0)
    assert [(result.seed, result.media_type, result.width) for result in view.results] == [
        (7, "image/png", 64),
        (8, "image/png", 64),
    ]
    assert np.array_equal(await pixels(quick, view, 1), disk(64, 64, 8))
    assert view.details is not None
    assert view.details["parameters"]["seed"] == 7
    assert (view.stage["step"], view.stage["steps"]) == (16, 16)
    kinds = [event.kind for event in await events_after(quick.database, view.id)]
    assert kinds[:2] == ["queued", "started"]
    assert kinds[-1] == "completed"
    assert set(kinds[2:-1]) <= {"progress", "preview"}


async def test_illustration_is_encoded_as_svg(quick: State, worker: Worker) -> None:
    job_request = replace(request(), encoding=Encoding("svg"))
    view = await until(quick, await add(quick, job_request), over)
    assert [result.media_type for result in view.results] == ["image/svg+xml"]


async def test_vectorization_is_completed(quick: State, worker: Worker, logo: bytes) -> None:
    image = await quick.objects.put(logo, "image/png")
    view = await until(quick, await add(quick, VectorizeRequest(image.name, VectorizeOptions())), over)
    assert (view.status, view.results[0].media_type, view.lane) == ("completed", "image/svg+xml", "vectorize")
    assert view.details is not None
    assert view.details["tier"]


async def test_repeated_job_is_answered_from_the_cache(
    quick: State, worker: Worker, illustrator: IllustratorStandIn, logo: bytes
) -> None:
    """A-080. What a caller spells out and what the model does by default is the same request."""
    first = await until(quick, await add(quick, request()), over)
    again = await until(quick, await add(quick, request(num_inference_steps=8, width=64)), over)
    assert (first.cached, again.cached, len(illustrator.asked)) == (False, True, 1)
    assert again.details is not None
    assert again.details["parameters"] == (first.details or {})["parameters"]
    assert np.array_equal(await pixels(quick, again), await pixels(quick, first))
    image = await quick.objects.put(logo, "image/png")
    job_request = VectorizeRequest(image.name, VectorizeOptions())
    views = [await until(quick, await add(quick, job_request), over) for _ in range(2)]
    assert [view.cached for view in views] == [False, True]
    other = await until(quick, await add(quick, request(seed=8)), over)
    assert not other.cached


async def test_running_job_reports_progress_and_previews(
    quick: State, worker: Worker, illustrator: IllustratorStandIn
) -> None:
    illustrator.holds_after = 4
    view = await until(quick, await add(quick, request()), lambda view: "preview" in view.stage)
    assert 0 < view.stage["step"] <= view.stage["steps"] == 8
    preview = Image.open(io.BytesIO(await quick.objects.get(view.stage["preview"])))
    assert preview.format == "WEBP"
    reported = [event.data["progress"] for event in await events_after(quick.database, view.id)]
    assert reported == sorted(reported)


async def test_running_job_is_cancelled(quick: State, worker: Worker, illustrator: IllustratorStandIn) -> None:
    illustrator.step_s = 0.05
    job_id = await add(quick, request(num_inference_steps=200))
    await until(quick, job_id, lambda view: view.progress > 0)
    await GenerationQueue(quick).cancel(job_id)
    view = await until(quick, job_id, over)
    assert view.status == "cancelled"
    assert illustrator.cancelled == 1
    await until(quick, await add(quick, request(num_inference_steps=1)), over)  # its slot is free


async def test_paused_job_resumes_from_its_checkpoint(
    quick: State, worker: Worker, illustrator: IllustratorStandIn
) -> None:
    illustrator.holds_after = 10
    queue, job_id = GenerationQueue(quick), await add(quick, request(num_inference_steps=30))
    await until(quick, job_id, lambda view: view.progress > 0.2)
    await queue.pause(job_id)
    await until(quick, job_id, lambda view: view.status == "paused")
    made, illustrator.holds_after = len(illustrator.steps), None
    await queue.resume(job_id)
    view = await until(quick, job_id, over)
    assert view.status == "completed"
    assert len(illustrator.steps) <= 30 + 3  # steps after the last checkpoint
    assert made >= 6
    assert np.array_equal(await pixels(quick, view), disk(64, 64, 7))


async def test_closed_worker_requeues_its_jobs(quick: State, illustrator: IllustratorStandIn) -> None:
    illustrator.holds_after = 10
    first = Worker(quick, JobExecutor(quick, StandIn(), illustrator))
    await first.start()
    job_id = await add(quick, request(num_inference_steps=30))
    await until(quick, job_id, lambda view: view.progress > 0.2)
    await first.close()
    assert (await JobViews(quick.database).get(job_id)).status == "pending"
    illustrator.holds_after = None
    second = Worker(quick, JobExecutor(quick, StandIn(), illustrator))
    await second.start()
    assert (await until(quick, job_id, over)).status == "completed"
    assert len(illustrator.steps) <= 30 + 3
    await second.close()


async def test_stalled_worker_is_fenced_and_registers_again(quick: State) -> None:
    """As if its process had been stopped for longer than the lease, and another worker had taken its job."""
    slow, fast = IllustratorStandIn(), IllustratorStandIn()
    slow.step_s = 0.1
    stopped = Worker(quick, JobExecutor(quick, StandIn(), slow))
    await stopped.start()
    job_id = await add(quick, request(num_inference_steps=100))
    await until(quick, job_id, lambda view: view.progress > 0)
    async with quick.database.write() as connection:  # as the other worker's lease reaper does
        await connection.execute(sa.delete(workers).where(workers.c.id == stopped.worker_id))
    other = Worker(quick, JobExecutor(quick, StandIn(), fast))
    await other.start()
    before = stopped.worker_id
    view = await until(quick, job_id, over)
    assert (view.status, view.attempt, len(view.results)) == ("completed", 2, 1)
    async with asyncio.timeout(60):
        while stopped.worker_id == before:  # noqa: ASYNC110 (nobody tells)
            await asyncio.sleep(0.01)
    await other.close()
    await until(quick, await add(quick, request(num_inference_steps=1)), over)  # it works again, under a new worker id
    await stopped.close()


async def test_engine_failures_are_retried(quick: State, worker: Worker, illustrator: IllustratorStandIn) -> None:
    illustrator.failure = EngineFailure("the engine broke")
    view = await until(quick, await add(quick, request()), over)
    assert (view.status, view.attempt) == ("failed", 3)
    assert view.error is not None
    assert view.error["detail"] == "the engine broke"


async def test_unexpected_errors_reveal_no_details(
    quick: State, worker: Worker, illustrator: IllustratorStandIn
) -> None:
    illustrator.failure = RuntimeError("/secret/path")
    view = await until(quick, await add(quick, request()), over)
    assert view.status == "failed"
    assert "secret" not in str(view.error)


async def test_job_without_a_model_names_the_build_command(quick: State) -> None:
    worker = Worker(quick, JobExecutor(quick, StandIn(), None))
    await worker.start()
    view = await until(quick, await add(quick, request()), over)
    assert view.error is not None
    assert "build_engines illustrate" in view.error["detail"]
    await worker.close()


async def test_lanes_have_separate_slots(quick: State, worker: Worker, illustrator: IllustratorStandIn) -> None:
    illustrator.step_s = 10.0
    slow = [await add(quick, request()) for _ in range(5)]
    await until(quick, slow[3], lambda view: view.status == "processing")
    assert (await JobViews(quick.database).get(slow[4])).status == "pending"
    image = await quick.objects.put(b"no picture", "image/png")
    job_request = VectorizeRequest(image.name, VectorizeOptions())
    (other,) = (await GenerationQueue(quick).add(job_request, BEN)).ids
    assert (await until(quick, other, over)).status == "failed"  # at once: it did not wait behind the others


async def test_store_outage_loses_no_picture(
    quick: State, worker: Worker, illustrator: IllustratorStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = 3
    put_all = type(quick.objects).put_all

    async def flaky(*arguments: object) -> object:
        nonlocal away
        if away > 0:
            away -= 1
            raise StateUnavailable("the object store does not answer; try again")
        return await put_all(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(type(quick.objects), "put_all", flaky)
    view = await until(quick, await add(quick, request()), over)
    assert (view.status, len(illustrator.steps)) == ("completed", 8)
