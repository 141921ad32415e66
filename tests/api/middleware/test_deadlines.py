"""Every endpoint, every way to end a request: the slot is free within a step, and a missed deadline is reported
(D-052)."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio
import httpx
import pytest
from hops.hop import STEPS, Hop
from hops.loop_doors import is_late, loop_doors
from standin import StandIn
from tritonclient.grpc import service_pb2 as pb

from serve.api.inference.grpc_messages import set_parameters
from serve.api.middleware.deadlines import read_context
from serve.errors import Forbidden
from serve.observability.request_context import Priority
from serve.security.identity.roles import LINK, LOCAL
from serve.settings import GatewaySettings

LATE_S = 0.8
HEALTH = ("/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready")
DRAWN = {"prompt": "red apple", "steps": STEPS}
INFERRED = {"prompt": "red apple", "num_inference_steps": STEPS}
TENSORS = {
    "inputs": [{"name": "prompt", "shape": [1], "datatype": "BYTES", "data": ["red apple"]}],
    "parameters": {"num_inference_steps": STEPS},
}
DOORS: dict[str, tuple[str, dict[str, Any]]] = {
    "native": ("/generate", {**DRAWN, "user_id": "ada"}),
    "illustrations": ("/api/illustrations/generate", {**DRAWN, "userId": "ada"}),
    "diffusion": ("/api/diffusion/generate", DRAWN),
    "openai": ("/v1/images/generations", DRAWN),
    "openai stream": ("/v1/images/generations", {**DRAWN, "stream": True, "partial_images": 1}),
    "a1111": ("/sdapi/v1/txt2img", {"prompt": "red apple", "steps": 150}),
    "kserve": ("/v2/models/illustrate/generate", INFERRED),
    "kserve infer": ("/v2/models/illustrate/infer", TENSORS),
    "kserve stream": ("/v2/models/illustrate/generate_stream", INFERRED),
}


class Doors:
    def __init__(self, hop: Hop, service: StandIn, http: httpx.AsyncClient, stub: Any) -> None:
        self.hop = hop
        self.service = service
        self.http = http
        self.grpc = stub

    async def post(self, door: str, **headers: str) -> httpx.Response:
        path, body = DOORS[door]
        return await self.http.post(path, json=body, headers={"Cache-Control": "no-store", **headers})

    async def is_free(self) -> bool:
        """The next request gets the slot and is drawn."""
        answer = await self.http.post("/api/diffusion/generate", json={**DRAWN, "steps": 1})
        return answer.status_code == 200


@pytest.fixture
async def doors(tmp_path: Path) -> AsyncIterator[Doors]:
    hop, service = Hop(tmp_path), StandIn()
    async with loop_doors(service, hop) as (http, stub):
        yield Doors(hop, service, http, stub)


@pytest.mark.parametrize("door", DOORS)
async def test_client_disconnect_frees_the_slot(doors: Doors, door: str) -> None:
    """Ray Serve cancels the task of the application."""
    pending = asyncio.create_task(doors.post(door))
    await doors.hop.begun()
    pending.cancel()
    await asyncio.gather(pending, return_exceptions=True)
    assert await doors.hop.stands_still()
    assert await doors.is_free()


@pytest.mark.parametrize("door", DOORS)
async def test_deadline_frees_the_slot_and_is_reported(doors: Doors, door: str) -> None:
    began = time.monotonic()
    answer = await doors.post(door, **{"X-Request-Timeout": str(LATE_S)})
    assert time.monotonic() - began >= LATE_S
    assert is_late(answer)
    assert doors.hop.engines.steps < 100
    assert await doors.hop.stands_still()
    assert await doors.is_free()


@pytest.mark.parametrize("door", DOORS)
async def test_request_queued_past_its_deadline_never_starts(doors: Doors, door: str) -> None:
    first = asyncio.create_task(doors.post("native"))
    await doors.hop.begun()
    answer = await doors.post(door, **{"X-Request-Timeout": str(LATE_S)})
    assert is_late(answer)
    assert doors.hop.queue.queued == 0
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert await doors.hop.stands_still()


@pytest.mark.parametrize("method", ["generate", "infer"])
async def test_protocol_timeout_includes_queueing(doors: Doors, method: str) -> None:
    first = asyncio.create_task(doors.post("native"))
    await doors.hop.begun()
    timeout = {"timeout": 200_000}
    body = {**INFERRED, **timeout} if method == "generate" else {**TENSORS, "parameters": timeout}
    answer = await doors.http.post(f"/v2/models/illustrate/{method}", json=body)
    assert is_late(answer)
    assert doors.hop.queue.queued == 0
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)


async def test_interrupt_frees_the_slot(doors: Doors) -> None:
    pending = asyncio.create_task(doors.post("a1111"))
    await doors.hop.begun()
    assert (await doors.http.post("/sdapi/v1/interrupt")).status_code == 200
    assert (await pending).status_code == 499
    assert await doors.hop.stands_still()


async def test_conversion_without_state_ends_at_its_deadline(doors: Doors, logo: bytes) -> None:
    """Conversions behind a complete gateway: `test_deadlines_conversions`."""
    doors.service.delay_s = 30.0
    for path in ("/api/convert", "/api/convert-ai"):
        answer = await doors.http.post(path, files={"image": logo}, headers={"X-Request-Timeout": "0.3"})
        assert is_late(answer)
    assert doors.service.cancelled == 2


@pytest.mark.parametrize("door", DOORS)
async def test_invalid_timeout_is_refused(doors: Doors, door: str) -> None:
    for value in ("0", "-1", "soon", "1e3", "", "3601", "nan", "0.0", "1,2", "9" * 40):
        answer = await doors.post(door, **{"X-Request-Timeout": value})
        assert answer.status_code == 400, value
        assert "X-Request-Timeout" in answer.text
    assert doors.hop.engines.steps == 0


async def test_invalid_priority_is_refused(doors: Doors) -> None:
    answer = await doors.post("native", **{"X-Priority": "urgent"})
    assert (answer.status_code, answer.json()["field"]) == (400, "X-Priority")
    twice = [("X-Priority", "low"), ("X-Priority", "high")]
    answer = await doors.http.post("/api/diffusion/generate", json=DRAWN, headers=twice)
    assert (answer.status_code, answer.json()["field"]) == (400, "X-Priority")
    for level in (-1, "high", True, 1.5):
        answer = await doors.http.post("/v2/models/illustrate/generate", json={**INFERRED, "priority": level})
        assert answer.status_code == 400
        assert answer.json()["error"].startswith("priority: ")
    assert doors.hop.engines.steps == 0


async def test_full_queue_sheds_the_lowest_priority(doors: Doors) -> None:
    """Priorities in the syntax of each endpoint. The shed request gets Retry-After immediately. Health stays green."""
    first = asyncio.create_task(doors.post("native"))
    await doors.hop.begun()
    waiting = [asyncio.create_task(doors.post("openai", **{"X-Priority": word})) for word in ("normal", "low", "low")]
    body = {**INFERRED, "priority": 3}
    waiting.append(asyncio.create_task(doors.http.post("/v2/models/illustrate/generate", json=body)))
    while doors.hop.queue.queued < 4:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    full = await doors.post("diffusion", **{"X-Priority": "low"})
    assert (full.status_code, 1 <= int(full.headers["retry-after"]) <= 60) == (503, True)
    urgent = asyncio.create_task(doors.http.post("/v2/models/illustrate/generate", json={**INFERRED, "priority": 1}))
    shed = await waiting[-1]
    assert (shed.status_code, "retry-after" in shed.headers) == (503, True)
    for path in HEALTH:
        assert (await doors.http.get(path)).status_code == 200
    assert (await doors.grpc.ServerReady(pb.ServerReadyRequest())).ready
    assert not any(one.done() for one in (first, urgent, *waiting[:3]))
    for one in (first, urgent, *waiting):
        one.cancel()
    await asyncio.gather(first, urgent, *waiting, return_exceptions=True)
    assert await doors.hop.stands_still()


def inference(**parameters: Any) -> Any:
    request = pb.ModelInferRequest(model_name="illustrate")
    request.inputs.add(name="prompt", datatype="BYTES", shape=[1]).contents.bytes_contents.append(b"red apple")
    set_parameters(request, {"num_inference_steps": STEPS, **parameters})
    return request


WAYS: dict[str, dict[str, Any]] = {
    "grpc-timeout": {"timeout": LATE_S},
    "metadata": {"metadata": [("x-request-timeout", str(LATE_S))]},
    "parameter": {},
}


@pytest.mark.parametrize("way", WAYS)
async def test_inference_deadline(doors: Doors, way: str) -> None:
    parameters = {"timeout": round(LATE_S * 1e6)} if way == "parameter" else {}
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await doors.grpc.ModelInfer(inference(**parameters), **WAYS[way])
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert doors.hop.engines.steps < STEPS
    assert await doors.hop.stands_still()
    assert await doors.is_free()


@pytest.mark.parametrize("way", WAYS)
async def test_stream_deadline(doors: Doors, way: str) -> None:
    """The last message of the stream reports the deadline, unless gRPC itself has ended the whole stream: the client
    has a timer of its own, and either may be first."""
    parameters = {"timeout": round(LATE_S * 1e6)} if way == "parameter" else {}
    call = doors.grpc.ModelStreamInfer(iter([inference(**parameters)]), **WAYS[way])
    try:
        answer = await call.read()
    except grpc.aio.AioRpcError as error:
        status, is_ended = error.code().name, True
    else:
        status, is_ended = answer.infer_response.parameters["grpc_status"].string_param, False
    assert status == "DEADLINE_EXCEEDED"
    assert is_ended <= (way == "grpc-timeout")
    assert await doors.hop.stands_still()
    assert await doors.is_free()


async def test_silent_stream_ends_at_its_deadline(doors: Doors) -> None:
    call = doors.grpc.ModelStreamInfer(metadata=[("x-request-timeout", "0.2")])
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await asyncio.wait_for(call.read(), 60)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_body_after_the_deadline(doors: Doors) -> None:
    async def slow() -> AsyncIterator[bytes]:
        for _ in range(600):
            yield b" "
            await asyncio.sleep(0.1)

    began = time.monotonic()
    answer = await doors.http.post("/generate", content=slow(), headers={"X-Request-Timeout": "0.3"})
    assert is_late(answer)
    assert time.monotonic() - began < 30


def test_high_priority_without_a_required_key_is_forbidden() -> None:
    headers = [(b"x-priority", b"high")]
    assert read_context(headers, 0.0, LOCAL, GatewaySettings()).priority is Priority.HIGH
    with pytest.raises(Forbidden):
        read_context(headers, 0.0, LINK, GatewaySettings())


@pytest.mark.parametrize("method", ["ModelInfer", "ModelStreamInfer"])
async def test_cancelled_call_frees_the_slot(doors: Doors, method: str) -> None:
    call = (
        doors.grpc.ModelInfer(inference())
        if method == "ModelInfer"
        else doors.grpc.ModelStreamInfer(iter([inference()]))
    )
    reading = asyncio.create_task(call.read()) if method == "ModelStreamInfer" else asyncio.ensure_future(call)
    await doors.hop.begun()
    call.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await reading
    assert await doors.hop.stands_still()
    assert await doors.is_free()


async def test_deadline_of_one_stream_request_does_not_affect_the_next(doors: Doors) -> None:
    requests = iter([inference(timeout=200_000), inference(num_inference_steps=2)])
    call = doors.grpc.ModelStreamInfer(requests)
    answers = [await call.read(), await call.read()]
    assert [bool(answer.error_message) for answer in answers] == [True, False]


@pytest.mark.parametrize("metadata", [("x-request-timeout", "soon"), ("x-priority", "urgent")])
async def test_invalid_metadata_is_refused(doors: Doors, metadata: tuple[str, str]) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await doors.grpc.ModelInfer(inference(), metadata=[metadata])
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert metadata[0] in (caught.value.details() or "").lower()
    assert doors.hop.engines.steps == 0
