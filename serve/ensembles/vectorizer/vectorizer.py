"""`Vectorizer`: image to SVG, through engines that advise and worker processes that trace."""

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
from serve.ensembles.vectorizer.analysis import Account, ImageAnalyzer
from serve.ensembles.vectorizer.conversion import Conversion, ConversionResources
from serve.ensembles.vectorizer.predictors import Predictors
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
"""The name under which `Vectorizer.health` tells of the worker processes."""
_TASKS_PER_REQUEST = 4


class Vectorizer(EngineSetService):
    """Composes the engines and the tracers; a plain class, for one event loop.

    Without ``engines`` it owns a Triton with the engines it needs, unless the settings name the URL of one outside.
    Call `start` first: it raises EngineUnavailable, with the reason, when anything cannot start.
    """

    def __init__(
        self,
        settings: VectorizerSettings,
        engines: EngineClient | None = None,
        engine_versions: Mapping[str, str] = NO_VERSIONS,
    ) -> None:
        """``engine_versions``: those to begin with, see `serve.releases.rollouts`."""
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
        self._studio = ConversionResources(
            workers=workers,
            observer=ImageAnalyzer(workers, predictors, limits),
            predictors=predictors,
            limits=limits,
            label=self.engine_set.versions.label,
            trace_timeout_s=settings.trace_timeout_s,
        )

    async def start(self) -> None:
        """Raises EngineUnavailable when a worker or an engine does not start; what did start is then closed."""
        async with contextlib.AsyncExitStack() as undoing:
            undoing.push_async_callback(self.close)
            sides = self._studio.workers.start(), self.engine_set.start()
            for outcome in await asyncio.gather(*sides, return_exceptions=True):
                if outcome is not None:
                    raise outcome
            undoing.pop_all()

    async def close(self) -> None:
        """End everything; what one part raises at its end keeps no other from ending."""
        async with contextlib.AsyncExitStack() as closing:
            closing.push_async_callback(self.engine_set.close)
            closing.push_async_callback(self._studio.workers.close)

    async def vectorize(self, data: bytes, options: VectorizeOptions) -> Vectorization:
        """The SVG of the picture in ``data``.

        The same bytes and options give the same SVG as long as the same engines answer and no time budget is set.
        Raises BadImage, TooLarge, UnsupportedMedia, InvalidRequest, Overloaded, DeadlineExceeded; a cancelled call ends
        the work it had begun. A failed model is no error: ``degraded`` says what was done instead.
        """
        account = self._account(options.timeout_s)
        with measured(VECTORIZE) as bill:
            async with self.engine_set.versions.using(options.engine_versions) as account.versions:
                found = await Conversion(self._studio, data, options, account).run()
            count_svg(found)
            return replace(found, cost=bill.to_json())

    async def analyze(self, data: bytes, engine_versions: Mapping[str, str] = NO_VERSIONS) -> Analysis:
        """What `vectorize` would know of the picture, and the tier that `auto` would begin with."""
        began = time.perf_counter()
        account = self._account(None)
        with measured(VECTORIZE):
            async with self.engine_set.versions.using(engine_versions) as account.versions:
                conversion = Conversion(self._studio, data, VectorizeOptions(), account)
                insight, tier, forecasts = await conversion.recommended()
        return Analysis(
            features=asdict(insight.features),
            logo_type=insight.logo_type,
            confidence=insight.confidence,
            recommended_tier=str(tier),
            width=insight.width,
            height=insight.height,
            input_sha256=insight.sha256,
            processing_time_s=time.perf_counter() - began,
            method=insight.method,
            probabilities=insight.probabilities,
            forecasts=forecasts,
            model_versions={
                name: self._studio.label(name, account.versions.get(name, "")) for name in sorted(account.used)
            },
            degraded=tuple(dict.fromkeys(account.degraded)),
        )

    async def examine(self) -> Health:
        """A real inference of every engine, and a real tracing under the name `tracers`."""
        engines, tracers = await asyncio.gather(self.engine_set.health(), self._tracer_health())
        return Health(engines | {TRACERS: tracers})

    async def _tracer_health(self) -> EngineHealth:
        """Workers that are merely busy are well, for longer than a probe waits too: only a tracing that fails tells
        otherwise, or that no worker lives. A tracing that hangs meets its own limit of time.
        """
        began, reason = time.perf_counter(), ""
        try:
            await self._studio.workers.run(time.monotonic() + PROBE_TIMEOUT_S, tasks.ping)
        except Overloaded:
            pass
        except DeadlineExceeded as error:
            reason = "" if self._studio.workers.alive else str(error)
        except AtelierError as error:
            reason = str(error)
        return EngineHealth(not reason, (time.perf_counter() - began) * 1000, "", reason)

    def _account(self, timeout_s: float | None) -> Account:
        limit_s = min(timeout_s or self._settings.timeout_s, self._settings.timeout_s)
        return Account(deadline=request_context.current().until(limit_s))
