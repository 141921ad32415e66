"""Engines, tracers and workers that fail: conversions continue, and health reports the failure."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from conversions import DATA, convert, in_module_loop, logo, png
from fake_models import models
from fakes import FakeEngines

from serve.engines.engine_set import HEALTH_CACHE_S
from serve.ensembles.vectorizer.analysis import ConversionContext, ImageAnalyzer, Predictors
from serve.ensembles.vectorizer.conversion import Conversion
from serve.ensembles.vectorizer.processes import WorkerProcess
from serve.ensembles.vectorizer.vectorization import ENGINES, VectorizeOptions
from serve.ensembles.vectorizer.vectorizer import TRACERS, Vectorizer
from serve.ensembles.vectorizer.worker_pool import TaskFault, WorkerPool
from serve.errors import AtelierError, BadImage, EngineFailure, EngineUnavailable
from serve.settings import VectorizerSettings
from serve.vector.image import ImageLimits
from serve.vector.parameters import CoverageParameters, PictorialParameters


@in_module_loop
@pytest.mark.parametrize("error", [EngineFailure("broken"), None])
@pytest.mark.parametrize("engine", ENGINES)
async def test_conversion_survives_engine_failures(
    vectorizer: Vectorizer, engines: Any, engine: str, error: AtelierError | None
) -> None:
    """D-055, D-091; None: the engine returns invalid values."""
    engines.answers[engine] = error or {"embedding": np.zeros(3), "ssim": np.full((1, 1), np.nan)}
    for tier in ("auto", 1, 2, 3):
        made = await convert(vectorizer, tier=tier, target_quality=1.0)
        assert made.paths >= 1
        assert made.tracer == "coverage"
        assert engine not in made.model_versions
        if engine != "policy" or tier in ("auto", 3):
            assert any(engine in note for note in made.degraded)


@in_module_loop
async def test_without_engines_fixed_parameters_are_used(vectorizer: Vectorizer, engines: Any) -> None:
    engines.answers = dict.fromkeys(ENGINES, EngineUnavailable("gone"))
    made = await convert(vectorizer, tier=1, validate=True)
    assert (made.tier, made.tracer, made.predicted_quality, made.model_versions) == ("fixed", "coverage", None, {})
    assert made.logo_type in ("simple", "text", "gradient", "complex")
    assert (made.actual_quality or 0) > 0.95
    assert (await convert(vectorizer, tier=2)).tier == "fixed"
    assert (await convert(vectorizer, tier=3)).tier == "3"


class OwnTracersFail(WorkerPool):
    """The real pool, in which all tracers but VTracer fail."""

    def __init__(self, real: WorkerPool) -> None:
        self.real, self.count = real, real.count

    async def run(self, deadline: float | None, task: Any, *arguments: Any, limit_s: float | None = None) -> Any:
        if any(isinstance(argument, CoverageParameters | PictorialParameters) for argument in arguments):
            raise TaskFault("processing the picture failed")
        return await self.real.run(deadline, task, *arguments, limit_s=limit_s)


@in_module_loop
@pytest.mark.parametrize("tier", ["auto", 1, 2, 3])
async def test_vtracer_replaces_a_failed_tracer(vectorizer: Vectorizer, engines: Any, tier: Any) -> None:
    failing = replace(vectorizer._resources, workers=OwnTracersFail(vectorizer._resources.workers))
    context = vectorizer._context(None)
    made = await Conversion(failing, DATA, VectorizeOptions(tier=tier), context).run()
    assert made.tracer == "vtracer"
    assert any("the coverage tracer failed" in note for note in made.degraded)


@in_module_loop
async def test_the_note_names_the_tracer_that_failed(vectorizer: Vectorizer, engines: Any) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (52, 52, 3)).astype(np.uint8).repeat(4, 0).repeat(4, 1)
    photograph = png(np.dstack([noise, np.full(noise.shape[:2], 255, np.uint8)]))
    failing = replace(vectorizer._resources, workers=OwnTracersFail(vectorizer._resources.workers))
    made = await Conversion(failing, photograph, VectorizeOptions(tier=1), vectorizer._context(None)).run()
    assert "the pictorial tracer failed: VTracer with its defaults" in made.degraded


@in_module_loop
async def test_picture_that_kills_its_worker_twice_is_a_bad_picture() -> None:
    class Deadly(OwnTracersFail):
        async def run(self, deadline: float | None, task: Any, *arguments: Any, limit_s: float | None = None) -> Any:
            raise TaskFault("processing the picture ended its worker twice")

    observer = ImageAnalyzer(Deadly(WorkerPool(1)), Predictors(FakeEngines({}), timeout_s=1), ImageLimits())
    with pytest.raises(BadImage) as raised:
        await observer.analyze(b"deadly", ConversionContext(time.monotonic() + 5))
    assert raised.value.field == "image"


@in_module_loop
async def test_killed_worker_does_not_fail_the_conversion(
    vectorizer: Vectorizer, engines: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = png(logo(13, 1024))
    expected = await convert(vectorizer, data, tier=1)
    ask, pids = WorkerProcess.ask, []

    async def killing(worker: WorkerProcess, message: bytes) -> tuple[str, Any]:
        if b"attempt" in message:
            pids.append(worker.pid)
            if len(pids) == 1:
                asyncio.get_running_loop().call_later(0.03, os.kill, worker.pid, signal.SIGKILL)
        return await ask(worker, message)

    monkeypatch.setattr(WorkerProcess, "ask", killing)
    assert (await convert(vectorizer, data, tier=1)).svg == expected.svg
    assert len(pids) == 2  # the tracing was running, and was repeated
    assert pids[0] not in vectorizer._resources.workers.pids


@in_module_loop
async def test_health_runs_a_real_inference_and_a_real_tracing(vectorizer: Vectorizer, engines: Any) -> None:
    assert (await vectorizer.health()).ready
    engines.answers["policy"] = EngineUnavailable("its process is gone")
    assert (await vectorizer.health()).ready  # the cached answer
    await asyncio.sleep(HEALTH_CACHE_S)
    health = await vectorizer.health()
    assert not health.ready
    assert health.engines["policy"].reason == "its process is gone"
    assert health.engines[TRACERS].ready


class CountingEngines(FakeEngines):
    probes = 0

    async def probe(self, engine: str, *, timeout_s: float | None = None, version: str = "") -> None:
        self.probes += 1
        await asyncio.sleep(0.05)
        await super().probe(engine, timeout_s=timeout_s, version=version)


@in_module_loop
async def test_concurrent_probes_are_shared(vectorizer: Vectorizer, engines: Any) -> None:
    counting = CountingEngines(models())
    whole, vectorizer.engine_set.client = vectorizer.engine_set.client, counting  # type: ignore[assignment]
    answers = await asyncio.gather(*(vectorizer.health() for _ in range(10)))
    vectorizer.engine_set.client = whole
    assert counting.probes == len(ENGINES)
    assert all(answer is answers[0] for answer in answers)


@in_module_loop
async def test_busy_tracers_are_ready_and_dead_ones_are_not(
    vectorizer: Vectorizer, engines: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve.ensembles.vectorizer.vectorizer.PROBE_TIMEOUT_S", 0.2)
    workers = vectorizer._resources.workers
    busy = [asyncio.create_task(workers.run(None, time.sleep, 30)) for _ in range(2 * workers.count)]
    await asyncio.sleep(0.05)
    assert (await vectorizer.health()).engines[TRACERS].ready
    for task in busy:
        task.cancel()
    await asyncio.gather(*busy, return_exceptions=True)
    made = Vectorizer(VectorizerSettings(workers=1), engines=FakeEngines(models()))  # type: ignore[arg-type]
    health = await made.health()  # never started: no worker is alive
    assert not health.engines[TRACERS].ready
    assert "time" in health.engines[TRACERS].reason


@in_module_loop
async def test_failed_watch_task_does_not_prevent_closing() -> None:
    made = Vectorizer(VectorizerSettings(workers=1), engines=FakeEngines(models()))  # type: ignore[arg-type]
    await made.start()

    async def watch() -> None:
        raise OSError("no descriptors are left")

    made.engine_set._tasks.append(asyncio.create_task(watch()))
    await asyncio.sleep(0)
    with pytest.raises(OSError, match="descriptors"):
        await made.close()
    assert not made._resources.workers.alive
    assert made._resources.workers.pids == []


@in_module_loop
async def test_external_triton_without_an_engine_fails_the_start_with_the_reason() -> None:
    fake = FakeEngines(models() | {"policy": EngineUnavailable("connection refused")})
    made = Vectorizer(VectorizerSettings(workers=1, engines_url="127.0.0.1:1"), engines=fake)  # type: ignore[arg-type]
    with pytest.raises(EngineUnavailable, match=r"'policy' at 127\.0\.0\.1:1: connection refused"):
        await made.start()
    assert made._resources.workers.pids == []


@pytest.mark.slow
def test_missing_engine_fails_the_start_and_leaves_nothing_running(tmp_path: Any) -> None:
    async def start() -> None:
        made = Vectorizer(VectorizerSettings(model_repository=tmp_path, workers=1))
        try:
            await made.start()
        finally:
            assert made._resources.workers.pids == []
            assert not made.engine_set._server or not made.engine_set._server.running

    with pytest.raises(AtelierError):
        asyncio.run(start())
