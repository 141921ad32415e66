"""Delegation of the `EngineService` methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from serve.engines.service import EngineService, Health


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
