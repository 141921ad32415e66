"""``Supervisor``: finds out by real inference that an embedded Triton has stopped working, and restarts it.

A Python stub that is killed leaves its server and its model "ready" while every request fails, and nothing recovers by
itself; so readiness as Triton tells it counts for nothing here. A server or a stub that stands still is worse: nothing
fails, and everything waits. Worst is a stub that was late by a second, as on a machine that was itself stopped for one:
its server has given it up, and both go on.
"""

from __future__ import annotations

import asyncio
import logging
import time

from serve.engines.client import EngineClient
from serve.engines.triton.server import TritonServer
from serve.errors import AtelierError, DeadlineExceeded, NotFound, Overloaded
from serve.observability.metrics import catalogue, proc

LOGGER = logging.getLogger(__name__)

FIRST_RETRY_S = 1.0
LAST_RETRY_S = 30.0
LIVE_TIMEOUT_S = 2.0
LIVE_ATTEMPTS = 3
"""However busy its engines are, a server that is well says at once that it lives: that asks none of them."""
CHANGE_S = 10.0
"""How long after a change of versions only probes tell whether a process is gone."""


class Supervisor:
    """Watches ``server`` through ``engines``.

    Every ``interval_s`` each engine is probed; between probes, each ``look_s``, the processes are looked at, which
    finds the stub of one instance out of several, and what a signal has stopped. A failed call of ``engines`` brings
    the next probe forward. An engine that is slow is not broken: probes past ``probe_timeout_s`` count only when the
    engine completed nothing for ``stall_s``. A server that does not even say that it lives is.
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
        self._suspicion = asyncio.Event()
        self._given_up = asyncio.Event()
        engines.on_unavailable = lambda engine: self._suspicion.set()
        engines.on_stub_lost = self._give_up

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            self._suspicion.clear()
            try:
                reason = await self._fault()
            except Exception:  # whatever it was, a Triton that nobody watches would be the end of its replica
                LOGGER.exception("the look at tritonserver failed; it is looked at again")
                reason = None
            if reason is not None:
                LOGGER.error("restarting tritonserver: %s", reason)
                self._engines.held = reason
                await self._restart()
            await self._pause()

    def _give_up(self, engine: str) -> None:
        self._engines.held = f"it has given up a stub of '{engine}'"
        self._given_up.set()
        self._suspicion.set()

    async def _fault(self) -> str | None:
        """What is amiss, if anything. Probes of a server that stands still wait long: it is looked at meanwhile."""
        self._given_up.clear()
        if self._engines.held is not None:
            return self._engines.held
        looking, probing = asyncio.create_task(self._look()), asyncio.create_task(self._probe_twice())
        given_up = asyncio.create_task(self._given_up.wait())
        tasks = (looking, probing, given_up)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if given_up.done():
                return self._engines.held
            return looking.result() if looking.done() else probing.result() or await self._trouble()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _look(self) -> str:
        """At the processes, until something is amiss with them."""
        while self._server.running:
            if (trouble := await self._trouble()) is not None:
                return trouble
            if not await self._lives():
                return "it does not answer"
            await asyncio.sleep(self._look_s)
        return "it ended"

    async def _probe_twice(self) -> str | None:
        if await self._probe_all() is None:
            return None
        await asyncio.sleep(self._look_s)  # what fails once may pass
        return await self._probe_all()

    async def _trouble(self) -> str | None:
        """What the processes tell twice: who stops one for a moment may go on with it."""
        if (trouble := await self._seen()) is not None:
            await asyncio.sleep(self._look_s)
            return await self._seen() and trouble
        return None

    async def _seen(self) -> str | None:
        """Not a stub that ends because its version goes, or does not load: Triton takes a moment to notice it."""
        settled = time.monotonic() - self._server.changed_at >= CHANGE_S
        return await asyncio.to_thread(proc.trouble, self._server.pid, ended=settled)

    async def _lives(self) -> bool:
        """A server that cannot be reached is left to the probes, which say why."""
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
        loaded = [(engine, version) for engine, of in self._server.versions.items() for version in of]
        reasons = await asyncio.gather(*(self._probe(engine, version) for engine, version in loaded))
        return next((reason for reason in reasons if reason is not None), None)

    async def _probe(self, engine: str, version: str) -> str | None:
        """Why ``engine`` is broken; None when it works, or is only busy."""
        try:
            completed = await self._completed(engine)
        except AtelierError as error:
            return str(error)
        try:
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
            catalogue.TRITON_RESTARTS.add(1)
            try:
                await asyncio.to_thread(self._server.restart)
                await self._engines.connect(self._server.url)
                return
            except Exception as error:  # also when there is no disk, memory or thread to be had
                unforeseen = not isinstance(error, AtelierError | OSError)
                LOGGER.error(
                    "tritonserver does not start (next try in %.0f s): %s", delay_s, error, exc_info=unforeseen
                )
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
                if not self._server.running or await self._seen() is not None:
                    return
