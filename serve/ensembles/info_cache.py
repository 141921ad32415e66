"""What the ensembles are made of, remembered for a few seconds: a gateway asks with every request."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Generic, TypeVar

from serve.ensembles.illustrator.illustration import FamilyInfo, IllustratorService
from serve.ensembles.vectorizer.vectorization import VectorizerService

REMEMBERED_S = 3.0
"""Families and versions change when a replica is replaced, versions also when another is promoted. For so long
afterwards the old ones may be told."""

T = TypeVar("T")
Clock = Callable[[], float]


class _Remembered(Generic[T]):
    def __init__(self, ask: Callable[[], Awaitable[T]], clock: Clock) -> None:
        self._ask = ask
        self._clock = clock
        self._known: tuple[float, T] | None = None

    async def get(self) -> T:
        if self._known is None or self._clock() - self._known[0] >= REMEMBERED_S:
            asked_at = self._clock()
            self._known = asked_at, await self._ask()
        return self._known[1]


class EnsembleInfoCache:
    """For one event loop. Every method raises what the ensembles raise."""

    def __init__(
        self, illustrator: IllustratorService | None, vectorizer: VectorizerService, clock: Clock = time.monotonic
    ) -> None:
        self._families = _Remembered(illustrator.families, clock) if illustrator else None
        self._drawing = _Remembered(illustrator.versions, clock) if illustrator else None
        self._tracing = _Remembered(vectorizer.versions, clock)

    async def families(self) -> Sequence[FamilyInfo]:
        """None where nothing draws."""
        return await self._families.get() if self._families else ()

    async def drawing(self) -> Mapping[str, str]:
        """Versions of the Illustrator's engines, as `EngineService.versions` tells them."""
        return await self._drawing.get() if self._drawing else {}

    async def tracing(self) -> Mapping[str, str]:
        """Versions of the Vectorizer's engines, as `EngineService.versions` tells them."""
        return await self._tracing.get()
