"""`CallServer`: calls of a replica's ensemble from processes of its own machine, past Ray Serve.

A call of Ray Serve takes its router, a pickled tree and a gRPC stream, in both processes: several milliseconds of
processor time. Here it is one frame each way on a Unix socket: a header with the length and the number of the call,
then MessagePack of a closed set of types (`serve.ensembles.vectorizer.worker_protocol`). An empty frame of a caller
cancels its call; one of the server says that the call was not made, and that of `CLOSING` that none will be.

The socket has no file, only a random name, and takes callers of the same user alone.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import secrets
import socket
import struct
from dataclasses import dataclass
from typing import Any, cast

from serve.cluster.hop.address_lookup import Call
from serve.engines.service import machine_id
from serve.ensembles.vectorizer.worker_protocol import Malformed, pack, unpack

LOGGER = logging.getLogger(__name__)

CALL_ADDRESS = "call_address"
"""The replica's method that returns a `CallAddress`, or None; through Ray Serve alone."""
METHODS = ("vectorize", "analyze")
"""Those that can be called: their arguments and results are of the types that `pack` takes."""
CLOSING = 0
"""The number of a call that no caller makes."""
_HEADER = struct.Struct("<QQ")
_CREDENTIALS = struct.Struct("3i")
_BACKLOG = 64


@dataclass(frozen=True)
class CallAddress:
    """``machine``: where ``name``, of an abstract Unix socket, can be reached."""

    machine: str
    name: str

    @property
    def path(self) -> str:
        return f"\0{self.name}"

    def connect(self) -> socket.socket:
        """A connection, which does not block. Raises OSError."""
        connection = _socket()
        try:
            connection.connect(self.path)  # at once, or not at all
        except OSError:
            connection.close()
            raise
        return connection


class Frames(asyncio.Protocol):
    """One end of a connection. Frames above ``max_bytes`` end it."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._received = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are of no class of asyncio's

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None

    def data_received(self, data: bytes) -> None:
        received, at = self._received, 0
        received += data
        while self._transport is not None and len(received) >= at + _HEADER.size:
            length, number = _HEADER.unpack_from(received, at)
            end = at + _HEADER.size + length
            if length > self._max_bytes:
                self.abort()
            if len(received) < end:
                break
            self.frame_received(number, bytes(memoryview(received)[at + _HEADER.size : end]))
            at = end
        del received[:at]

    def frame_received(self, number: int, body: bytes) -> None:
        raise NotImplementedError

    def send(self, number: int, body: bytes = b"") -> None:
        """Nothing on a connection that is lost."""
        if self._transport is not None:
            self._transport.writelines((_HEADER.pack(len(body), number), body))

    def close(self) -> None:
        """Once what was sent is written."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()
            self._transport = None


class _Connection(Frames):
    """A caller's connection; the end of it cancels its calls."""

    def __init__(self, server: CallServer, max_bytes: int) -> None:
        super().__init__(max_bytes)
        self._server = server
        self._calls: dict[int, asyncio.Task[None]] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if _user_of(transport) != os.getuid():
            LOGGER.warning("refused a caller of another user")
            self.abort()
            return
        self._server.connections.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self._server.connections.discard(self)
        for call in self._calls.values():
            call.cancel()

    def frame_received(self, number: int, body: bytes) -> None:
        if not body:
            if (call := self._calls.get(number)) is not None:
                call.cancel()
        elif self._server.closing:
            self.send(number)
        else:
            # A context of its own: nothing of the call that this connection served before.
            task = asyncio.create_task(self._serve(number, body), context=contextvars.Context())
            self._calls[number] = task
            task.add_done_callback(lambda _: self._calls.pop(number, None))

    async def _serve(self, number: int, body: bytes) -> None:
        try:
            method, carrier, arguments, urgency = unpack(body)
            if method not in METHODS:
                raise Malformed("no method to call")
        except (Malformed, ValueError, TypeError):
            LOGGER.exception("a caller sent what is no call")
            self.abort()
            return
        value = await self._server.call(method, carrier, *arguments, urgency=urgency)
        try:
            answer = pack(value)
        except (TypeError, ValueError):
            LOGGER.exception("the result of %s does not travel in a frame", method)
            answer = b""
        self.send(number, answer)

    def running(self) -> list[asyncio.Task[None]]:
        return list(self._calls.values())


class CallServer:
    """For one event loop; `start` it, and `close` it. ``call`` is `Replica.call`, which raises nothing but
    cancellation."""

    def __init__(self, call: Call, max_bytes: int) -> None:
        """``max_bytes``: of a frame."""
        self.call = call
        self.address = CallAddress(machine_id(), f"atelier-{secrets.token_hex(16)}")
        self.connections: set[_Connection] = set()
        self.closing = False
        self._max_bytes = max_bytes
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        listener = _socket()  # uvloop knows no abstract names
        listener.bind(self.address.path)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(
            lambda: _Connection(self, self._max_bytes), sock=listener, backlog=_BACKLOG
        )

    async def close(self, timeout_s: float) -> None:
        """Refuses further calls, lets those that run end within ``timeout_s``, and ends the connections."""
        self.closing = True
        if self._server is not None:
            self._server.close()
        for connection in self.connections:
            connection.send(CLOSING)
        if running := [call for connection in self.connections for call in connection.running()]:
            await asyncio.wait(running, timeout=timeout_s)
        for connection in list(self.connections):
            connection.close()


def _socket() -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.setblocking(False)
    return made


def _user_of(transport: asyncio.BaseTransport) -> int:
    """The user id of the process at the other end."""
    own: Any = transport.get_extra_info("socket")
    with socket.socket(fileno=os.dup(own.fileno())) as peer:
        credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    user: int = _CREDENTIALS.unpack(credentials)[1]
    return user
