"""`Workers`: a pool of forked processes for work that is heavy, native, or might never end.

A process can be killed: a task that is cancelled, or still running at its deadline, takes its worker with it, and a new
one is forked in some 20 ms. A worker that dies by itself, or is killed from outside, has its task repeated once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, TypeVarTuple

from serve.ensembles.nursery import LENGTH, READY
from serve.errors import DeadlineExceeded, EngineFailure, EngineUnavailable, Overloaded

Ts = TypeVarTuple("Ts")
R = TypeVar("R")

LOGGER = logging.getLogger(__name__)
GIBIBYTE = 1024**3
_SOURCES = str(Path(__file__).resolve().parents[2])
_ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")}


class TaskFault(EngineFailure):
    """A task raised what is none of our errors, or its worker died twice. The worker's log has the details."""


class _WorkerLost(Exception):
    """The worker's socket closed under a task."""


class Workers:
    """``count`` worker processes; for one event loop. At most ``max_waiting`` tasks wait for a free one.

    ``memory_bytes`` bounds the address space of one worker.
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
        self._nursery: _Nursery | None = None
        self._idle: asyncio.LifoQueue[_Worker] = asyncio.LifoQueue()
        self._all: set[_Worker] = set()
        self._replacements: set[asyncio.Task[None]] = set()
        self._forking = asyncio.Lock()
        self._waiting = 0
        self._closed = False

    async def start(self) -> None:
        """Raises EngineUnavailable when the workers cannot be started within ``start_timeout_s``."""
        for _ in range(self.count):
            await self._add()

    async def close(self) -> None:
        """End all workers; tasks under way fail with EngineFailure."""
        self._closed = True
        for worker in tuple(self._all):
            worker.kill()
        self._all.clear()
        for task in tuple(self._replacements):
            task.cancel()
        if self._nursery is not None:
            await asyncio.to_thread(self._nursery.close)

    @property
    def pids(self) -> list[int]:
        return sorted(worker.pid for worker in self._all)

    async def run(
        self, deadline: float | None, task: Callable[[*Ts], R], *args: *Ts, limit_s: float | None = None
    ) -> R:
        """``task(*args)`` in a worker; ``task`` is found by its module and name, so it must be a module's function.

        ``deadline`` is a time of ``time.monotonic``; ``limit_s`` bounds the task itself, without its wait for a worker.
        Raises what the task raises of `serve.errors`, TaskFault for anything else, DeadlineExceeded, and Overloaded
        when too many tasks wait already.
        """
        message = pickle.dumps((task, args), protocol=5)
        remaining = None if deadline is None else deadline - time.monotonic()
        try:
            async with asyncio.timeout(remaining):
                result: R = await self._repeat_if_lost(message, limit_s)
                return result
        except TimeoutError:
            raise DeadlineExceeded("there was not enough time to finish") from None

    async def _repeat_if_lost(self, message: bytes, limit_s: float | None) -> Any:
        for _ in range(2):
            worker = await self._take()
            try:
                async with asyncio.timeout(limit_s):
                    kind, value = await self._call(worker, message)
            except _WorkerLost:
                LOGGER.warning("worker %d died; its task is repeated", worker.pid)
                continue
            if kind == "value":
                return value
            raise value if kind == "error" else TaskFault("processing the picture failed")
        raise TaskFault("processing the picture ended its worker twice")

    async def _take(self) -> _Worker:
        """The worker that was idle last: its memory is the warmest."""
        if self._closed:
            raise EngineUnavailable("the workers are stopped")
        if self._idle.empty() and self._waiting >= self._max_waiting:
            raise Overloaded(f"{self._waiting} tasks wait already")
        self._waiting += 1
        try:
            while not (worker := await self._idle.get()).alive:
                self._replace(worker)
            return worker
        finally:
            self._waiting -= 1

    async def _call(self, worker: _Worker, message: bytes) -> tuple[str, Any]:
        try:
            answer = await worker.ask(message)
        except (asyncio.CancelledError, _WorkerLost):
            self._replace(worker)
            raise
        self._idle.put_nowait(worker)
        return answer

    def _replace(self, worker: _Worker) -> None:
        worker.kill()
        self._all.discard(worker)
        if not self._closed:
            task = asyncio.create_task(self._add_until_done())
            self._replacements.add(task)
            task.add_done_callback(self._replacements.discard)

    async def _add_until_done(self) -> None:
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
            if self._nursery is None or not self._nursery.alive:
                self._nursery = await asyncio.to_thread(_Nursery, self._memory_bytes, self._start_timeout_s)
            pid, connection = await asyncio.to_thread(self._nursery.fork)
        worker = await _Worker.connect(pid, connection)
        self._all.add(worker)
        self._idle.put_nowait(worker)


class _Nursery:
    """The owner's side of `serve.ensembles.nursery`; its methods block, for a thread."""

    def __init__(self, memory_bytes: int, start_timeout_s: float) -> None:
        self._control, theirs = socket.socketpair()
        path = os.pathsep.join(filter(None, [_SOURCES, os.environ.get("PYTHONPATH")]))
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "serve.ensembles.nursery", str(theirs.fileno()), str(memory_bytes)],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env={**os.environ, **_ONE_THREAD, "PYTHONPATH": path},
            )
        self._control.settimeout(start_timeout_s)
        if self._receive(len(READY)) != READY:
            self.close()
            raise EngineUnavailable("the worker processes did not start")

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def fork(self) -> tuple[int, socket.socket]:
        """(pid, our end of the socket) of a new worker."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                socket.send_fds(self._control, [b"fork"], [theirs.fileno()])
            return LENGTH.unpack(self._receive(LENGTH.size))[0], ours
        except (OSError, EngineUnavailable):
            ours.close()
            raise EngineUnavailable("the process that starts workers has ended") from None

    def close(self) -> None:
        self._control.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _receive(self, count: int) -> bytes:
        try:
            data = self._control.recv(count, socket.MSG_WAITALL)
        except OSError:
            data = b""
        if len(data) != count:
            self.close()
            raise EngineUnavailable("the worker processes did not start")
        return data


class _Worker:
    def __init__(self, pid: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.pid = pid
        self._reader = reader
        self._writer = writer
        try:
            self._handle: int | None = os.pidfd_open(pid)
        except ProcessLookupError:
            self._handle = None

    @classmethod
    async def connect(cls, pid: int, connection: socket.socket) -> _Worker:
        connection.setblocking(False)
        return cls(pid, *await asyncio.open_unix_connection(sock=connection, limit=1 << 20))

    @property
    def alive(self) -> bool:
        return self._handle is not None and not select.select([self._handle], [], [], 0)[0]

    async def ask(self, message: bytes) -> tuple[str, Any]:
        try:
            self._writer.write(LENGTH.pack(len(message)))
            self._writer.write(message)
            await self._writer.drain()
            (length,) = LENGTH.unpack(await self._reader.readexactly(LENGTH.size))
            answer = await self._reader.readexactly(length)
        except (asyncio.IncompleteReadError, OSError):
            raise _WorkerLost from None
        return pickle.loads(answer)  # type: ignore[no-any-return]  # noqa: S301 (from our own child)

    def kill(self) -> None:
        self._writer.close()
        if self._handle is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._handle, signal.SIGKILL)
            os.close(self._handle)
            self._handle = None
