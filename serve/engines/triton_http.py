"""`TritonHttp`: inferences on a Triton of this machine over its HTTP endpoint.

An inference costs a Python client of gRPC more than twice the processor time of one that writes to a socket
(`loadtests.benchmarks.engine_client`). An inference whose connection fails here is repeated over gRPC by
`serve.engines.client.EngineClient`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from numpy.typing import NDArray

from serve.engines import tensors
from serve.errors import EngineUnavailable
from serve.observability import tracing

MAX_HEAD_BYTES = 16 * 1024
CONNECT_TIMEOUT_S = 2.0
HEADER_LENGTH = "Inference-Header-Content-Length"
KEY_HEADER = "Atelier-Triton-Key"
"""Every request carries the key of its Triton in it. Browsers send no header of this name to another origin."""


@dataclass(frozen=True, slots=True)
class Answer:
    """``json_bytes``: length of the JSON at the begin of ``body``, before the tensors."""

    status: int
    json_bytes: int
    body: bytes

    def arrays(self, engine: str) -> dict[str, NDArray[Any]]:
        """The outputs by name: read-only views of the body. Raises EngineUnavailable if contents do not match their
        shape, as `tensors.arrays`."""
        rest, found = memoryview(self.body)[self.json_bytes :], {}
        try:
            for output in json.loads(self.body[: self.json_bytes])["outputs"]:
                size, datatype = output["parameters"]["binary_data_size"], output["datatype"]
                raw = rest[:size] if datatype != "BYTES" else bytes(rest[:size])
                found[output["name"]] = tensors.decode(raw, datatype, output["shape"])
                rest = rest[size:]
        except (ValueError, KeyError, TypeError) as error:
            raise EngineUnavailable(f"engine '{engine}' gave an answer that is not whole: {error}") from None
        return found


class TritonHttp:
    """For one event loop. ``address``: host:port; ``key``: see KEY_HEADER, empty for none. ``on_failure`` is called
    with the engine and Triton's text as soon as a failure arrives, before any caller gets it. Connections are kept and
    reused; each carries one request."""

    def __init__(self, address: str, on_failure: Callable[[str, str], None], max_bytes: int, key: str = "") -> None:
        self._host, _, port = address.rpartition(":")
        self._port = int(port)
        self._on_failure = on_failure
        self._max_bytes = max_bytes
        self._key = key
        self._free: list[_Connection] = []
        self._open: set[_Connection] = set()
        self._closed = False
        self.retired = False
        """Whether no further inference is to be sent."""

    async def send(
        self,
        engine: str,
        inputs: Mapping[str, NDArray[Any]],
        outputs: Sequence[str] | None,
        version: str,
        *,
        connect_s: float,
        max_s: float,
    ) -> asyncio.Future[Answer]:
        """Sends an inference. The future raises OSError if the connection ends, at the latest after ``max_s``;
        cancelling it changes nothing in Triton. Raises OSError, also if there is no connection within ``connect_s``
        or CONNECT_TIMEOUT_S, and InvalidRequest for an unsupported type."""
        message = request(engine, inputs, outputs, version, self._key)
        connection = self._free.pop() if self._free else await self._connect(connect_s)
        return connection.send(engine, message, max_s)

    def retire(self) -> None:
        """Closes each connection once it is free."""
        self.retired = True
        while self._free:
            self._free.pop().close()

    def close(self) -> None:
        """Ends every connection, also those in use."""
        self.retired = self._closed = True
        for connection in tuple(self._open):
            connection.abort()

    async def _connect(self, timeout_s: float) -> _Connection:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(min(timeout_s, CONNECT_TIMEOUT_S)):
            _, connection = await loop.create_connection(lambda: _Connection(self), self._host, self._port)
        if self._closed:
            connection.abort()
            raise ConnectionAbortedError("closed meanwhile")
        return connection

    def made(self, connection: _Connection) -> None:
        self._open.add(connection)

    def release(self, connection: _Connection) -> None:
        if self.retired:
            connection.close()
        else:
            self._free.append(connection)

    def lost(self, connection: _Connection) -> None:
        self._open.discard(connection)
        if connection in self._free:
            self._free.remove(connection)


class _Connection(asyncio.Protocol):
    def __init__(self, owner: TritonHttp) -> None:
        self._owner = owner
        self._transport: asyncio.Transport
        self._engine = ""
        self._future: asyncio.Future[Answer] | None = None
        self._end_timer: asyncio.TimerHandle | None = None
        self._received = bytearray()
        self._body_at = self._end = self._json_bytes = self._status = 0

    def send(self, engine: str, message: bytes, max_s: float) -> asyncio.Future[Answer]:
        loop = asyncio.get_running_loop()
        self._engine, self._future = engine, loop.create_future()
        self._end_timer = loop.call_later(max_s, self.abort)
        self._transport.write(message)
        return self._future

    def close(self) -> None:
        self._transport.close()

    def abort(self) -> None:
        self._transport.abort()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._owner.made(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._owner.lost(self)
        self._stop_timer()
        future, self._future = self._future, None
        if future is not None and not future.done():
            future.set_exception(error if isinstance(error, OSError) else ConnectionResetError("Triton is gone"))
            future.exception()  # nobody may wait for it any more: asyncio would log it

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._future is None or (not self._end and not self._read_head()):
            self._transport.abort()  # nothing was asked, or it is not HTTP as Triton speaks it
        elif self._end and len(self._received) >= self._end:
            self._complete(self._future)

    def _read_head(self) -> bool:
        """Whether the head is still incomplete, or was read."""
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return len(self._received) <= MAX_HEAD_BYTES
        lines = bytes(self._received[:end]).lower().split(b"\r\n")
        headers = dict(line.split(b":", 1) for line in lines[1:] if b":" in line)
        try:
            self._status = int(lines[0][9:12])
            size = int(headers[b"content-length"])
            self._json_bytes = int(headers.get(HEADER_LENGTH.lower().encode(), size))
        except (KeyError, ValueError):
            return False
        self._body_at, self._end = end + 4, end + 4 + size
        return size <= self._owner._max_bytes

    def _stop_timer(self) -> None:
        if self._end_timer is not None:
            self._end_timer.cancel()
            self._end_timer = None

    def _complete(self, future: asyncio.Future[Answer]) -> None:
        answer = Answer(self._status, self._json_bytes, bytes(self._received[self._body_at : self._end]))
        self._received.clear()
        self._future, self._end = None, 0
        self._stop_timer()
        if answer.status != 200:
            self._owner._on_failure(self._engine, answer.body.decode(errors="replace"))
        if not future.done():
            future.set_result(answer)
        self._owner.release(self)


def request(
    engine: str, inputs: Mapping[str, NDArray[Any]], outputs: Sequence[str] | None, version: str, key: str
) -> bytes:
    """The bytes of an inference, whose outputs are to be binary."""
    entries, raw = [], []
    for name, array in inputs.items():
        raw.append(tensors.encode(array))
        parameters = {"binary_data_size": len(raw[-1])}
        kind = tensors.datatype(array, name)
        entries.append({"name": name, "datatype": kind, "shape": array.shape, "parameters": parameters})
    document: dict[str, Any] = {"id": tracing.current().request_id, "inputs": entries}
    if outputs:
        document["outputs"] = [{"name": name, "parameters": {"binary_data": True}} for name in outputs]
    else:
        document["parameters"] = {"binary_data_output": True}
    head = json.dumps(document).encode()
    path = f"/v2/models/{quote(engine, safe='')}"
    if version:
        path += f"/versions/{quote(version, safe='')}"
    lines = [
        f"POST {path}/infer HTTP/1.1",
        "Host: triton",
        f"Content-Length: {len(head) + sum(map(len, raw))}",
        f"{HEADER_LENGTH}: {len(head)}",
        *([f"{KEY_HEADER}: {key}"] if key else ()),
        *(f"{name}: {value}" for name, value in tracing.metadata() or ()),
        "\r\n",
    ]
    return b"".join(["\r\n".join(lines).encode(), head, *raw])
