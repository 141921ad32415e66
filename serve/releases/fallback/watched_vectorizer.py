"""`WatchedVectorizer`: measures failures of the Vectorizer; refuses nothing.

There is no external fallback: the Vectorizer falls back between its own tracers, and a lost replica is replaced faster
than a breaker would retry.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Mapping
from typing import TypeVar

from serve.ensembles.vectorizer.vectorization import (
    NO_VERSIONS,
    VECTORIZE,
    Analysis,
    Vectorization,
    VectorizeOptions,
    VectorizerService,
)
from serve.errors import AtelierError
from serve.observability import request_context
from serve.releases.fallback.circuit_breaker import CircuitBreaker
from serve.releases.fallback.engines import DelegatedEngines
from serve.releases.fallback.http_calls import is_engine_fault
from serve.settings import BreakerSettings

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
