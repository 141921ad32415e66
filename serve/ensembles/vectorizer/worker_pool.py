"""`WorkerPool`: forked processes for heavy native work that may hang.

A task that is cancelled or exceeds its deadline is killed with its worker; a new one is forked in about 20 ms. If a
worker dies, its task is repeated once.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable
from typing import Any, TypeVar, TypeVarTuple

from serve.ensembles.vectorizer.processes import ForkServer, WorkerLost, WorkerProcess
from serve.ensembles.vectorizer.worker_protocol import function_name, pack
from serve.errors import AtelierError, DeadlineExceeded, EngineFailure, EngineUnavailable, Overloaded
from serve.observability import tracing
from serve.observability.costs import charge

Ts = TypeVarTuple("Ts")
R = TypeVar("R")

LOGGER = logging.getLogger(__name__)
GIBIBYTE = 1024**3
_STOPPED = "the workers are stopped"


class TaskFault(EngineFailure):
    """A task raised an unexpected exception, or its worker died twice. Details are in the log."""


class WorkerPool:
    """``count`` worker processes, for one event loop. At most ``max_waiting`` tasks wait for a free one.

    ``memory_bytes`` limits the address space of a worker.
    """

    def __init__(
        self,
        count: int = 0,
        *,
        max_waiting: int = 128,
        memory_bytes: int = 8 * GIBIBYTE,
        start_timeout_s: float = 120.0,
    ) -> None:
        self.count = count or len(os.sched_getaffinity(0))
        self._max_waiting = max_waiting
        self._memory_bytes = memory_bytes
        self._start_timeout_s = start_timeout_s
        self._fork_server: ForkServer | None = None
        self._idle: asyncio.LifoQueue[WorkerProcess | None] = asyncio.LifoQueue()
        """One None per waiting task signals the end."""
        self._all: set[WorkerProcess] = set()
        self._replacements: set[asyncio.Task[None]] = set()
        self._forking = asyncio.Lock()
        self._waiting = 0
        self._closed = False

    async def start(self) -> None:
        """Raises EngineUnavailable if the workers do not start within ``start_timeout_s``."""
        for _ in range(self.count):
            await self._add()

    async def close(self) -> None:
        """Kill all workers; running tasks fail with EngineFailure, waiting ones with EngineUnavailable."""
        self._closed = True
        for worker in tuple(self._all):
            worker.kill()
        self._all.clear()
        for _ in range(self._waiting):
            self._idle.put_nowait(None)
        for task in tuple(self._replacements):
            task.cancel()
        if self._fork_server is not None:
            await asyncio.to_thread(self._fork_server.close)

    @property
    def pids(self) -> list[int]:
        return sorted(worker.pid for worker in self._all)

    @property
    def alive(self) -> bool:
        """Whether any worker process lives, busy or not."""
        return any(worker.alive for worker in self._all)

    async def run(
        self, deadline: float | None, task: Callable[[*Ts], R], *args: *Ts, limit_s: float | None = None
    ) -> R:
        """Run ``task(*args)`` in a worker. ``task`` is a module-level function; values must fit `worker_protocol`.

        ``deadline``: by ``time.monotonic``. ``limit_s``: limit of the task without its wait for a worker. Raises the
        task's errors of `serve.errors`, TaskFault for others, DeadlineExceeded, Overloaded if too many tasks wait,
        TypeError for a task or argument that cannot be sent.
        """
        message = pack((function_name(task), args))
        remaining = None if deadline is None else deadline - time.monotonic()
        try:
            async with asyncio.timeout(remaining):
                with tracing.span(f"task {task.__name__}"):
                    result: R = await self._run_with_retry(message, limit_s)
                    return result
        except TimeoutError:
            raise DeadlineExceeded("there was not enough time to finish") from None

    async def _run_with_retry(self, message: bytes, limit_s: float | None) -> Any:
        for _ in range(2):
            worker = await self._take()
            tracing.event("worker")
            try:
                async with asyncio.timeout(limit_s):
                    kind, value = await self._call(worker, message)
            except WorkerLost:
                LOGGER.warning("worker %d died; its task is repeated", worker.pid)
                continue
            if kind == "value":
                return value
            if isinstance(value, AtelierError):
                raise value
            LOGGER.error("a task failed:\n%s", value)
            raise TaskFault("processing the picture failed")
        raise TaskFault("processing the picture ended its worker twice")

    async def _take(self) -> WorkerProcess:
        """The most recently idle worker, whose memory is warm."""
        if self._closed:
            raise EngineUnavailable(_STOPPED)
        if self._idle.empty() and self._waiting >= self._max_waiting:
            raise Overloaded(f"{self._waiting} tasks wait already")
        self._waiting += 1
        try:
            while (worker := await self._idle.get()) is not None:
                if worker.alive:
                    return worker
                self._replace(worker)
            raise EngineUnavailable(_STOPPED)
        finally:
            self._waiting -= 1

    async def _call(self, worker: WorkerProcess, message: bytes) -> tuple[str, Any]:
        try:
            kind, value, cpu_s = await worker.ask(message)
        except (asyncio.CancelledError, WorkerLost):
            self._replace(worker)
            raise
        self._idle.put_nowait(worker)
        charge(cpu_s)
        return kind, value

    def _replace(self, worker: WorkerProcess) -> None:
        worker.kill()
        self._all.discard(worker)
        if not self._closed:
            task = asyncio.create_task(self._add_with_retry())
            self._replacements.add(task)
            task.add_done_callback(self._replacements.discard)

    async def _add_with_retry(self) -> None:
        while not self._closed:
            try:
                await self._add()
            except (EngineUnavailable, OSError) as error:
                LOGGER.error("cannot start a worker, trying again: %s", error)
                await asyncio.sleep(1.0)
            else:
                return

    async def _add(self) -> None:
        async with self._forking:
            if self._fork_server is None or not self._fork_server.alive:
                self._fork_server = await asyncio.to_thread(ForkServer, self._memory_bytes, self._start_timeout_s)
            pid, connection = await asyncio.to_thread(self._fork_server.fork)
        worker = await WorkerProcess.connect(pid, connection)
        if self._closed:
            worker.kill()
            raise EngineUnavailable(_STOPPED)
        self._all.add(worker)
        self._idle.put_nowait(worker)
