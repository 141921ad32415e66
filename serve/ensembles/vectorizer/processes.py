"""The owner's side of worker processes: the fork server's control socket, and one worker with its socket."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
from typing import Any

from serve.ensembles.vectorizer.fork_server import LENGTH, READY
from serve.ensembles.vectorizer.worker_protocol import Malformed, unpack
from serve.errors import EngineUnavailable
from serve.settings import python_environment

_FORK_SERVER = "serve.ensembles.vectorizer.fork_server"
_ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")}


class WorkerLost(Exception):
    """The worker's socket closed during a task, or its response is invalid."""


class ForkServer:
    """Controls `serve.ensembles.vectorizer.fork_server`. Methods block: call them in a thread."""

    def __init__(self, memory_bytes: int, start_timeout_s: float) -> None:
        self._control, remote = socket.socketpair()
        with remote:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", _FORK_SERVER, str(remote.fileno()), str(memory_bytes)],
                pass_fds=[remote.fileno()],
                stdin=subprocess.DEVNULL,
                env={**python_environment(), **_ONE_THREAD},
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
        local, remote = socket.socketpair()
        try:
            with remote:
                socket.send_fds(self._control, [b"fork"], [remote.fileno()])
            return LENGTH.unpack(self._receive(LENGTH.size))[0], local
        except (OSError, EngineUnavailable):
            local.close()
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


class WorkerProcess:
    def __init__(self, pid: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.pid = pid
        self._reader = reader
        self._writer = writer
        try:
            self._handle: int | None = os.pidfd_open(pid)
        except ProcessLookupError:
            self._handle = None

    @classmethod
    async def connect(cls, pid: int, connection: socket.socket) -> WorkerProcess:
        connection.setblocking(False)
        return cls(pid, *await asyncio.open_unix_connection(sock=connection, limit=1 << 20))

    @property
    def alive(self) -> bool:
        if self._handle is None:
            return False
        poll = select.poll()  # select.select does not support descriptors from 1024 on
        poll.register(self._handle, select.POLLIN)
        return not poll.poll(0)

    async def ask(self, message: bytes) -> tuple[str, Any, float]:
        """(kind, value, CPU seconds); see `serve.ensembles.vectorizer.fork_server`."""
        try:
            self._writer.write(LENGTH.pack(len(message)))
            self._writer.write(message)
            await self._writer.drain()
            (length,) = LENGTH.unpack(await self._reader.readexactly(LENGTH.size))
            answer = await self._reader.readexactly(length)
        except (asyncio.IncompleteReadError, OSError):
            raise WorkerLost from None
        return _read(answer)

    def kill(self) -> None:
        self._writer.close()
        if self._handle is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._handle, signal.SIGKILL)
            os.close(self._handle)
            self._handle = None


def _read(answer: bytes) -> tuple[str, Any, float]:
    try:
        outcome = unpack(answer)
    except Malformed as error:
        raise WorkerLost from error
    match outcome:
        case (str(kind), value, float(cpu_s)):
            return kind, value, cpu_s
    raise WorkerLost
