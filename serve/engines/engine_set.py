"""``EngineSet``: the engines of one ensemble, in an embedded or an external Triton."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt

from serve.engines.client import EngineClient
from serve.engines.service import EngineAddress, EngineHealth, Health, machine_id
from serve.engines.triton.server import START_TIMEOUT_S, TritonServer
from serve.engines.triton.supervisor import Supervisor
from serve.engines.triton.versions import EngineVersions
from serve.engines.usage_meter import EngineMeter
from serve.errors import AtelierError, EngineUnavailable, Overloaded
from serve.observability.costs import billed
from serve.observability.metrics import catalogue
from serve.observability.tracing import export

PROBE_TIMEOUT_S = 5.0
HEALTH_CACHE_S = 1.0
"""Health results are cached for this time, so that frequent probes cost one inference."""


class EngineSet:
    """The engines ``names`` of ``repository``, behind one client; for one event loop.

    Without ``client`` it owns a supervised Triton that loads only these engines, unless ``url`` (``host:port`` of a
    gRPC endpoint) names an external one. ``tritonserver``: see ``TritonServer``.
    """

    def __init__(
        self,
        repository: Path,
        names: Sequence[str],
        *,
        url: str | None = None,
        timeout_s: float = 10.0,
        start_timeout_s: float = START_TIMEOUT_S,
        client: EngineClient | None = None,
        tritonserver: Path | None = None,
        ensemble: str = "",
        gpus: float = 0.0,
        current: Mapping[str, str] | None = None,
    ) -> None:
        """``ensemble``: its name in metrics. ``gpus``: its share of a GPU. ``current``: initial version by engine;
        default: the lowest."""
        self.ensemble = ensemble
        self.names = tuple(names)
        self.client = client or EngineClient(url or "", timeout_s=timeout_s)
        self._outside = url
        self._server: TritonServer | None = None
        if client is None and url is None and self.names:
            self._server = TritonServer(
                repository,
                self.names,
                versions={engine: [version] for engine, version in (current or {}).items()},
                start_timeout_s=start_timeout_s,
                tritonserver=tritonserver,
                traces_url=export.for_triton(),
            )
        named = tuple(dict.fromkeys(self.names))
        self.versions = EngineVersions(repository, named, self.client, self._server, current or {}, start_timeout_s)
        self._timeout_s = timeout_s
        self.meter = EngineMeter(ensemble, self.client, self._server, gpus)
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def owns(self) -> bool:
        """Whether it runs an embedded Triton, so that the repository's files are on this machine."""
        return self._server is not None

    @property
    def adapters(self) -> Path | None:
        """The folder of adapters' files; None for an external Triton, which reads none of ours."""
        return None if self._server is None else self._server.adapters

    async def start(self) -> None:
        """Raises EngineUnavailable, with the reason, if an engine does not start or cannot be reached."""
        if self._server is not None:
            await asyncio.to_thread(self._server.start)
            await self.client.connect(self._server.url)
            self._tasks = [asyncio.create_task(Supervisor(self._server, self.client).run())]
        elif self._outside is not None:
            await asyncio.gather(*map(self._check_reachable, self.names))
        if self._server is not None or self._outside is not None:
            self._tasks.append(asyncio.create_task(self.meter.run()))
        for name in self.names:
            for version in self.versions.loaded(name) or ("",):
                catalogue.ENGINE_INFO.set(1, name, self.versions.label(name, version))

    def address(self) -> EngineAddress | None:
        """None for an external Triton."""
        if self._server is None:
            return None
        mark = str(self._server.serving_mark or "")
        server = self._server
        return EngineAddress(
            machine_id(), server.url, self.names, self._timeout_s, mark, server.http_address, server.http_key
        )

    async def _check_reachable(self, engine: str) -> None:
        try:
            await self.client.probe(engine, timeout_s=self._timeout_s)
        except Overloaded:
            pass  # busy with other clients' requests: reachable
        except AtelierError as error:
            raise EngineUnavailable(f"engine '{engine}' at {self._outside}: {error}") from error

    async def close(self) -> None:
        """Close everything; an error of one part does not keep the others from closing."""
        async with contextlib.AsyncExitStack() as closing:  # LIFO: the last pushed closes first
            if self._server is not None:
                closing.push_async_callback(asyncio.to_thread, self._server.stop)
            closing.push_async_callback(self.client.close)
            for task in self._tasks:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    async def health(self) -> dict[str, EngineHealth]:
        """The result of one real inference per engine."""
        return dict(zip(self.names, await asyncio.gather(*map(self._health_of, self.names)), strict=True))

    async def _health_of(self, engine: str) -> EngineHealth:
        began, reason = time.perf_counter(), ""
        try:
            version = self.versions.current.get(engine, "")
            await self.client.probe(engine, timeout_s=PROBE_TIMEOUT_S, version=version)
        except AtelierError as error:
            reason = str(error)
        latency_ms = (time.perf_counter() - began) * 1000
        return EngineHealth(not reason, latency_ms, self.versions.label(engine), reason)


class EngineSetService:
    """The `EngineService` of one ensemble. Calls are forwarded to `serve.engines.client.EngineClient`."""

    def __init__(self, engine_set: EngineSet) -> None:
        self.engine_set = engine_set
        self._health_lock = asyncio.Lock()
        self._health: tuple[float, Health] | None = None

    async def health(self) -> Health:
        """The result of ``examine``, at most HEALTH_CACHE_S old."""
        async with self._health_lock:
            if self._health is None or time.monotonic() - self._health[0] >= HEALTH_CACHE_S:
                examined = await self.examine()
                self._health = time.monotonic(), examined
            return self._health[1]

    async def examine(self) -> Health:
        """One real inference per engine."""
        return Health(await self.engine_set.health())

    async def infer(
        self,
        engine: str,
        inputs: Mapping[str, npt.NDArray[Any]],
        *,
        outputs: Sequence[str] | None = None,
        timeout_s: float | None = None,
        version: str = "",
    ) -> dict[str, npt.NDArray[Any]]:
        self.check_inputs(engine, inputs)
        version = version or self.engine_set.versions.current.get(engine, "")
        with billed() as bill:
            try:
                return await self.engine_set.client.infer(
                    engine, inputs, outputs=outputs, timeout_s=timeout_s, version=version
                )
            finally:
                bill.pay(self.engine_set.ensemble, engine)

    def check_inputs(self, engine: str, inputs: Mapping[str, npt.NDArray[Any]]) -> None:
        """Raises InvalidRequest for inputs that the ensemble does not allow; by default it allows all."""

    async def metadata(self, engine: str) -> dict[str, Any]:
        """Metadata with the default version last in ``versions``."""
        found = await self.engine_set.client.metadata(engine)
        current = self.engine_set.versions.current.get(engine, "")
        found["versions"] = sorted(found["versions"], key=lambda version: version == current)
        return found

    async def config(self, engine: str) -> dict[str, Any]:
        return await self.engine_set.client.config(engine)

    async def statistics(self, engine: str) -> dict[str, Any]:
        return await self.engine_set.client.statistics(engine)

    async def engines(self) -> list[str]:
        return await self.engine_set.client.engines()

    async def versions(self) -> Mapping[str, str]:
        return self.engine_set.versions.labels()

    async def engine_address(self) -> EngineAddress | None:
        """Where callers on this machine may send inferences without this service; None: nowhere."""
        return self.engine_set.address()

    async def stub_lost(self, engine: str, url: str) -> None:
        """A caller of `engine_address` was answered by ``url`` that a stub of ``engine`` is lost: Triton restarts."""
        client = self.engine_set.client
        if client.url == url and client.restart_reason is None and client.on_stub_lost is not None:
            client.on_stub_lost(engine)

    async def bill_work(self, work: Mapping[str, int]) -> None:
        """Meter and bill inferences that callers sent to `engine_address`: work units by engine."""
        for engine, units in work.items():
            with billed() as bill:
                self.engine_set.meter.record_units(engine, units)
                bill.pay(self.engine_set.ensemble, engine)
