"""What gateways can call on the engines of an ensemble; light to import."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from serve.errors import AtelierError


@dataclass(frozen=True)
class EngineHealth:
    """Result of one real inference."""

    ready: bool
    latency_ms: float
    version: str
    reason: str = ""


@dataclass(frozen=True)
class Health:
    """``asleep``: ensembles scaled to zero, whose engines are not probed; the first request starts them."""

    engines: Mapping[str, EngineHealth]
    asleep: tuple[str, ...] = ()

    @property
    def ready(self) -> bool:
        return all(engine.ready for engine in self.engines.values())


@dataclass(frozen=True)
class EngineAddress:
    """The gRPC endpoint of an ensemble's own Triton. ``machine``: where ``url``, on loopback, can be reached;
    ``engines``: those that take any inputs that Triton takes."""

    machine: str
    url: str
    engines: tuple[str, ...]
    timeout_s: float
    serving_mark: str = ""
    """A file that exists while answers of this Triton may be used."""
    http_address: str = ""
    """host:port of its HTTP endpoint."""
    http_key: str = field(default="", repr=False)
    """What that endpoint wants in each request's header, see `serve.engines.triton_http`. Never logged."""


@cache
def machine_id() -> str:
    """Identifies the loopback interface of this process: the running kernel and its network namespace."""
    return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {Path('/proc/self/ns/net').readlink()}"


class InferenceClient(Protocol):
    """The part of `serve.engines.client.EngineClient` that calls a model."""

    async def infer(
        self,
        engine: str,
        inputs: Mapping[str, npt.NDArray[np.generic]],
        *,
        outputs: Sequence[str] | None = None,
        timeout_s: float | None = None,
        version: str = "",
    ) -> dict[str, npt.NDArray[Any]]: ...


class EngineService(InferenceClient, Protocol):
    """An ensemble, or its proxy across a Ray hop. The methods are those of `serve.engines.client.EngineClient`."""

    async def health(self) -> Health: ...
    async def metadata(self, engine: str) -> dict[str, Any]: ...
    async def config(self, engine: str) -> dict[str, Any]: ...
    async def statistics(self, engine: str) -> dict[str, Any]: ...
    async def engines(self) -> list[str]: ...
    async def versions(self) -> Mapping[str, str]:
        """Current version label by engine (manifest version or "unknown"), and the label of each ENGINE/VERSION."""
        ...


class EngineRouter:
    """An ``EngineService`` over ``services``. Engine names must be unique across them."""

    def __init__(self, services: Sequence[EngineService]) -> None:
        self._services = tuple(services)
        self._owners: dict[str, EngineService] = {}

    async def health(self) -> Health:
        """Health of every engine. Engines of an ensemble that does not respond are reported as not ready."""
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
        self._set_owner(service, examined.engines)
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
        """The service that has ``engine``, cached. An unknown engine is passed to the first service, which raises."""
        if len(self._services) > 1 and engine not in self._owners:
            await self._find_owners(engine)
        return self._owners.get(engine, self._services[0])

    async def _find_owners(self, engine: str) -> None:
        answers = await asyncio.gather(*(service.engines() for service in self._services), return_exceptions=True)
        for service, answer in zip(self._services, answers, strict=True):
            if not isinstance(answer, BaseException):
                self._set_owner(service, answer)
        for answer in answers:
            if isinstance(answer, BaseException) and engine not in self._owners:
                raise answer

    def _set_owner(self, service: EngineService, engines: Iterable[str]) -> None:
        for engine in engines:
            self._owners.setdefault(engine, service)
