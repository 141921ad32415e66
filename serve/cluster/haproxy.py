"""Ray Serve's keeper of HAProxy, made to notice at once what befalls it.

Ray Serve 2.60 asks every ten seconds, and replaces the whole actor after the third time without an answer: half a
minute in which nothing connects, and then a moment in which the new HAProxy knows no address yet and answers all of
them with 404. Here a HAProxy that ended, or stands still, is started again in its place with what it knew; a new one
opens its doors when it knows where they lead; and one whose keeper died serves on until the next keeper takes over.

And nobody asks whether the controller itself stands still, without which nothing is ever replaced: the keeper does.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError
from ray.serve._private import controller, haproxy
from ray.serve._private.constants import SERVE_CONTROLLER_NAME, SERVE_NAMESPACE
from ray.serve._private.utils import get_head_node_id

from serve.observability.logs import escaping

LOGGER = logging.getLogger("ray.serve")

LOOK_S = 0.25
ANSWER_S = 1.0
MISSES = 3
"""How often in a row HAProxy may owe its keeper an answer: on a busy machine one is late now and then."""
CONTROLLER_LOOK_S = 1.0
CONTROLLER_ANSWER_S = 3.0
KNOWN_S = 3.0
"""How long a new HAProxy waits to be told where the gateways are. Ray Serve tells so at once, be there any or none."""


class SupervisedHAProxy(haproxy.HAProxyApi):
    """Starts when it knows the gateways, and takes over from one that nobody keeps any more."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._known = asyncio.Event()

    def set_backend_configs(self, backend_configs: dict[str, Any]) -> None:
        super().set_backend_configs(backend_configs)
        self._known.set()

    async def start(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._known.wait(), KNOWN_S)
        await super().start()

    async def _start_and_wait_for_haproxy(self, *arguments: str, **named: Any) -> Any:
        if "-sf" not in arguments and (orphans := self._strangers()):
            arguments = (*arguments, "-sf", *map(str, orphans))
            if await self.answers():  # it hands its listeners over, and no connection that waits there is lost
                arguments = (*arguments, "-x", self.cfg.socket_path)
        return await super()._start_and_wait_for_haproxy(*arguments, **named)

    def _strangers(self) -> list[int]:
        """HAProxies on our configuration that an earlier keeper started."""
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
        """Whether it says soon enough how it is."""
        try:
            async with asyncio.timeout(ANSWER_S):
                await self._send_socket_command("show info")
        except (TimeoutError, RuntimeError):
            return False
        return True

    async def replace(self, reason: str) -> None:
        """Start it again, with what it knew."""
        LOGGER.error("starting HAProxy again: %s", reason)
        if self._proc is not None and self._proc.returncode is None:
            self._proc.kill()
            await self._proc.wait()
        if self._proc is not None:
            self._retire_log_files(self._proc)
        await self.start()


_Manager: Any = vars(haproxy)["HAProxyManager"].__ray_metadata__.modified_class


class SupervisedHAProxyManager(_Manager):  # type: ignore[misc]
    """Looks after its HAProxy by itself, without the controller, which may be away."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        escaping.install()
        vars(haproxy)["HAProxyApi"] = SupervisedHAProxy
        super().__init__(*arguments, **named)
        self._watches = [self.event_loop.create_task(self._look_after())]
        if self._node_id == get_head_node_id():
            self._watches.append(self.event_loop.create_task(self._look_after_controller()))

    async def shutdown(self) -> None:
        for watch in self._watches:
            watch.cancel()
        await super().shutdown()

    async def check_health(self) -> bool:
        """The keeper's own: to mend HAProxy is its work, and not a reason to replace it."""
        return not any(watch.done() for watch in self._watches)

    async def _look_after(self) -> None:
        misses = 0
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                misses = await self._look(misses)
            except Exception:
                LOGGER.exception("HAProxy could not be started again; it is tried again")

    async def _look(self, misses: int) -> int:
        """How many answers HAProxy owes by now. While Ray Serve starts or replaces it, that is Ray Serve's to judge."""
        own = self._haproxy
        if own._proc is None or self._reload_lock.locked():
            return 0
        if not own.has_ended and await own.answers():
            return 0
        async with self._reload_lock:
            if own.has_ended:
                await own.replace("it ended")
            elif misses + 1 >= MISSES:
                await own.replace("it does not answer")
            else:
                return misses + 1
        return 0

    async def _look_after_controller(self) -> None:
        """Ray starts one again that died, and remembers for it what it did."""
        misses = 0
        while True:
            await asyncio.sleep(CONTROLLER_LOOK_S)
            try:
                there = ray.get_actor(SERVE_CONTROLLER_NAME, namespace=SERVE_NAMESPACE)
                async with asyncio.timeout(CONTROLLER_ANSWER_S):
                    await there.check_alive.remote()
            except TimeoutError:
                misses += 1
            except (ValueError, RayError):  # there is none, or it is being started: Ray sees to that
                misses = 0
            else:
                misses = 0
            if misses >= MISSES:
                LOGGER.error("starting the controller again: it does not answer")
                ray.kill(there, no_restart=False)
                misses = 0


def before_controller() -> None:
    """Ray Serve calls this in its controller, before that starts any proxy."""
    escaping.install()
    vars(controller)["HAProxyManager"] = ray.remote(num_cpus=0)(SupervisedHAProxyManager)
