"""``Supervisor``: detects by real inference that an embedded Triton has stopped working, and restarts it.

A killed Python stub leaves its server and model "ready" while every request fails, and nothing recovers by itself, so
Triton's readiness is ignored here. A stopped or frozen server or stub is worse: calls hang instead of failing. The
worst case is a stub that was late by a second, as after a suspend of the machine: its server has given it up, and both
continue.
"""

from __future__ import annotations

import asyncio
import logging
import time

from serve.engines.client import EngineClient
from serve.engines.triton.server import TritonServer
from serve.errors import AtelierError, DeadlineExceeded, NotFound, Overloaded
from serve.observability.metrics import catalogue, processes

LOGGER = logging.getLogger(__name__)

FIRST_RETRY_S = 1.0
MAX_RETRY_S = 30.0
LIVE_TIMEOUT_S = 2.0
LIVE_ATTEMPTS = 3
"""A healthy server answers a liveness call at once, however busy its engines are."""
IDLE_INTERVALS = 6
"""An engine without requests is probed this much less often: the next request would show a fault, too."""
VERSION_CHANGE_GRACE_S = 10.0
"""For this time after a change of versions only probes decide whether a process is gone."""


class Supervisor:
    """Supervises ``server`` through ``engines``.

    Every ``interval_s`` each engine is probed, unless it has answered a request since, or is not used: then every
    IDLE_INTERVALS of them. Between probes, every ``look_s``, the processes are checked, which finds
    one dead stub out of several instances and stopped processes. A failed call of ``engines`` triggers the next probe.
    A slow engine is not broken: probes that exceed ``probe_timeout_s`` count only if the engine completed nothing for
    ``stall_s``. A server that does not answer a liveness call is broken.
    """

    def __init__(
        self,
        server: TritonServer,
        engines: EngineClient,
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
        self._faults = processes.FaultFinder(-1)
        #: By engine: when it last answered, and its number of successful inferences by then.
        self._answered: dict[str, tuple[float, int]] = {}
        self._probe_now = asyncio.Event()
        self._stub_lost = asyncio.Event()
        engines.on_unavailable = lambda engine: self._probe_now.set()
        engines.on_stub_lost = self._on_stub_lost

    async def run(self) -> None:
        """Supervise until cancelled."""
        while True:
            if self._probe_now.is_set():
                self._answered.clear()
                self._probe_now.clear()
            try:
                reason = await self._find_fault()
            except Exception:  # without supervision the replica could not recover
                LOGGER.exception("the check of tritonserver failed; it is repeated")
                reason = None
            if reason is not None:
                LOGGER.error("restarting tritonserver: %s", reason)
                self._refuse(reason)
                await self._restart()
            await self._pause()

    def _on_stub_lost(self, engine: str) -> None:
        self._refuse(f"it has given up a stub of '{engine}'")
        self._stub_lost.set()
        self._probe_now.set()

    def _refuse(self, reason: str) -> None:
        self._engines.restart_reason = reason
        self._server.refuse()

    async def _find_fault(self) -> str | None:
        """Why Triton must be restarted, or None. Probes of a frozen server block, so processes are checked
        concurrently."""
        self._stub_lost.clear()
        if self._engines.restart_reason is not None:
            return self._engines.restart_reason
        looking, probing = asyncio.create_task(self._watch_processes()), asyncio.create_task(self._probe_twice())
        given_up = asyncio.create_task(self._stub_lost.wait())
        tasks = (looking, probing, given_up)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if given_up.done():
                return self._engines.restart_reason
            return looking.result() if looking.done() else probing.result() or await self._confirmed_fault()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch_processes(self) -> str:
        """Check the processes repeatedly; returns the first fault."""
        while self._server.running:
            if (trouble := await self._confirmed_fault()) is not None:
                return trouble
            if not await self._is_live():
                return "it does not answer"
            await asyncio.sleep(self._look_s)
        return "it ended"

    async def _probe_twice(self) -> str | None:
        if await self._probe_all() is None:
            return None
        await asyncio.sleep(self._look_s)  # a single failure may be transient
        return await self._probe_all()

    async def _confirmed_fault(self) -> str | None:
        """A fault of the processes, confirmed twice: a process may be stopped for a moment only."""
        if (trouble := await self._process_fault()) is not None:
            await asyncio.sleep(self._look_s)
            return await self._process_fault() and trouble
        return None

    async def _process_fault(self) -> str | None:
        """Ignores ended stubs for `VERSION_CHANGE_GRACE_S` after a version change: Triton takes a moment to reap
        them."""
        settled = time.monotonic() - self._server.versions_changed_at >= VERSION_CHANGE_GRACE_S
        if self._faults.pid != self._server.pid:  # it was restarted
            self._faults = processes.FaultFinder(self._server.pid)
        return await asyncio.to_thread(self._faults.find, ended=settled)

    async def _is_live(self) -> bool:
        """Whether the server answers. Unreachable counts as alive here; the probes report the reason."""
        for _ in range(LIVE_ATTEMPTS):
            try:
                await self._engines.live(timeout_s=LIVE_TIMEOUT_S)
                return True
            except DeadlineExceeded:
                continue
            except AtelierError:
                return True
        return False

    async def _probe_all(self) -> str | None:
        loaded = [
            (engine, version)
            for engine, of in self._server.versions.items()
            if len(of) > 1 or self._needs_probe(engine)
            for version in of
        ]
        reasons = await asyncio.gather(*(self._probe(engine, version) for engine, version in loaded))
        return next((reason for reason in reasons if reason is not None), None)

    def _needs_probe(self, engine: str) -> bool:
        now, succeeded = time.monotonic(), self._engines.succeeded(engine)
        since, count = self._answered.get(engine, (None, 0))
        if since is not None and succeeded != count:
            self._answered[engine] = (now, succeeded)
            return False
        idle = since is not None and not self._engines.is_working(engine)
        return not idle or now - (since or 0.0) >= IDLE_INTERVALS * self._interval_s

    async def _probe(self, engine: str, version: str) -> str | None:
        """Why ``engine`` is broken; None if it works or is only busy."""
        self._answered.pop(engine, None)
        try:
            completed = await self._completed(engine)
        except AtelierError as error:
            return str(error)
        try:
            await self._engines.probe(engine, timeout_s=self._probe_timeout_s, version=version)
        except Overloaded:
            return None
        except NotFound as error:
            return str(error) if version in self._server.versions.get(engine, ()) else None  # None: unloaded meanwhile
        except DeadlineExceeded as error:
            return str(error) if self._is_stalled(engine, completed) else None
        except AtelierError as error:
            return str(error)
        self._stalls.pop(engine, None)
        self._answered[engine] = (time.monotonic(), self._engines.succeeded(engine))
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
        self._answered.clear()
        while True:
            catalogue.TRITON_RESTARTS.add(1)
            try:
                await asyncio.to_thread(self._server.restart)
                await self._engines.connect(self._server.url)
                return
            except Exception as error:  # includes lack of disk, memory or threads
                unforeseen = not isinstance(error, AtelierError | OSError)
                LOGGER.error(
                    "tritonserver does not start (next try in %.0f s): %s", delay_s, error, exc_info=unforeseen
                )
            await asyncio.sleep(delay_s)
            delay_s = min(2 * delay_s, MAX_RETRY_S)

    async def _pause(self) -> None:
        """Sleep until the next probe is due, a call failed, or a process is gone."""
        loop = asyncio.get_running_loop()
        due = loop.time() + self._interval_s
        while loop.time() < due and not self._probe_now.is_set():
            try:
                await asyncio.wait_for(self._probe_now.wait(), self._look_s)
            except TimeoutError:
                if not self._server.running or await self._process_fault() is not None:
                    return
