"""Ray Serve's HAProxy manager with fast fault detection.

Ray Serve 2.60 checks HAProxy every ten seconds and replaces the whole actor after three missed answers: half a minute
without connections, then a moment in which the new HAProxy knows no backend and answers 404. Here a HAProxy that ended
or is frozen is restarted in place with its configuration; a new one starts once it knows its backends; and one whose
manager died keeps serving until the next manager takes over.

Ray Serve does not check its own controller, without which nothing is replaced. The manager on the head node does.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import time
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError
from ray.serve._private import controller, haproxy
from ray.serve._private.constants import SERVE_CONTROLLER_NAME, SERVE_NAMESPACE
from ray.serve._private.utils import get_head_node_id

from serve.observability.logs import formats

LOGGER = logging.getLogger("ray.serve")

CHECK_INTERVAL_S = 0.25
"""How soon a HAProxy that ended is seen, and after a missed answer the next one is awaited."""
ANSWER_INTERVAL_S = 1.0
"""How often one that runs is asked for an answer: a frozen one is rarer, and asking costs both processes time."""
ANSWER_TIMEOUT_S = 1.0
MAX_MISSES = 3
"""Consecutive missed answers before a restart: on a busy machine a single answer may be late."""
CONTROLLER_CHECK_INTERVAL_S = 1.0
CONTROLLER_TIMEOUT_S = 3.0
BACKENDS_TIMEOUT_S = 3.0
"""How long a new HAProxy waits for its backends. Ray Serve sends the list at once, even if it is empty."""


class SupervisedHAProxy(haproxy.HAProxyApi):
    """Starts once the backends are known, and takes over from a HAProxy without a manager."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._backends_known = asyncio.Event()

    def set_backend_configs(self, backend_configs: dict[str, Any]) -> None:
        super().set_backend_configs(backend_configs)
        self._backends_known.set()

    async def start(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._backends_known.wait(), BACKENDS_TIMEOUT_S)
        await super().start()

    async def _start_and_wait_for_haproxy(self, *arguments: str, **named: Any) -> Any:
        if "-sf" not in arguments and (orphans := self._orphans()):
            arguments = (*arguments, "-sf", *map(str, orphans))
            if await self.answers():  # it hands over its listening sockets: no pending connection is lost
                arguments = (*arguments, "-x", self.cfg.socket_path)
        return await super()._start_and_wait_for_haproxy(*arguments, **named)

    def _orphans(self) -> list[int]:
        """HAProxies on our configuration, started by an earlier manager."""
        own = {proc.pid for proc in (self._proc, *self._old_procs) if proc is not None}
        return [
            pid
            for pid in (int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit())
            if pid not in own and pid != os.getpid() and self._is_our_haproxy(pid)
        ]

    @property
    def has_ended(self) -> bool:
        return self._proc is not None and self._proc.returncode is not None

    async def answers(self) -> bool:
        """Whether it responds within ANSWER_S."""
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                await self._send_socket_command("show info")
        except (TimeoutError, RuntimeError):
            return False
        return True

    async def replace(self, reason: str) -> None:
        """Restart it with the present configuration."""
        LOGGER.error("starting HAProxy again: %s", reason)
        if self._proc is not None and self._proc.returncode is None:
            self._proc.kill()
            await self._proc.wait()
        if self._proc is not None:
            self._retire_log_files(self._proc)
        await self.start()


_Manager: Any = vars(haproxy)["HAProxyManager"].__ray_metadata__.modified_class


class SupervisedHAProxyManager(_Manager):  # type: ignore[misc]
    """Supervises its HAProxy without the controller, which may be unavailable."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        formats.install()
        vars(haproxy)["HAProxyApi"] = SupervisedHAProxy
        super().__init__(*arguments, **named)
        self._supervisors = [self.event_loop.create_task(self._supervise())]
        if self._node_id == get_head_node_id():
            self._supervisors.append(self.event_loop.create_task(self._supervise_controller()))

    async def shutdown(self) -> None:
        for watch in self._supervisors:
            watch.cancel()
        await super().shutdown()

    async def check_health(self) -> bool:
        """Health of the manager alone: HAProxy's faults are repaired by it, and no reason to replace it."""
        return not any(watch.done() for watch in self._supervisors)

    async def _supervise(self) -> None:
        misses, asked_at = 0, -math.inf
        while True:
            await asyncio.sleep(CHECK_INTERVAL_S)
            now = time.monotonic()
            if not misses and not self._haproxy.has_ended and now < asked_at + ANSWER_INTERVAL_S:
                continue
            asked_at = now
            try:
                misses = await self._check(misses)
            except Exception:
                LOGGER.exception("HAProxy could not be started again; it is tried again")

    async def _check(self, misses: int) -> int:
        """The number of missed answers so far. While Ray Serve starts or reloads HAProxy, nothing is counted."""
        own = self._haproxy
        if own._proc is None or self._reload_lock.locked():
            return 0
        if not own.has_ended and await own.answers():
            return 0
        async with self._reload_lock:
            if own.has_ended:
                await own.replace("it ended")
            elif misses + 1 >= MAX_MISSES:
                await own.replace("it does not answer")
            else:
                return misses + 1
        return 0

    async def _supervise_controller(self) -> None:
        """Kill a frozen controller; Ray restarts it, and it restores its state."""
        misses = 0
        while True:
            await asyncio.sleep(CONTROLLER_CHECK_INTERVAL_S)
            try:
                there = ray.get_actor(SERVE_CONTROLLER_NAME, namespace=SERVE_NAMESPACE)
                async with asyncio.timeout(CONTROLLER_TIMEOUT_S):
                    await there.check_alive.remote()
            except TimeoutError:
                misses += 1
            except (ValueError, RayError):  # no controller, or it is starting: Ray's responsibility
                misses = 0
            else:
                misses = 0
            if misses >= MAX_MISSES:
                LOGGER.error("starting the controller again: it does not answer")
                ray.kill(there, no_restart=False)
                misses = 0


def before_controller() -> None:
    """Ray Serve calls this in its controller before it starts any proxy."""
    formats.install()
    vars(controller)["HAProxyManager"] = ray.remote(num_cpus=0)(SupervisedHAProxyManager)
