"""``EngineRouter``: the engines of several ensembles, each reached through the ensemble that has it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from serve.engines.service import EngineHealth, EngineService, Health
from serve.errors import AtelierError


class EngineRouter:
    """An ``EngineService`` over ``services``, no two of which have an engine of one name."""

    def __init__(self, services: Sequence[EngineService]) -> None:
        self._services = tuple(services)
        self._owners: dict[str, EngineService] = {}

    async def health(self) -> Health:
        """Of every engine. An ensemble that cannot be asked answers for its engines: none of them is ready."""
        found: dict[str, EngineHealth] = {}
        asleep: list[str] = []
        for examined in await asyncio.gather(*map(self._health_of, self._services)):
            found.update(examined.engines)
            asleep += examined.asleep
        return Health(found, tuple(asleep))

    async def _health_of(self, service: EngineService) -> Health:
        try:
            examined = await service.health()
        except AtelierError as error:
            known = [engine for engine, owner in self._owners.items() if owner is service]
            if not known:
                raise
            return Health({engine: EngineHealth(False, 0.0, "unknown", str(error)) for engine in known})
        self._remember(service, examined.engines)
        return examined

    async def infer(
        self,
        engine: str,
        inputs: Mapping[str, npt.NDArray[np.generic]],
        *,
        outputs: Sequence[str] | None = None,
        timeout_s: float | None = None,
        version: str = "",
    ) -> dict[str, npt.NDArray[Any]]:
        return await (await self._owner(engine)).infer(
            engine, inputs, outputs=outputs, timeout_s=timeout_s, version=version
        )

    async def metadata(self, engine: str) -> dict[str, Any]:
        return await (await self._owner(engine)).metadata(engine)

    async def config(self, engine: str) -> dict[str, Any]:
        return await (await self._owner(engine)).config(engine)

    async def statistics(self, engine: str) -> dict[str, Any]:
        return await (await self._owner(engine)).statistics(engine)

    async def engines(self) -> list[str]:
        listed = await asyncio.gather(*(service.engines() for service in self._services))
        return list(dict.fromkeys(engine for engines in listed for engine in engines))

    async def versions(self) -> Mapping[str, str]:
        found = await asyncio.gather(*(service.versions() for service in self._services))
        return {engine: version for versions in found for engine, version in versions.items()}

    async def _owner(self, engine: str) -> EngineService:
        """Looked for once: engines stay where they are. What nobody has is the first one's to say."""
        if len(self._services) > 1 and engine not in self._owners:
            await self._search(engine)
        return self._owners.get(engine, self._services[0])

    async def _search(self, engine: str) -> None:
        answers = await asyncio.gather(*(service.engines() for service in self._services), return_exceptions=True)
        for service, answer in zip(self._services, answers, strict=True):
            if not isinstance(answer, BaseException):
                self._remember(service, answer)
        for answer in answers:
            if isinstance(answer, BaseException) and engine not in self._owners:
                raise answer

    def _remember(self, service: EngineService, engines: Iterable[str]) -> None:
        for engine in engines:
            self._owners.setdefault(engine, service)
