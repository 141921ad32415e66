"""gRPC's two words for urgency, metadata and the parameter: the urgent go first, and the others give way."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from hop import STEPS, Hop
from loop_doors import loop_doors
from standin import StandIn
from tritonclient.grpc import service_pb2 as pb
from waiting import until

from serve.api.inference.grpc_messages import set_parameters

HEALTH = ("/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready")
LOW, NORMAL, HIGH = ("low", 3), ("normal", 2), ("high", 1)
EVERY_WAY = pytest.mark.parametrize("way", ["metadata", "parameter"])
EVERY_METHOD = pytest.mark.parametrize("method", ["ModelInfer", "ModelStreamInfer"])
Asked = asyncio.Task[str]


class Doors:
    def __init__(self, hop: Hop, http: Any, stub: Any) -> None:
        self.hop = hop
        self.http = http
        self.grpc = stub
        self.asked: list[Asked] = []

    async def occupy(self) -> None:
        """The one place, until the end."""
        body = {"prompt": "red apple", "steps": STEPS, "seed": 0}
        self.asked.append(asyncio.create_task(self.http.post("/api/diffusion/generate", json=body)))
        await self.hop.begun()

    def ask(self, method: str, way: str, priority: tuple[str, int], seed: int = 1) -> Asked:
        """The name of the status that is told."""
        word, level = priority
        request = pb.ModelInferRequest(model_name="illustrate")
        request.inputs.add(name="prompt", datatype="BYTES", shape=[1]).contents.bytes_contents.append(b"red apple")
        set_parameters(request, {"num_inference_steps": 1, "seed": seed})
        if way == "parameter":
            request.parameters["priority"].uint64_param = level  # as `tritonclient` does
        metadata = [("x-priority", word)] if way == "metadata" else []
        call = self._infer if method == "ModelInfer" else self._read
        self.asked.append(asyncio.create_task(call(request, metadata)))
        return self.asked[-1]

    async def _infer(self, request: Any, metadata: Any) -> str:
        try:
            await self.grpc.ModelInfer(request, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            told = dict(error.trailing_metadata() or ())
            assert 1 <= int(told["retry-after"]) <= 60
            return str(error.code().name)
        return "OK"

    async def _read(self, request: Any, metadata: Any) -> str:
        answer = await self.grpc.ModelStreamInfer(iter([request]), metadata=metadata).read()
        told = answer.infer_response.parameters
        if not answer.error_message:
            return "OK"
        assert 1 <= told["retry_after"].int64_param <= 60
        return str(told["grpc_status"].string_param)

    async def waits(self, count: int) -> None:
        await until(lambda: self.hop.turns.queued == count)

    async def close(self) -> None:
        for one in self.asked:
            one.cancel()
        await asyncio.gather(*self.asked, return_exceptions=True)


@pytest.fixture
async def doors(tmp_path: Path) -> AsyncIterator[Doors]:
    hop = Hop(tmp_path)
    async with loop_doors(StandIn(), hop) as (http, stub), contextlib.AsyncExitStack() as closing:
        doors = Doors(hop, http, stub)
        closing.push_async_callback(doors.close)
        yield doors


@EVERY_WAY
@EVERY_METHOD
async def test_the_urgent_go_first(doors: Doors, method: str, way: str) -> None:
    await doors.occupy()
    asked = []
    for seed, priority in enumerate((LOW, NORMAL, HIGH), 1):
        asked.append(doors.ask(method, way, priority, seed))
        await doors.waits(seed)
    doors.asked[0].cancel()
    assert await asyncio.gather(*asked) == ["OK"] * 3
    assert doors.hop.order == [0, 3, 2, 1]


@EVERY_WAY
@EVERY_METHOD
async def test_a_full_queue_sheds_the_less_urgent(doors: Doors, method: str, way: str) -> None:
    """Who gives way is told when to come again, at once. Health stays green."""
    await doors.occupy()
    waiting = []
    for count, priority in enumerate((NORMAL, LOW, LOW, LOW), 1):
        waiting.append(doors.ask(method, way, priority))
        await doors.waits(count)
    assert await doors.ask(method, way, LOW) == "UNAVAILABLE"
    urgent = doors.ask(method, way, HIGH)
    assert await waiting[-1] == "UNAVAILABLE"
    assert (await doors.grpc.ServerReady(pb.ServerReadyRequest())).ready
    for path in HEALTH:
        assert (await doors.http.get(path)).status_code == 200
    assert not any(one.done() for one in (doors.asked[0], urgent, *waiting[:-1]))
