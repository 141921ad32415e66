"""Random bytes at every endpoint: a response without a server error."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from urllib.parse import quote

import grpc
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pictures import drawn, encode
from standin import Served, StandIn
from tritonclient.grpc import service_pb2 as pb

from serve.api.app import create_app
from serve.settings import Settings

APPLICATION = create_app(StandIn(), Settings())
LOGO = encode(drawn())
PATHS = st.sampled_from(
    [
        "/api/convert",
        "/api/convert-ai",
        "/api/analyze-image",
        "/v2/models/vectorize/infer",
        "/v2/models/plus_one/infer",
        "/v2/models/vectorize/generate",
        "/v2/repository/index",
        "/v2/repository/models/plus_one/load",
        "/sdapi/v1/options",
        "/sdapi/v1/png-info",
        "/internal/progress",
    ]
)
FORM = b"multipart/form-data; boundary=x"
KINDS = st.sampled_from([FORM, b"application/json", b"", b"image/png"]) | st.binary(max_size=40)


def post(path: str, content: bytes, headers: dict[bytes, bytes] | None = None) -> httpx.Response:
    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(APPLICATION, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://atelier") as client:
            return await client.post(path, content=content, headers=headers)

    return asyncio.run(send())


@given(PATHS, st.binary(max_size=600), KINDS, st.none() | st.binary(max_size=8))
def test_random_bodies(path: str, body: bytes, kind: bytes, length: bytes | None) -> None:
    headers = {b"content-type": kind} | ({} if length is None else {b"inference-header-content-length": length})
    assert post(path, body, headers).status_code < 500


@given(st.data())
def test_damaged_pictures(data: st.DataObject) -> None:
    """A real PNG with some of its bytes changed, cut off or repeated."""
    picture = bytearray(LOGO)
    for _ in range(data.draw(st.integers(1, 8))):
        picture[data.draw(st.integers(0, len(picture) - 1))] = data.draw(st.integers(0, 255))
    picture = picture[: data.draw(st.integers(1, len(picture)))]
    part = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n%b\r\n--x--\r\n' % bytes(picture)
    assert post("/api/convert", part, {b"content-type": FORM}).status_code < 500


@given(st.binary(max_size=60), st.sampled_from(["GET", "POST", "PUT", "DELETE"]))
def test_random_paths(path: bytes, method: str) -> None:
    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(APPLICATION, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://atelier") as client:
            return await client.request(method, f"/v2/models/{quote(path)}")

    assert asyncio.run(send()).status_code < 500


@pytest.fixture(scope="module")
def channel(served: Served) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(served.grpc) as channel:
        yield channel


CLIENTS_FAULT = {
    grpc.StatusCode.OK,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.UNIMPLEMENTED,
}
UNARY = [m.name for m in pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods if not m.client_streaming]


@given(method=st.sampled_from(UNARY), message=st.binary(max_size=300))
def test_random_messages(channel: grpc.Channel, method: str, message: bytes) -> None:
    call = channel.unary_unary(f"/inference.GRPCInferenceService/{method}")
    try:
        call(message, timeout=60)
        code = grpc.StatusCode.OK
    except grpc.RpcError as error:
        code = error.code()
    assert code in CLIENTS_FAULT, code


@given(messages=st.lists(st.binary(max_size=300), max_size=5))
def test_random_messages_of_a_stream(channel: grpc.Channel, messages: list[bytes]) -> None:
    """Each message gets a response, and none is a server error."""
    call = channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")
    answers = [pb.ModelStreamInferResponse.FromString(raw) for raw in call(iter(messages), timeout=60)]
    assert len(answers) == len(messages)
    assert not any("internal" in answer.error_message for answer in answers)
