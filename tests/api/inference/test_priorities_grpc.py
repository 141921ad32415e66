"""Priority over gRPC, by metadata and by parameter: higher priorities run first and are not shed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from hops.hop import STEPS, Hop
from hops.loop_doors import loop_doors
from standin import StandIn
from tritonclient.grpc import service_pb2 as pb
from waiting import until

from serve.api.inference.grpc_messages import set_parameters

HEALTH = ("/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready")
LOW, NORMAL, HIGH = ("low", 3), ("normal", 2), ("high", 1)
EVERY_WAY = pytest.mark.parametrize("way", ["metadata", "parameter"])
EVERY_METHOD = pytest.mark.parametrize("method", ["ModelInfer", "ModelStreamInfer"])
StatusTask = asyncio.Task[str]


class Doors:
    def __init__(self, hop: Hop, http: Any, stub: Any) -> None:
        self.hop = hop
        self.http = http
        self.grpc = stub
        self.tasks: list[StatusTask] = []

    async def occupy(self) -> None:
        """Occupies the only slot until the end."""
        body = {"prompt": "red apple", "steps": STEPS, "seed": 0}
        self.tasks.append(asyncio.create_task(self.http.post("/api/diffusion/generate", json=body)))
        await self.hop.begun()

    def infer(self, method: str, way: str, priority: tuple[str, int], seed: int = 1) -> StatusTask:
        """The name of the resulting gRPC status."""
        word, level = priority
        request = pb.ModelInferRequest(model_name="illustrate")
        request.inputs.add(name="prompt", datatype="BYTES", shape=[1]).contents.bytes_contents.append(b"red apple")
        set_parameters(request, {"num_inference_steps": 1, "seed": seed})
        if way == "parameter":
            request.parameters["priority"].uint64_param = level  # as `tritonclient` does
        metadata = [("x-priority", word)] if way == "metadata" else []
        call = self._infer if method == "ModelInfer" else self._read
        self.tasks.append(asyncio.create_task(call(request, metadata)))
        return self.tasks[-1]

    async def _infer(self, request: Any, metadata: Any) -> str:
        try:
            await self.grpc.ModelInfer(request, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            metadata_ = dict(error.trailing_metadata() or ())
            assert 1 <= int(metadata_["retry-after"]) <= 60
            return str(error.code().name)
        return "OK"

    async def _read(self, request: Any, metadata: Any) -> str:
        answer = await self.grpc.ModelStreamInfer(iter([request]), metadata=metadata).read()
        metadata_ = answer.infer_response.parameters
        if not answer.error_message:
            return "OK"
        assert 1 <= metadata_["retry_after"].int64_param <= 60
        return str(metadata_["grpc_status"].string_param)

    async def waits(self, count: int) -> None:
        await until(lambda: self.hop.queue.queued == count)

    async def close(self) -> None:
        for one in self.tasks:
            one.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


@pytest.fixture
async def doors(tmp_path: Path) -> AsyncIterator[Doors]:
    hop = Hop(tmp_path)
    async with loop_doors(StandIn(), hop) as (http, stub), contextlib.AsyncExitStack() as closing:
        doors = Doors(hop, http, stub)
        closing.push_async_callback(doors.close)
        yield doors


@EVERY_WAY
@EVERY_METHOD
async def test_higher_priority_runs_first(doors: Doors, method: str, way: str) -> None:
    await doors.occupy()
    tasks = []
    for seed, priority in enumerate((LOW, NORMAL, HIGH), 1):
        tasks.append(doors.infer(method, way, priority, seed))
        await doors.waits(seed)
    doors.tasks[0].cancel()
    assert await asyncio.gather(*tasks) == ["OK"] * 3
    assert doors.hop.order == [0, 3, 2, 1]


@EVERY_WAY
@EVERY_METHOD
async def test_full_queue_sheds_the_lowest_priority(doors: Doors, method: str, way: str) -> None:
    """The shed request gets `retry-after` immediately. Health stays green."""
    await doors.occupy()
    waiting = []
    for count, priority in enumerate((NORMAL, LOW, LOW, LOW), 1):
        waiting.append(doors.infer(method, way, priority))
        await doors.waits(count)
    assert await doors.infer(method, way, LOW) == "UNAVAILABLE"
    urgent = doors.infer(method, way, HIGH)
    assert await waiting[-1] == "UNAVAILABLE"
    assert (await doors.grpc.ServerReady(pb.ServerReadyRequest())).ready
    for path in HEALTH:
        assert (await doors.http.get(path)).status_code == 200
    assert not any(one.done() for one in (doors.tasks[0], urgent, *waiting[:-1]))
