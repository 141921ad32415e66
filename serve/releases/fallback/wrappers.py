"""What stands between callers and an ensemble: delegation of engine methods, measured failures, last known answers.

The Vectorizer has no external fallback: it falls back between its own tracers, and a lost replica is replaced faster
than a breaker would retry. So `WatchedVectorizer` measures its failures, and refuses nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from serve.engines.service import EngineService, Health
from serve.ensembles.illustrator.service import FamilyInfo, IllustratorService
from serve.ensembles.vectorizer.vectorization import (
    NO_VERSIONS,
    VECTORIZE,
    Analysis,
    Vectorization,
    VectorizeOptions,
    VectorizerService,
)
from serve.errors import AtelierError, DeadlineExceeded, EngineFailure, EngineUnavailable, Overloaded
from serve.observability import request_context
from serve.releases.fallback.circuit_breaker import CLOSED, CircuitBreaker
from serve.releases.fallback.http_calls import is_engine_fault, timeout_error
from serve.settings import BreakerSettings


class DelegatedEngines:
    """``EngineService`` without `versions`, delegated to ``service``."""

    def __init__(self, service: EngineService) -> None:
        self._service = service

    async def health(self) -> Health:
        return await self._service.health()

    async def infer(
        self,
        engine: str,
        inputs: Mapping[str, npt.NDArray[np.generic]],
        *,
        outputs: Sequence[str] | None = None,
        timeout_s: float | None = None,
        version: str = "",
    ) -> dict[str, npt.NDArray[Any]]:
        return await self._service.infer(engine, inputs, outputs=outputs, timeout_s=timeout_s, version=version)

    async def metadata(self, engine: str) -> dict[str, Any]:
        return await self._service.metadata(engine)

    async def config(self, engine: str) -> dict[str, Any]:
        return await self._service.config(engine)

    async def statistics(self, engine: str) -> dict[str, Any]:
        return await self._service.statistics(engine)

    async def engines(self) -> list[str]:
        return await self._service.engines()


T = TypeVar("T")


class WatchedVectorizer(DelegatedEngines):
    """The ``VectorizerService`` of one process."""

    def __init__(self, vectorizer: VectorizerService, settings: BreakerSettings) -> None:
        super().__init__(vectorizer)
        self._vectorizer = vectorizer
        self.breaker = CircuitBreaker(settings, VECTORIZE)

    async def vectorize(self, data: bytes, options: VectorizeOptions) -> Vectorization:
        return await self._watched(self._vectorizer.vectorize(data, options))

    async def analyze(self, data: bytes, engine_versions: Mapping[str, str] = NO_VERSIONS) -> Analysis:
        return await self._watched(self._vectorizer.analyze(data, engine_versions))

    async def versions(self) -> Mapping[str, str]:
        return await self._vectorizer.versions()

    async def _watched(self, answer: Awaitable[T]) -> T:
        trial = self.breaker.admit()
        with trial or contextlib.nullcontext():
            try:
                found = await answer
            except AtelierError as error:
                if trial is not None and is_engine_fault(error) and not request_context.current().is_over:
                    trial.failed()
                raise
            if trial is not None:
                trial.succeeded()
            return found


LOOKUP_TIMEOUT_S = 5.0
"""Timeout of these calls when a cached answer exists."""


class LastKnownInfo:
    """For one event loop. Raises the Illustrator's error if nothing is cached."""

    def __init__(self, illustrator: IllustratorService, breaker: CircuitBreaker) -> None:
        self._illustrator = illustrator
        self._breaker = breaker
        self._last_values: dict[str, Any] = {}

    async def families(self) -> Sequence[FamilyInfo]:
        return await self._last("families", self._illustrator.families)

    async def versions(self) -> Mapping[str, str]:
        return await self._last("versions", self._illustrator.versions)

    async def _last(self, name: str, ask: Callable[[], Awaitable[T]]) -> T:
        known: T | None = self._last_values.get(name)
        if known is not None and self._breaker.state != CLOSED:
            return known
        try:
            async with asyncio.timeout(LOOKUP_TIMEOUT_S):
                found = self._last_values[name] = await ask()
                return found
        except TimeoutError:
            failed: AtelierError = timeout_error(LOOKUP_TIMEOUT_S)
        except (EngineUnavailable, EngineFailure, DeadlineExceeded, Overloaded) as error:
            failed = error
        if known is None:
            raise failed
        return known
