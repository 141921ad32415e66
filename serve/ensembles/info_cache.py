"""Caches families and engine versions for a few seconds, since gateways need them for every request."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Generic, TypeVar

from serve.ensembles.illustrator.service import FamilyInfo, IllustratorService
from serve.ensembles.vectorizer.vectorization import VectorizerService

CACHE_S = 3.0
"""Families and versions change when a replica is replaced or a version promoted; the old ones may be reported for this
long."""

T = TypeVar("T")
Clock = Callable[[], float]


class _Cached(Generic[T]):
    def __init__(self, load: Callable[[], Awaitable[T]], clock: Clock) -> None:
        self._load = load
        self._clock = clock
        self._cached: tuple[float, T] | None = None

    async def get(self) -> T:
        if self._cached is None or self._clock() - self._cached[0] >= CACHE_S:
            loaded_at = self._clock()
            self._cached = loaded_at, await self._load()
        return self._cached[1]


class EnsembleInfoCache:
    """For one event loop. Methods raise errors of the ensembles."""

    def __init__(
        self, illustrator: IllustratorService | None, vectorizer: VectorizerService, clock: Clock = time.monotonic
    ) -> None:
        self._families = _Cached(illustrator.families, clock) if illustrator else None
        self._illustrator_versions = _Cached(illustrator.versions, clock) if illustrator else None
        self._vectorizer_versions = _Cached(vectorizer.versions, clock)

    async def families(self) -> Sequence[FamilyInfo]:
        """Empty without an Illustrator."""
        return await self._families.get() if self._families else ()

    async def illustrator_versions(self) -> Mapping[str, str]:
        """Versions of the Illustrator's engines; see `EngineService.versions`."""
        return await self._illustrator_versions.get() if self._illustrator_versions else {}

    async def vectorizer_versions(self) -> Mapping[str, str]:
        """Versions of the Vectorizer's engines; see `EngineService.versions`."""
        return await self._vectorizer_versions.get()
