"""What the doors may ask of the engines behind an ensemble, light to import."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class EngineHealth:
    """The outcome of one real inference."""

    ready: bool
    latency_ms: float
    version: str
    reason: str = ""


@dataclass(frozen=True)
class Health:
    """``asleep`` names ensembles without a replica, which the first request wakes: their engines are not asked."""

    engines: Mapping[str, EngineHealth]
    asleep: tuple[str, ...] = ()

    @property
    def ready(self) -> bool:
        return all(engine.ready for engine in self.engines.values())


class EngineService(Protocol):
    """An ensemble, or the same across a Ray hop; each call is that of `serve.engines.client.EngineClient`."""

    async def health(self) -> Health: ...
    async def infer(
        self,
        engine: str,
        inputs: Mapping[str, npt.NDArray[np.generic]],
        *,
        outputs: Sequence[str] | None = None,
        timeout_s: float | None = None,
        version: str = "",
    ) -> dict[str, npt.NDArray[Any]]: ...
    async def metadata(self, engine: str) -> dict[str, Any]: ...
    async def config(self, engine: str) -> dict[str, Any]: ...
    async def statistics(self, engine: str) -> dict[str, Any]: ...
    async def engines(self) -> list[str]: ...
    async def versions(self) -> Mapping[str, str]:
        """By engine its current version, as its manifest has it, or "unknown"; by ENGINE/VERSION each that there is."""
        ...
