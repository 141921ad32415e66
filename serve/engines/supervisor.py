"""``Supervisor``: finds out by real inference that an embedded Triton has stopped working, and restarts it.

A Python stub that is killed leaves its server and its model "ready" while every request fails, and nothing recovers by
itself; so readiness as Triton tells it counts for nothing here.
"""

from __future__ import annotations

import asyncio
import logging
import time

from serve.engines import processes
from serve.engines.client import Engines
from serve.engines.server import TritonServer
from serve.errors import AtelierError, DeadlineExceeded, EngineUnavailable, NotFound, Overloaded

LOGGER = logging.getLogger(__name__)

FIRST_RETRY_S = 1.0
LAST_RETRY_S = 30.0
CHANGE_S = 10.0
"""How long after a change of versions only probes tell whether a stub is gone."""


class Supervisor:
    """Watches ``server`` through ``engines``.

    Every ``interval_s`` each engine is probed; between probes, each ``look_s``, the processes are looked at, which
    finds the stub of one instance out of several. A failed call of ``engines`` brings the next probe forward. An
    engine that is slow is not broken: probes past ``probe_timeout_s`` count only when the engine completed nothing for
    ``stall_s``.
    """

    def __init__(
        self,
        server: TritonServer,
        engines: Engines,
        *,
        interval_s: float = 5.0,
        look_s: float = 0.5,
        probe_timeout_s: float = 10.0,
        stall_s: float = 30.0,
    ) -> None:
        self._server = server
        self._engines = engines
        self._interval_s = interval_s
        self._look_s = look_s
        self._probe_timeout_s = probe_timeout_s
        self._stall_s = stall_s
        #: By engine: when a probe first timed out, and the executions it had completed by then.
        self._stalls: dict[str, tuple[float, int]] = {}
        self._suspicion = asyncio.Event()
        engines.on_unavailable = lambda engine: self._suspicion.set()

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            self._suspicion.clear()
            reason = await self._fault()
            if reason is not None:
                LOGGER.error("restarting tritonserver: %s", reason)
                await self._restart()
            await self._pause()

    async def _fault(self) -> str | None:
        if not self._server.running:
            return "it ended"
        if await self._has_lost_a_stub():
            return "one of its Python stubs ended"
        if await self._probe_all() is None:
            return None
        # On a machine short of cores Triton may find a stub unhealthy that was only late: look twice.
        await asyncio.sleep(self._look_s)
        return await self._probe_all()

    async def _has_lost_a_stub(self) -> bool:
        """Not one that ends because its version goes, or does not load: Triton takes a moment to notice it."""
        if time.monotonic() - self._server.changed_at < CHANGE_S:
            return False
        return await asyncio.to_thread(processes.has_zombies, self._server.pid)

    async def _probe_all(self) -> str | None:
        loaded = [(engine, version) for engine, of in self._server.versions.items() for version in of]
        reasons = await asyncio.gather(*(self._probe(engine, version) for engine, version in loaded))
        return next((reason for reason in reasons if reason is not None), None)

    async def _probe(self, engine: str, version: str) -> str | None:
        """Why ``engine`` is broken; None when it works, or is only busy."""
        try:
            completed = await self._completed(engine)
            await self._engines.probe(engine, timeout_s=self._probe_timeout_s, version=version)
        except Overloaded:
            return None
        except NotFound as error:
            return str(error) if version in self._server.versions.get(engine, ()) else None  # or it was unloaded
        except DeadlineExceeded as error:
            return str(error) if self._is_stalled(engine, completed) else None
        except AtelierError as error:
            return str(error)
        self._stalls.pop(engine, None)
        return None

    def _is_stalled(self, engine: str, completed: int) -> bool:
        now = asyncio.get_running_loop().time()
        since, completed_then = self._stalls.setdefault(engine, (now - self._probe_timeout_s, completed))
        if completed > completed_then:
            self._stalls[engine] = (now, completed)
            return False
        return now - since >= self._stall_s

    async def _completed(self, engine: str) -> int:
        statistics = await self._engines.statistics(engine)
        return sum(int(version["execution_count"]) for version in statistics["model_stats"])

    async def _restart(self) -> None:
        delay_s = FIRST_RETRY_S
        self._stalls.clear()
        while True:
            try:
                await asyncio.to_thread(self._server.restart)
                await self._engines.connect(self._server.url)
                return
            except (EngineUnavailable, OSError) as error:  # OSError: no disk, memory or process to be had
                LOGGER.error("tritonserver does not start (next try in %.0f s): %s", delay_s, error)
            await asyncio.sleep(delay_s)
            delay_s = min(2 * delay_s, LAST_RETRY_S)

    async def _pause(self) -> None:
        """Until the next probe is due, a call failed, or a process is seen to be gone."""
        loop = asyncio.get_running_loop()
        due = loop.time() + self._interval_s
        while loop.time() < due and not self._suspicion.is_set():
            try:
                await asyncio.wait_for(self._suspicion.wait(), self._look_s)
            except TimeoutError:
                if not self._server.running or await self._has_lost_a_stub():
                    return
