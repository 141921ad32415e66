"""`Vectorizer`: image to SVG, through engines that advise and worker processes that trace."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy.typing as npt

from serve.engines.client import Engines
from serve.engines.server import TritonServer
from serve.engines.supervisor import Supervisor
from serve.ensembles import tasks
from serve.ensembles.conversion import Conversion, Studio
from serve.ensembles.insight import Account, Observer
from serve.ensembles.predictors import ENGINES, Predictors
from serve.ensembles.vectorization import Analysis, EngineHealth, Health, Vectorization, VectorizeOptions
from serve.ensembles.workers import Workers
from serve.errors import AtelierError, DeadlineExceeded, EngineUnavailable, Overloaded
from serve.settings import VectorizerSettings
from serve.vector.image import ImageLimits

TRACERS = "tracers"
"""The name under which `Vectorizer.health` tells of the worker processes."""
_TASKS_PER_REQUEST = 4
_PROBE_TIMEOUT_S = 5.0
HEALTH_S = 1.0
"""How long `Vectorizer.health` repeats its last answer, so that many probes cost as much as one."""


class Vectorizer:
    """Composes the engines and the tracers; a plain class, for one event loop.

    Without ``engines`` it owns a Triton with the engines it needs, unless the settings name the URL of one outside.
    Call `start` first: it raises EngineUnavailable, with the reason, when anything cannot start.
    """

    def __init__(self, settings: VectorizerSettings, engines: Engines | None = None) -> None:
        self._settings = settings
        self._server: TritonServer | None = None
        if engines is None and settings.engines_url is None:
            self._server = TritonServer(
                settings.model_repository, ENGINES, start_timeout_s=settings.engine_start_timeout_s
            )
        self._engines = engines or Engines(settings.engines_url or "", timeout_s=settings.engine_timeout_s)
        self._watch: asyncio.Task[None] | None = None
        self._examining = asyncio.Lock()
        self._health: tuple[float, Health] | None = None
        workers = Workers(settings.workers, max_waiting=_TASKS_PER_REQUEST * settings.max_ongoing_requests)
        predictors = Predictors(self._engines, timeout_s=settings.engine_timeout_s)
        limits = ImageLimits(**settings.image.model_dump())
        self._studio = Studio(
            workers=workers,
            observer=Observer(workers, predictors, limits),
            predictors=predictors,
            limits=limits,
            versions=versions(settings.model_repository),
            trace_timeout_s=settings.trace_timeout_s,
        )

    async def start(self) -> None:
        """Raises EngineUnavailable when a worker or an engine does not start; what did start is then closed."""
        async with contextlib.AsyncExitStack() as undoing:
            undoing.push_async_callback(self.close)
            sides = self._studio.workers.start(), self._connect()
            for outcome in await asyncio.gather(*sides, return_exceptions=True):
                if outcome is not None:
                    raise outcome
            undoing.pop_all()

    async def _connect(self) -> None:
        if self._server is not None:
            await asyncio.to_thread(self._server.start)
            await self._engines.connect(self._server.url)
            self._watch = asyncio.create_task(Supervisor(self._server, self._engines).run())
        elif self._settings.engines_url is not None:
            await asyncio.gather(*(self._reach(engine) for engine in ENGINES))

    async def _reach(self, engine: str) -> None:
        try:
            await self._engines.probe(engine, timeout_s=self._settings.engine_timeout_s)
        except Overloaded:
            pass  # busy with the requests of others: it is there
        except AtelierError as error:
            raise EngineUnavailable(f"engine '{engine}' at {self._settings.engines_url}: {error}") from error

    async def close(self) -> None:
        """End everything; what one part raises at its end keeps no other from ending."""
        async with contextlib.AsyncExitStack() as closing:  # the last one pushed ends first
            if self._server is not None:
                closing.push_async_callback(asyncio.to_thread, self._server.stop)
            closing.push_async_callback(self._engines.close)
            closing.push_async_callback(self._studio.workers.close)
            if self._watch is not None:
                self._watch.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await self._watch

    async def vectorize(self, data: bytes, options: VectorizeOptions) -> Vectorization:
        """The SVG of the picture in ``data``.

        The same bytes and options give the same SVG as long as the same engines answer and no time budget is set.
        Raises BadImage, TooLarge, UnsupportedMedia, InvalidRequest, Overloaded, DeadlineExceeded; a cancelled call ends
        the work it had begun. A failed model is no error: ``degraded`` says what was done instead.
        """
        return await Conversion(self._studio, data, options, self._account(options.timeout_s)).run()

    async def analyze(self, data: bytes) -> Analysis:
        """What `vectorize` would know of the picture, and the tier that `auto` would begin with."""
        began = time.perf_counter()
        account = self._account(None)
        insight, tier, forecasts = await Conversion(self._studio, data, VectorizeOptions(), account).recommended()
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
            model_versions={name: self._studio.versions.get(name, "unknown") for name in sorted(account.used)},
            degraded=tuple(dict.fromkeys(account.degraded)),
        )

    async def health(self) -> Health:
        """A real inference of every engine, and a real tracing under the name `tracers`; at most `HEALTH_S` old."""
        async with self._examining:
            if self._health is None or time.monotonic() - self._health[0] >= HEALTH_S:
                examined = await self._examine()
                self._health = time.monotonic(), examined
            return self._health[1]

    async def _examine(self) -> Health:
        outcomes = await asyncio.gather(*(self._engine_health(engine) for engine in ENGINES), self._tracer_health())
        return Health(dict(zip((*ENGINES, TRACERS), outcomes, strict=True)))

    async def _engine_health(self, engine: str) -> EngineHealth:
        began, reason = time.perf_counter(), ""
        try:
            await self._engines.probe(engine, timeout_s=_PROBE_TIMEOUT_S)
        except AtelierError as error:
            reason = str(error)
        latency_ms = (time.perf_counter() - began) * 1000
        return EngineHealth(not reason, latency_ms, self._studio.versions.get(engine, "unknown"), reason)

    async def _tracer_health(self) -> EngineHealth:
        """Workers that are merely busy are well, for longer than a probe waits too: only a tracing that fails tells
        otherwise, or that no worker lives. A tracing that hangs meets its own limit of time.
        """
        began, reason = time.perf_counter(), ""
        try:
            await self._studio.workers.run(time.monotonic() + _PROBE_TIMEOUT_S, tasks.ping)
        except Overloaded:
            pass
        except DeadlineExceeded as error:
            reason = "" if self._studio.workers.alive else str(error)
        except AtelierError as error:
            reason = str(error)
        return EngineHealth(not reason, (time.perf_counter() - began) * 1000, "", reason)

    async def infer(
        self,
        engine: str,
        inputs: Mapping[str, npt.NDArray[Any]],
        *,
        outputs: Sequence[str] | None = None,
        timeout_s: float | None = None,
    ) -> dict[str, npt.NDArray[Any]]:
        """One inference of one engine, as `serve.engines.client.Engines.infer` does it."""
        return await self._engines.infer(engine, inputs, outputs=outputs, timeout_s=timeout_s)

    async def metadata(self, engine: str) -> dict[str, Any]:
        return await self._engines.metadata(engine)

    async def config(self, engine: str) -> dict[str, Any]:
        return await self._engines.config(engine)

    async def statistics(self, engine: str) -> dict[str, Any]:
        return await self._engines.statistics(engine)

    async def engines(self) -> list[str]:
        return await self._engines.engines()

    def _account(self, timeout_s: float | None) -> Account:
        limit_s = min(timeout_s or self._settings.timeout_s, self._settings.timeout_s)
        return Account(deadline=time.monotonic() + limit_s)


def versions(repository: Path) -> dict[str, str]:
    """The version in each engine's manifest; engines without one are left out."""
    found = {}
    for engine in ENGINES:
        manifest = repository / engine / "manifest.json"
        if manifest.is_file():
            found[engine] = str(json.loads(manifest.read_text())["version"])
    return found
