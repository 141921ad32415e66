"""Middleware before Ray Serve: slow bodies occupy no slot, and a full gateway responds in the error shape of the
path."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from standin import StandIn
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send
from test_door_limits import GrpcContext, question, streamed
from tritonclient.grpc import service_pb2 as pb
from waiting import until

from serve.api.app import answer, create_app
from serve.api.http.bodies import DRAINED, ENVELOPE_BYTES
from serve.api.inference.grpc import OpenInferenceServicer
from serve.api.inference.models import Models
from serve.api.middleware.admission import Admission
from serve.api.middleware.response_headers import RequestId, ScrubHeaders
from serve.settings import GatewaySettings, LimitsSettings, Settings

LIMITS = LimitsSettings(max_body_bytes=100_000, body_timeout_s=2.0)
CAP = LIMITS.max_body_bytes + ENVELOPE_BYTES


class RayServe:
    """Runs ``app`` and counts its requests; ``full`` refuses them as Ray Serve does."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.taken = 0
        self.full = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.taken += 1
        refusal = PlainTextResponse("Request dropped due to backpressure", 503, {"retry-after": "1"})
        await (refusal if self.full else self.app)(scope, receive, send)


@pytest.fixture
def ray_serve(service: StandIn) -> RayServe:
    return RayServe(create_app(service, Settings(limits=LIMITS)))


def client(inside: RayServe, **gateway: Any) -> httpx.AsyncClient:
    door = ScrubHeaders(RequestId(Admission(inside, LIMITS, GatewaySettings(**gateway), answer)))
    return httpx.AsyncClient(transport=httpx.ASGITransport(door), base_url="http://atelier", timeout=60)


async def slow(release: asyncio.Event | None = None) -> AsyncIterator[bytes]:
    yield b"--x\r\n"
    if release is None:
        await asyncio.sleep(600)
    else:
        await release.wait()
        yield b"--x--\r\n"


def refused(response: httpx.Response, status: int) -> dict[str, Any]:
    body: dict[str, Any] = response.json()
    assert response.status_code == status
    if status == 503:
        assert int(response.headers["retry-after"]) >= 1
    assert response.headers["x-request-id"]
    if response.request.url.path.startswith("/api"):
        assert response.headers["content-type"] == "application/problem+json"
        assert body["request_id"] == response.headers["x-request-id"]
    else:
        assert list(body) == ["error"]
    return body


async def test_slow_bodies_occupy_no_slot(ray_serve: RayServe) -> None:
    async with client(ray_serve) as door:
        uploads = [asyncio.ensure_future(door.post("/api/convert", content=slow())) for _ in range(20)]
        await asyncio.sleep(0.1)
        assert ray_serve.taken == 0
        assert (await door.get("/health/ready")).status_code == 200
        for upload in await asyncio.gather(*uploads):
            refused(upload, 408)
    assert ray_serve.taken == 1


async def test_body_arrives_complete(ray_serve: RayServe, logo: bytes) -> None:
    async with client(ray_serve) as door:
        response = await door.post("/api/convert", files={"image": ("a.png", logo)})
        assert response.status_code == 200
        assert len(response.headers.get_list("x-request-id")) == 1


@pytest.mark.parametrize("path", ["/api/convert", "/v2/models/plus_one/infer"])
async def test_full_gateway_returns_503_and_health_answers(service: StandIn, path: str, logo: bytes) -> None:
    service.gate = asyncio.Event()
    inside = RayServe(create_app(service, Settings(limits=LIMITS)))
    async with client(inside, max_ongoing_requests=2) as door:
        post = [asyncio.ensure_future(door.post("/api/convert", files={"image": ("a", logo)})) for _ in range(2)]
        await until(lambda: service.begun == 2)
        refused(await door.post(path, content=b"{}"), 503)
        assert (await door.get("/health/live")).status_code == 200
        service.gate.set()
        assert [done.status_code for done in await asyncio.gather(*post)] == [200, 200]
        assert (await door.post(path, content=b"{}")).status_code == 400  # a slot is free again


async def test_buffered_bodies_are_bounded(ray_serve: RayServe) -> None:
    async with client(ray_serve, max_held_bytes=150_000) as door:
        release = asyncio.Event()

        async def large() -> AsyncIterator[bytes]:
            yield bytes(100_000)
            await release.wait()

        first = asyncio.ensure_future(door.post("/v2/models/plus_one/infer", content=large()))
        await asyncio.sleep(0.1)
        refused(await door.post("/v2/models/plus_one/infer", content=bytes(100_000)), 503)
        assert ray_serve.taken == 0
        release.set()
        assert (await first).status_code == 400
        assert (await door.post("/v2/models/plus_one/infer", content=bytes(100_000))).status_code == 400


async def test_buffered_bodies_count_inflated(service: StandIn, logo: bytes) -> None:
    """Bodies of 200 bytes that inflate to 100,000 count as 100,000 towards the bound."""
    service.gate = asyncio.Event()
    inside = RayServe(create_app(service, Settings(limits=LIMITS)))
    form = httpx.Request("POST", "http://atelier", files={"image": ("a", logo + bytes(90_000))})
    packed = gzip.compress(form.read())
    headers = {"content-type": form.headers["content-type"], "content-encoding": "gzip"}
    async with client(inside, max_held_bytes=150_000) as door:
        first = asyncio.ensure_future(door.post("/api/convert", content=packed, headers=headers))
        await until(lambda: service.begun == 1)
        refused(await door.post("/api/convert", content=packed, headers=headers), 503)
        service.gate.set()
        assert (await first).status_code == 200
        refused(await door.post("/api/convert", content=packed[:-9], headers=headers), 400)
        assert (await door.post("/api/convert", content=packed, headers=headers)).status_code == 200


async def test_too_large_body_is_read_up_to_a_bound_and_refused(ray_serve: RayServe) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 10_000
            yield bytes(10_000)

    async with client(ray_serve) as door:
        refused(await door.post("/api/convert", content=endless()), 413)
    assert sent < (DRAINED + 1) * CAP
    assert ray_serve.taken == 0


@pytest.mark.parametrize("path", ["/api/convert", "/v2/models/plus_one/infer"])
async def test_ray_serve_rejections_become_problem_responses(ray_serve: RayServe, path: str) -> None:
    ray_serve.full = True
    async with client(ray_serve) as door:
        assert "try again" in str(refused(await door.post(path, content=b"{}"), 503))


async def test_ray_serve_control_headers_are_dropped() -> None:
    seen = {}

    async def inside(scope: Scope, receive: Receive, send: Send) -> None:
        seen.update(scope["headers"])
        await PlainTextResponse("")(scope, receive, send)

    async with client(RayServe(inside)) as door:
        steering = {"x-request-timeout-seconds": "0.1", "Serve-Multiplexed-Model-Id": "x", "x-session-id": "1"}
        await door.get("/", headers={**steering, b"x-request-id": b"\xff\xfe", "accept": "text/plain"})
    assert not {name.lower().encode() for name in steering} & set(seen)
    assert seen[b"x-request-id"].isalnum()
    assert seen[b"accept"] == b"text/plain"


async def test_grpc_inferences_and_streams_are_bounded(logo: bytes) -> None:
    service = StandIn()
    service.gate = asyncio.Event()
    settings = Settings(gateway=GatewaySettings(max_ongoing_requests=1))
    servicer = OpenInferenceServicer(Models(service, settings), settings)
    picture = pb.ModelInferRequest(model_name="vectorize")
    picture.inputs.add(name="image", datatype="BYTES", shape=[1]).contents.bytes_contents.append(logo)
    first = asyncio.ensure_future(streamed(servicer, picture.SerializeToString()))
    await until(lambda: service.begun == 1)
    context = GrpcContext()
    await servicer.ModelInfer(question(), context)
    assert context.status is not None
    assert context.status.name == "UNAVAILABLE"
    context = GrpcContext()
    await servicer.ServerLive(b"", context)
    assert context.status is None

    async def nothing() -> AsyncIterator[bytes]:
        for _ in ():
            yield b""

    assert [answer async for answer in servicer.ModelStreamInfer(nothing(), context)] == []
    assert context.status is not None
    service.gate.set()
    assert await first == [""]
