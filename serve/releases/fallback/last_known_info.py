"""`LastKnownInfo`: the Illustrator's families and versions; cached while it is unavailable."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from serve.ensembles.illustrator.illustration import FamilyInfo, IllustratorService
from serve.errors import AtelierError, DeadlineExceeded, EngineFailure, EngineUnavailable, Overloaded
from serve.releases.fallback.circuit_breaker import CLOSED, CircuitBreaker
from serve.releases.fallback.http_calls import timeout_error

LOOKUP_TIMEOUT_S = 5.0
"""Timeout of these calls when a cached answer exists."""

T = TypeVar("T")


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
