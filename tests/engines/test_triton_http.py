"""Triton's HTTP endpoint as `EngineClient` uses it: connections that end, late answers, lost stubs. No Triton."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from waiting import until

from serve.engines import client as engines_client
from serve.engines.client import EngineClient
from serve.engines.triton_http import HEADER_LENGTH, TritonHttp
from serve.errors import (
    AtelierError,
    DeadlineExceeded,
    EngineFailure,
    EngineUnavailable,
    InvalidRequest,
    NotFound,
    Overloaded,
)
from serve.observability import tracing

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
        self.text: bytes | None = None
        self.status = 500
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
            lines = [f"HTTP/1.1 {self.status} Failed", f"Content-Length: {len(self.error)}", "\r\n"]
            return "\r\n".join(lines).encode() + self.error.encode()
        output = {"name": "y", "datatype": "FP32", "shape": [2, 3], "parameters": {"binary_data_size": len(tensor)}}
        text = self.text or json.dumps({"model_name": "a", "outputs": [output]}).encode()
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
    client = EngineClient("127.0.0.1:1", timeout_s=60.0)
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
    limits = {"connect_s": 60.0, "max_s": 60.0}
    await (await http.send("a", X, None, "", **limits))
    endpoint.holds = True
    first, second = [await http.send("a", X, None, "", **limits) for _ in range(2)]
    endpoint.holds = False
    await first
    await until(lambda: second.done(), 60)
    http.retire()
    await until(lambda: len(endpoint.left) == 2, 60)


@pytest.mark.parametrize(
    ("status", "text", "expected"),
    [
        (400, "unexpected inference input 'x' for model 'a'", InvalidRequest),
        (404, "Request for unknown model: 'a' is not found", NotFound),
        (500, "something broke", EngineFailure),
        (503, "Exceeds maximum queue size", Overloaded),
        (503, "Request timeout expired", DeadlineExceeded),
        (503, "the model is not ready", EngineUnavailable),
    ],
)
async def test_errors_are_those_of_grpc_without_a_repetition(
    endpoint: Endpoint, client: EngineClient, monkeypatch: pytest.MonkeyPatch, status: int, text: str, expected: type
) -> None:
    monkeypatch.setattr(client, "_infer", None)
    gone: list[str] = []
    client.on_unavailable = gone.append
    endpoint.status, endpoint.error = status, json.dumps({"error": text})
    with pytest.raises(AtelierError) as caught:
        await client.infer("a", X)
    assert type(caught.value) is expected
    assert gone == ["a"] * (expected is EngineUnavailable)


async def test_repetition_has_only_the_time_that_is_left(
    endpoint: Endpoint, client: EngineClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[float] = []

    async def infer(_engine: str, _inputs: Any, _request: Any, timeout_s: float) -> Any:
        limits.append(timeout_s)
        raise EngineUnavailable("gone")

    monkeypatch.setattr(client, "_infer", infer)
    endpoint.holds = endpoint.ends = True
    call = asyncio.create_task(client.infer("a", X, timeout_s=60))
    await until(lambda: endpoint.requests == 1, 60)
    began = time.monotonic()
    await until(lambda: time.monotonic() - began > 0.1)
    passed = time.monotonic() - began
    endpoint.holds = False
    with pytest.raises(EngineUnavailable):
        await call
    assert limits[0] <= 60 - passed


async def test_connecting_has_a_limit(client: EngineClient, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(*_arguments: Any, **_options: Any) -> Any:
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", hang)
    async with asyncio.timeout(60):
        with pytest.raises(DeadlineExceeded):
            await client.infer("a", X, timeout_s=0.05)


async def test_abandoned_inference_has_an_end(
    endpoint: Endpoint, client: EngineClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines_client, "MAX_ABANDONED_S", 0.1)
    endpoint.holds = True
    with pytest.raises(DeadlineExceeded):
        await client.infer("a", X, timeout_s=0.05)
    await until(lambda: not client.is_working("a"), 20)


async def test_close_ends_inferences_in_work(endpoint: Endpoint, client: EngineClient) -> None:
    endpoint.holds = True
    call = asyncio.create_task(client.infer("a", X))
    await until(lambda: endpoint.requests == 1, 60)
    await client.close()
    with pytest.raises(EngineUnavailable, match="was closed"):
        await call
    assert not client.is_working("a")


@pytest.mark.parametrize("text", [b"[]", b'{"outputs": 5}', b'{"outputs": [5]}', b"{}", b"{"])
async def test_answer_that_is_not_whole(endpoint: Endpoint, client: EngineClient, text: bytes) -> None:
    endpoint.text = text
    with pytest.raises(EngineUnavailable, match="not whole"):
        await client.infer("a", X)


async def test_trace_names_grpc_only_for_calls_over_grpc(
    endpoint: Endpoint, client: EngineClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    attributes: list[str] = []
    span = tracing.span
    monkeypatch.setattr(tracing, "note", lambda **given: attributes.extend(given))
    monkeypatch.setattr(tracing, "span", lambda *given, **named: attributes.extend(named) or span(*given, **named))
    await client.infer("a", X)
    assert "atelier__engine" in attributes
    assert "rpc__system__name" not in attributes
    endpoint.ends = True
    with pytest.raises(EngineUnavailable):
        await client.infer("a", X)
    assert "rpc__system__name" in attributes
