"""gRPC's own deadline reaches the wrappers that Ray Serve puts around our handlers; its own context does not have
it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any
from unittest.mock import Mock

import grpc.aio
import pytest
from ray.serve._private.grpc_util import gRPCGenericServer
from ray.serve._private.proxy_request_response import gRPCStreamingType

from serve.api.inference.grpc_service import SERVICE, add_servicer_to_server
from serve.observability import request_context

pytestmark = pytest.mark.ray


def told() -> bytes:
    deadline = request_context.current().deadline
    return b"none" if deadline is None else str(deadline - time.monotonic()).encode()


def factory(service_method: str, streaming_type: Any) -> Any:
    """Like Ray Serve's: one handler for each method, unary or not."""

    async def unary(request: bytes, context: Any) -> bytes:
        return told()

    async def stream(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for _ in requests:
            yield told()

    return stream if streaming_type is gRPCStreamingType.STREAM_STREAM else unary


async def test_a_call_begins_under_its_deadline() -> None:
    server = gRPCGenericServer(factory)
    add_servicer_to_server(Mock(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            await _ask(channel)
    finally:
        await server.stop(None)


async def _ask(channel: grpc.aio.Channel) -> None:
    unary = channel.unary_unary(f"/{SERVICE}/ModelInfer")
    assert 30 < float(await unary(b"x", timeout=60)) < 60.1
    assert await unary(b"x") == b"none"
    stream = channel.stream_stream(f"/{SERVICE}/ModelStreamInfer")
    told_s = [float(answer) async for answer in stream(iter([b"x", b"y"]), timeout=60)]
    assert len(told_s) == 2
    assert min(told_s) > 30
    assert max(told_s) < 60.1, "its clock is not ours to the millisecond"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await channel.unary_unary(f"/{SERVICE}/Nothing")(b"x", timeout=60)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
