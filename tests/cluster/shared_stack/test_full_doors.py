"""Servers that are full, or whose connections are held open: every request gets a response in time, health first."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections import Counter
from collections.abc import Iterator

import grpc
import httpx
import numpy as np
import pytest
from pictures import drawn, encode
from PIL import Image
from whole_stack import ANEW, BODY_TIMEOUT_S, Stack

from serve.settings import Settings

pytestmark = pytest.mark.cluster

HEALTH = ("/health/live", "/health/ready", "/api/ai-health", "/v2/health/live", "/v2/health/ready")
ANSWERED_WITHIN_S = 0.8 * BODY_TIMEOUT_S


@contextlib.contextmanager
def slow_uploads(address: str, count: int) -> Iterator[list[socket.socket]]:
    """``count`` unfinished uploads that have sent 160 KiB, more than HAProxy itself buffers."""
    host, _, port = address.rpartition(":")
    head = b"POST /api/convert-ai HTTP/1.1\r\nHost: a\r\nContent-Type: multipart/form-data; boundary=x\r\n"
    part = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n' + bytes(160 * 1024)
    with contextlib.ExitStack() as held:
        uploads = [held.enter_context(socket.create_connection((host, int(port)))) for _ in range(count)]
        for upload in uploads:
            upload.sendall(head + b"Content-Length: 1000000\r\n\r\n" + part)
        yield uploads


def test_health_answers_beside_slow_uploads(stack: Stack) -> None:
    """More uploads than a gateway has slots. They get a 408; a client that does not read its response is cut off."""
    with (
        slow_uploads(stack.http, Settings().gateway.max_ongoing_requests + 100) as uploads,
        unread(stack.http) as answer,
    ):
        time.sleep(1)
        for path in HEALTH:
            start = time.monotonic()
            told = httpx.get(f"http://{stack.http}{path}", timeout=60)
            assert told.status_code == 200, (path, told.text)
            assert time.monotonic() - start < ANSWERED_WITHIN_S, path
        files = {"image": ("a", encode(drawn(size=32)))}
        assert httpx.post(f"http://{stack.http}/api/convert", files=files, headers=ANEW, timeout=60).status_code == 200
        uploads[0].settimeout(BODY_TIMEOUT_S + 10)
        assert uploads[0].recv(4096).startswith(b"HTTP/1.1 408 ")
        time.sleep(15)
        head, _, body = answer.makefile("rb").read().partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        assert len(body) < int(head.lower().partition(b"content-length: ")[2].split()[0])


@contextlib.contextmanager
def unread(address: str) -> Iterator[socket.socket]:
    """A conversion to an SVG larger than every buffer on its way; the client does not read it."""
    host, _, port = address.rpartition(":")
    noise = np.random.default_rng(0).integers(0, 255, (240, 240, 3), np.uint8).repeat(4, 0).repeat(4, 1)
    files = {"image": ("a", encode(Image.fromarray(noise)))}
    request = httpx.Request("POST", f"http://{address}/api/convert", files=files)
    head = f"POST /api/convert HTTP/1.1\r\nHost: a\r\nContent-Type: {request.headers['content-type']}\r\n"
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect((host, int(port)))
        client.sendall(f"{head}Content-Length: {len(request.read())}\r\n\r\n".encode() + request.read())
        client.settimeout(20)
        yield client


async def test_every_request_of_a_crowd_is_answered(stack: Stack) -> None:
    """All in JSON, with Retry-After if refused, within the deadline of a conversion; as many as the queue holds
    succeed."""
    slow = encode(drawn(size=256))
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=f"http://{stack.http}", timeout=300, limits=limits) as client:

        async def one() -> httpx.Response:
            return await client.post("/api/convert", files={"image": ("a", slow)}, headers=ANEW)

        start = time.monotonic()
        answers = await asyncio.gather(*(one() for _ in range(640)))
        took = time.monotonic() - start
    assert took < Settings().vectorizer.timeout_s + 60
    counted = Counter(answer.status_code for answer in answers)
    assert set(counted) <= {200, 503, 504}
    assert counted[200] + counted[504] >= 64
    assert counted[200] > 0
    assert counted[503] > 0
    for answer in answers:
        body = answer.json()
        if answer.status_code != 200:
            assert answer.headers["content-type"] == "application/problem+json"
            assert body["status"] == answer.status_code
            assert int(answer.headers["retry-after"]) >= 1


@pytest.mark.parametrize(
    "method",
    ["/ray.serve.RayServeAPIService/ListApplications", "/ray.serve.RayServeAPIService/Healthz", "/nothing/Nothing"],
)
def test_grpc_offers_nothing_of_ray_serve(stack: Stack, method: str) -> None:
    with grpc.insecure_channel(stack.grpc) as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(method)(b"", timeout=60)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_grpc_has_no_reflection(stack: Stack) -> None:
    with grpc.insecure_channel(stack.grpc) as channel:
        call = channel.stream_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
        answers = call(iter([b":\x01*"]), timeout=60)
        with pytest.raises(grpc.RpcError) as caught:
            next(answers)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("name", ["application", "multiplexed_model_id", "request_id"])
def test_grpc_metadata_does_not_steer(stack: Stack, name: str) -> None:
    with grpc.insecure_channel(stack.grpc) as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ServerLive")
        assert call(b"", metadata=[(name, "other")], timeout=60)
