"""Triton's HTTP endpoint as `EngineClient` uses it: connections that end, late answers, lost stubs. No Triton."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import numpy as np
import pytest
from waiting import until

from serve.engines.client import EngineClient
from serve.engines.triton_http import HEADER_LENGTH, TritonHttp
from serve.errors import DeadlineExceeded, EngineUnavailable

X = {"x": np.arange(6, dtype=np.float32).reshape(2, 3)}
STUB_LOST = '{"error":"Stub process \'a_0\' is not healthy."}'


class Endpoint:
    """Answers each request with its own tensor, in ``pieces`` writes; waits while ``holds``."""

    def __init__(self) -> None:
        self.address = ""
        self.connections = self.requests = 0
        self.pieces = 1
        self.holds = self.breaks = self.ends = False
        self.error = ""
        self.left: list[int] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                headers = dict(line.split(": ") for line in head.split("\r\n")[1:-2])
                body = await reader.readexactly(int(headers["content-length"]))
                self.requests += 1
                await until(lambda: not self.holds, 60)
                if self.ends:
                    return
                answer = self._answer(body[int(headers[HEADER_LENGTH.lower()]) :])
                if self.breaks:
                    writer.write(answer[:-4])
                    return
                for at in range(0, len(answer), -(-len(answer) // self.pieces)):
                    writer.write(answer[at : at - (-len(answer) // self.pieces)])
                    await writer.drain()
                    await asyncio.sleep(0)
        except asyncio.IncompleteReadError:
            self.left.append(number)
        finally:
            writer.close()

    def _answer(self, tensor: bytes) -> bytes:
        if self.error:
            lines = ["HTTP/1.1 500 Internal Server Error", f"Content-Length: {len(self.error)}", "\r\n"]
            return "\r\n".join(lines).encode() + self.error.encode()
        output = {"name": "y", "datatype": "FP32", "shape": [2, 3], "parameters": {"binary_data_size": len(tensor)}}
        text = json.dumps({"model_name": "a", "outputs": [output]}).encode()
        size = f"Content-Length: {len(text) + len(tensor)}"
        head = ["HTTP/1.1 200 OK", f"{HEADER_LENGTH}: {len(text)}", size, "\r\n"]
        return "\r\n".join(head).encode() + text + tensor


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    endpoint = Endpoint()
    server = await asyncio.start_server(endpoint.serve, "127.0.0.1", 0)
    endpoint.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield endpoint
    endpoint.holds = False
    server.close()


@pytest.fixture
async def client(endpoint: Endpoint) -> AsyncIterator[EngineClient]:
    """Its gRPC address refuses connections."""
    client = EngineClient("127.0.0.1:1", timeout_s=20.0)
    client.use_http(endpoint.address)
    yield client
    await client.close()


@pytest.mark.parametrize("pieces", [1, 2, 7, 400])
async def test_answers_come_in_any_pieces_over_one_connection(
    endpoint: Endpoint, client: EngineClient, pieces: int
) -> None:
    endpoint.pieces = pieces
    for _ in range(3):
        assert np.array_equal((await client.infer("a", X))["y"], X["x"])
    assert endpoint.connections == 1


async def test_each_request_in_work_has_its_own_connection(endpoint: Endpoint, client: EngineClient) -> None:
    endpoint.holds = True
    rows = [{"x": np.full((2, 3), value, np.float32)} for value in range(4)]
    calls = [asyncio.create_task(client.infer("a", row)) for row in rows]
    await until(lambda: endpoint.requests == 4, 60)
    endpoint.holds = False
    for row, answer in zip(rows, await asyncio.gather(*calls), strict=True):
        assert np.array_equal(answer["y"], row["x"])


async def test_late_answer_reaches_nobody_else(endpoint: Endpoint, client: EngineClient) -> None:
    """A connection is free again once the answer is there that nobody waits for."""
    endpoint.holds = True
    with pytest.raises(DeadlineExceeded):
        await client.infer("a", {"x": np.zeros((2, 3), np.float32)}, timeout_s=0.05)
    assert client.is_working("a")
    second = asyncio.create_task(client.infer("a", X))
    await until(lambda: endpoint.requests == 2, 60)
    endpoint.holds = False
    assert np.array_equal((await second)["y"], X["x"])
    await until(lambda: not client.is_working("a"), 60)
    assert endpoint.connections == 2


@pytest.mark.parametrize("how", ["ends", "breaks"])
async def test_connection_that_ends_is_repeated_over_grpc(endpoint: Endpoint, client: EngineClient, how: str) -> None:
    """Here nothing answers that, either."""
    setattr(endpoint, how, True)
    with pytest.raises(EngineUnavailable, match="'a' does not answer"):
        await client.infer("a", X, timeout_s=20)
    setattr(endpoint, how, False)
    assert await client.infer("a", X)


async def test_lost_stub_is_reported_before_any_caller_gets_an_answer(endpoint: Endpoint, client: EngineClient) -> None:
    lost: list[str] = []

    def report(engine: str) -> None:
        lost.append(engine)
        client.restart_reason = "a stub is lost"

    client.on_stub_lost = report
    endpoint.holds, endpoint.error = True, STUB_LOST
    calls = [asyncio.create_task(client.infer("a", X)) for _ in range(3)]
    await until(lambda: endpoint.requests == 3, 60)
    endpoint.holds = False
    failed = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(error, EngineUnavailable) and "restarted" in str(error) for error in failed)
    assert lost[0] == "a"


async def test_retired_connections_are_closed_once_they_are_free(endpoint: Endpoint) -> None:
    http = TritonHttp(endpoint.address, lambda *_: None, 1 << 20)
    await (await http.send("a", X, None, ""))
    endpoint.holds = True
    first, second = await http.send("a", X, None, ""), await http.send("a", X, None, "")
    endpoint.holds = False
    await first
    await until(lambda: second.done(), 60)
    http.retire()
    await until(lambda: len(endpoint.left) == 2, 60)
