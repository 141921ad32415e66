"""A Vectorizer behind an admission queue, as in a replica: real tracing, and engines or a tracer that a test can
block. No Ray."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from hops.hop import received_context
from numpy.typing import NDArray
from waiting import until

from serve.ensembles.vectorizer.vectorization import NO_VERSIONS, Analysis, Vectorization, VectorizeOptions
from serve.ensembles.vectorizer.vectorizer import Vectorizer
from serve.errors import DeadlineExceeded
from serve.observability import request_context
from serve.security.limits.admission_queue import AdmissionQueue
from serve.settings import VectorizerSettings
from tests.ensembles.fake_models import models
from tests.fakes import FakeEngines

NEVER_S = 600.0
"""Longer than any test: the timeouts of the site itself never expire."""
SLOW_S = 60.0
"""Time limit of the helpers, long enough on a busy machine."""


class HeldEngines(FakeEngines):
    """While ``holds``, inferences block until their timeout. ``waiting`` counts the blocked ones, ``inferences`` all of
    them."""

    def __init__(self) -> None:
        super().__init__(models())
        self.holds = False
        self.inferences = self.waiting = 0

    async def infer(
        self,
        engine: str,
        inputs: Mapping[str, NDArray[Any]],
        *,
        outputs: Sequence[str] | None = None,
        timeout_s: float | None = None,
        version: str = "",
    ) -> dict[str, NDArray[Any]]:
        self.inferences += 1
        if self.holds:
            await self._hold(timeout_s)
        return await super().infer(engine, inputs, outputs=outputs, timeout_s=timeout_s, version=version)

    async def _hold(self, timeout_s: float | None) -> None:
        self.waiting += 1
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.Event().wait()
        except TimeoutError:
            raise DeadlineExceeded("the engine did not answer in time") from None
        finally:
            self.waiting -= 1


class ConversionHop:
    """One slot and one tracer. Other attributes are those of the Vectorizer."""

    def __init__(self, waiting: int = 4) -> None:
        self.engines = HeldEngines()
        self.queue = AdmissionQueue(1, waiting)
        limits = {name: NEVER_S for name in ("timeout_s", "engine_timeout_s", "trace_timeout_s")}
        settings = VectorizerSettings(workers=1, **limits)
        self._vectorizer = Vectorizer(settings, engines=self.engines)  # type: ignore[arg-type]
        self._workers = self._vectorizer._resources.workers
        self._stopped: int | None = None
        """Process id of the stopped tracer."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._vectorizer, name)

    async def vectorize(self, data: bytes, options: VectorizeOptions) -> Vectorization:
        async with self._slot():
            return await self._vectorizer.vectorize(data, options)

    async def analyze(self, data: bytes, engine_versions: Mapping[str, str] = NO_VERSIONS) -> Analysis:
        async with self._slot():
            return await self._vectorizer.analyze(data, engine_versions)

    @contextlib.asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        with request_context.use(received_context()):
            async with self.queue.slot():
                yield

    async def hold(self, where: str) -> None:
        """Blocks the ``engine`` or the ``tracer`` for following requests."""
        if where == "engine":
            self.engines.holds = True
            return
        await until(lambda: bool(self._pids()), SLOW_S)  # the previous one may have been killed
        (self._stopped,) = self._pids()
        os.kill(self._stopped, signal.SIGSTOP)

    async def held(self) -> None:
        """Waits until a request is blocked."""
        await until(lambda: bool(self.engines.waiting) if self._stopped is None else self._is_traced(), SLOW_S)

    async def is_left(self) -> bool:
        """Whether the slot, the engine and the tracer are free without a release; a stopped tracer is killed
        instead."""
        with contextlib.suppress(TimeoutError):
            await until(lambda: not (self.queue.size or self.engines.waiting or self._is_traced()), SLOW_S)
            return self._stopped is None or self._stopped not in self._pids()
        return False

    def release(self) -> None:
        """Unblocks the engine and the tracer, and clears the analysis cache."""
        self.engines.holds = False
        if self._stopped in self._pids():
            os.kill(self._stopped, signal.SIGCONT)
        self._stopped = None
        self._vectorizer._resources.analyzer._cache.clear()

    def _pids(self) -> list[int]:
        return [worker.pid for worker in self._workers._all]

    def _is_traced(self) -> bool:
        """Whether the tracer is busy."""
        return bool(self._workers._all) and self._workers._idle.empty()
