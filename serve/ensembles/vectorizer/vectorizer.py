"""`Vectorizer`: image to SVG, with engines for prediction and worker processes for tracing."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping
from dataclasses import asdict, replace

from serve.engines.client import EngineClient
from serve.engines.engine_set import PROBE_TIMEOUT_S, EngineSet, EngineSetService
from serve.engines.service import EngineHealth, Health
from serve.ensembles.measurements import count_svg, measured
from serve.ensembles.vectorizer import tasks
from serve.ensembles.vectorizer.analysis import ConversionContext, ImageAnalyzer, Predictors
from serve.ensembles.vectorizer.conversion import Conversion, ConversionResources
from serve.ensembles.vectorizer.vectorization import (
    ENGINES,
    NO_VERSIONS,
    VECTORIZE,
    Analysis,
    Vectorization,
    VectorizeOptions,
)
from serve.ensembles.vectorizer.worker_pool import WorkerPool
from serve.errors import AtelierError, DeadlineExceeded, Overloaded
from serve.observability import request_context
from serve.settings import VectorizerSettings
from serve.vector.image import ImageLimits

TRACERS = "tracers"
"""Name of the worker processes in `Vectorizer.health`."""
_TASKS_PER_REQUEST = 4


class Vectorizer(EngineSetService):
    """Composes engines and tracers; a plain class, for one event loop.

    Without ``engines`` it owns a Triton, unless the settings name an external one. Call `start` first; it raises
    EngineUnavailable with the reason.
    """

    def __init__(
        self,
        settings: VectorizerSettings,
        engines: EngineClient | None = None,
        engine_versions: Mapping[str, str] = NO_VERSIONS,
    ) -> None:
        """``engine_versions``: initial versions; see `serve.releases.rollouts`."""
        self._settings = settings
        super().__init__(
            EngineSet(
                settings.model_repository,
                ENGINES,
                url=settings.engines_url,
                timeout_s=settings.engine_timeout_s,
                start_timeout_s=settings.engine_start_timeout_s,
                client=engines,
                tritonserver=settings.tritonserver,
                ensemble=VECTORIZE,
                gpus=settings.num_gpus,
                current=engine_versions,
            )
        )
        workers = WorkerPool(settings.workers, max_waiting=_TASKS_PER_REQUEST * settings.max_ongoing_requests)
        predictors = Predictors(self.engine_set.client, timeout_s=settings.engine_timeout_s)
        limits = ImageLimits(**settings.image.model_dump())
        self._resources = ConversionResources(
            workers=workers,
            analyzer=ImageAnalyzer(workers, predictors, limits),
            predictors=predictors,
            limits=limits,
            label=self.engine_set.versions.label,
            trace_timeout_s=settings.trace_timeout_s,
            collect_samples=settings.samples.collect,
        )

    async def start(self) -> None:
        """Raises EngineUnavailable if a worker or an engine does not start; everything is closed then."""
        async with contextlib.AsyncExitStack() as undoing:
            undoing.push_async_callback(self.close)
            sides = self._resources.workers.start(), self.engine_set.start()
            for outcome in await asyncio.gather(*sides, return_exceptions=True):
                if outcome is not None:
                    raise outcome
            undoing.pop_all()

    async def close(self) -> None:
        """Close everything; an error of one part does not keep the others from closing."""
        async with contextlib.AsyncExitStack() as closing:
            closing.push_async_callback(self.engine_set.close)
            closing.push_async_callback(self._resources.workers.close)

    async def vectorize(self, data: bytes, options: VectorizeOptions) -> Vectorization:
        """The SVG of the picture in ``data``.

        Equal bytes and options give equal SVGs with the same engines and without a time budget. Raises BadImage,
        TooLarge, UnsupportedMedia, InvalidRequest, Overloaded, DeadlineExceeded. Cancelling ends its tasks. A failed
        model is no error: see ``degraded``.
        """
        context = self._context(options.timeout_s)
        with measured(VECTORIZE) as bill:
            async with self.engine_set.versions.using(options.engine_versions) as context.versions:
                found = await Conversion(self._resources, data, options, context).run()
            count_svg(found)
            return replace(found, cost=bill.to_json())

    async def analyze(self, data: bytes, engine_versions: Mapping[str, str] = NO_VERSIONS) -> Analysis:
        """The picture's analysis, and the tier that `auto` would start with."""
        began = time.perf_counter()
        context = self._context(None)
        with measured(VECTORIZE):
            async with self.engine_set.versions.using(engine_versions) as context.versions:
                conversion = Conversion(self._resources, data, VectorizeOptions(), context)
                analysis, tier, forecasts = await conversion.recommend_tier()
        return Analysis(
            features=asdict(analysis.features),
            logo_type=analysis.logo_type,
            confidence=analysis.confidence,
            recommended_tier=str(tier),
            width=analysis.width,
            height=analysis.height,
            input_sha256=analysis.sha256,
            processing_time_s=time.perf_counter() - began,
            method=analysis.method,
            probabilities=analysis.probabilities,
            forecasts=forecasts,
            model_versions={
                name: self._resources.label(name, context.versions.get(name, "")) for name in sorted(context.used)
            },
            degraded=tuple(dict.fromkeys(context.degraded)),
        )

    async def examine(self) -> Health:
        """One real inference per engine, and one real tracing as `tracers`."""
        engines, tracers = await asyncio.gather(self.engine_set.health(), self._tracer_health())
        return Health(engines | {TRACERS: tracers})

    async def _tracer_health(self) -> EngineHealth:
        """Busy workers count as healthy, even beyond the probe's timeout; unhealthy are a failed tracing, or no living
        worker. A hanging tracing has its own time limit."""
        began, reason = time.perf_counter(), ""
        try:
            await self._resources.workers.run(time.monotonic() + PROBE_TIMEOUT_S, tasks.ping)
        except Overloaded:
            pass
        except DeadlineExceeded as error:
            reason = "" if self._resources.workers.alive else str(error)
        except AtelierError as error:
            reason = str(error)
        return EngineHealth(not reason, (time.perf_counter() - began) * 1000, "", reason)

    def _context(self, timeout_s: float | None) -> ConversionContext:
        limit_s = min(timeout_s or self._settings.timeout_s, self._settings.timeout_s)
        return ConversionContext(deadline=request_context.current().until(limit_s))
