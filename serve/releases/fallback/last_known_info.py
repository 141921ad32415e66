"""`LastKnownInfo`: the Illustrator's description of itself; the last known one while it is unavailable."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from serve.ensembles.illustrator.illustration import FamilyInfo, IllustratorService
from serve.errors import AtelierError, DeadlineExceeded, EngineFailure, EngineUnavailable, Overloaded
from serve.releases.fallback.circuit_breaker import CLOSED, CircuitBreaker
from serve.releases.fallback.failures import late

ASKED_FOR_S = 5.0
"""How long the Illustrator is waited for that only has to say what it said before."""

T = TypeVar("T")


class LastKnownInfo:
    """For one event loop. Methods raise what the Illustrator raises that has said nothing yet."""

    def __init__(self, illustrator: IllustratorService, breaker: CircuitBreaker) -> None:
        self._illustrator = illustrator
        self._breaker = breaker
        self._remembered: dict[str, Any] = {}

    async def families(self) -> Sequence[FamilyInfo]:
        return await self._last("families", self._illustrator.families)

    async def versions(self) -> Mapping[str, str]:
        return await self._last("versions", self._illustrator.versions)

    async def _last(self, name: str, ask: Callable[[], Awaitable[T]]) -> T:
        known: T | None = self._remembered.get(name)
        if known is not None and self._breaker.state != CLOSED:
            return known
        try:
            async with asyncio.timeout(ASKED_FOR_S):
                found = self._remembered[name] = await ask()
                return found
        except TimeoutError:
            failed: AtelierError = late(ASKED_FOR_S)
        except (EngineUnavailable, EngineFailure, DeadlineExceeded, Overloaded) as error:
            failed = error
        if known is None:
            raise failed
        return known
