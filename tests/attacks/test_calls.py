"""gRPC calls with huge or inconsistent tensors (C-110)."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest
from keyed_door import KeyedSite
from pictures import drawn, encode
from tritonclient.grpc import service_pb2 as pb
from verdicts import resident_mib
from whole_door import calls

INFER = "/inference.GRPCInferenceService/ModelInfer"
STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"
MEBIBYTE = 2**20


def request(model: str = "plus_one", **more: Any) -> Any:
    return pb.ModelInferRequest(model_name=model, **more)


def with_tensor(
    shape: list[int], raw: bytes | None = bytes(16), datatype: str = "FP32", model: str = "plus_one", name: str = "x"
) -> Any:
    made = request(model)
    made.inputs.add(name=name, datatype=datatype, shape=shape)
    if raw is not None:
        made.raw_input_contents.append(raw)
    return made


def both_kinds() -> Any:
    made = with_tensor([1, 4])
    made.inputs[0].contents.fp32_contents.extend([1.0] * 4)
    return made


def contents(kind: str, values: list[Any], shape: list[int]) -> Any:
    made = with_tensor(shape, None)
    getattr(made.inputs[0].contents, kind).extend(values)
    return made


def many(count: int) -> Any:
    made = request(raw_input_contents=[bytes(16)] * count)
    for place in range(count):
        made.inputs.add(name=f"x{place}", datatype="FP32", shape=[1, 4])
    return made


def text(length: int, data: bytes) -> bytes:
    return struct.pack("<I", length) + data


LOGO = encode(drawn())
INCONSISTENT_REQUESTS: dict[str, Callable[[], Any]] = {
    "a larger shape": lambda: with_tensor([1, 5]),
    "a smaller shape": lambda: with_tensor([1, 3]),
    "2^62 elements and 16 bytes": lambda: with_tensor([2**31, 2**31]),
    "a product that overflows to 4": lambda: with_tensor([2**62, 4, 2**62]),
    "a product that overflows to 0": lambda: with_tensor([2**32, 2**32]),
    "a negative size": lambda: with_tensor([-1, 4]),
    "two negative sizes": lambda: with_tensor([-1, -4]),
    "the least size": lambda: with_tensor([-(2**63)]),
    "nothing, of any size": lambda: with_tensor([0, 2**62], b""),
    "a shape of 100 axes": lambda: with_tensor([1] * 100, bytes(4)),
    "no shape": lambda: with_tensor([], bytes(4)),
    "another type": lambda: with_tensor([1, 2], datatype="FP64"),
    "a type that is none": lambda: with_tensor([1, 4], datatype="FP31"),
    "no type": lambda: with_tensor([1, 4], datatype=""),
    "text that is longer than it is": lambda: with_tensor([1], text(2**32 - 1, b"abc"), "BYTES", "vectorize", "image"),
    "text that is shorter than it is": lambda: with_tensor([1], text(1, LOGO), "BYTES", "vectorize", "image"),
    "texts of a million, and one": lambda: with_tensor([1_000_000], text(3, b"abc"), "BYTES", "vectorize", "image"),
    "a text cut in its length": lambda: with_tensor([1], b"\1\0", "BYTES", "vectorize", "image"),
    "pixels that are not there": lambda: with_tensor([30_000, 30_000, 4], bytes(64), "UINT8", "vectorize", "image"),
    "no contents": lambda: with_tensor([1, 4], None),
    "contents twice": both_kinds,
    "contents of another type": lambda: contents("int_contents", [1] * 4, [1, 4]),
    "contents that are too few": lambda: contents("fp32_contents", [1.0] * 3, [1, 4]),
    "contents that are too many": lambda: contents("fp32_contents", [1.0] * 5, [1, 4]),
    "more raw contents than tensors": lambda: request(raw_input_contents=[bytes(16)] * 3),
    "1,000 tensors": lambda: many(1000),
    "one name twice": lambda: pb.ModelInferRequest.FromString(with_tensor([1, 4]).SerializeToString() * 2),
    "an output that there is not": lambda: request(outputs=[pb.ModelInferRequest.InferRequestedOutputTensor(name="z")]),
    "10 MiB and more": lambda: with_tensor([1, 3 * MEBIBYTE], bytes(12 * MEBIBYTE)),
    "rows without end": lambda: with_tensor([700_000, 1], bytes(2_800_000)),
    "shared memory": lambda: _of_a_region(),
}  # fmt: skip


def _of_a_region() -> Any:
    made = with_tensor([1, 4], None)
    made.inputs[0].parameters["shared_memory_region"].string_param = "../../etc/passwd"
    made.inputs[0].parameters["shared_memory_byte_size"].int64_param = 16
    return made


async def channel_of(site: KeyedSite) -> AsyncIterator[tuple[grpc.aio.Channel, list[tuple[str, str]]]]:
    metadata = [("x-api-key", (await site.key("ada")).secret)]
    async with calls(site) as address, grpc.aio.insecure_channel(address) as channel:
        yield channel, metadata


door = pytest.fixture(channel_of)
Door = tuple[grpc.aio.Channel, list[tuple[str, str]]]


@pytest.mark.parametrize("case", INCONSISTENT_REQUESTS)
async def test_inconsistent_tensors_are_refused(door: Door, case: str) -> None:
    """INVALID_ARGUMENT, without allocating the declared size; a stream continues."""
    channel, metadata = door
    message = INCONSISTENT_REQUESTS[case]().SerializeToString()
    before = resident_mib()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await channel.unary_unary(INFER)(message, metadata=metadata, timeout=60)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT, refused.value.details()
    assert refused.value.details()
    stream = channel.stream_stream(STREAM, response_deserializer=pb.ModelStreamInferResponse.FromString)
    valid = with_tensor([1, 4]).SerializeToString()
    answers = [one async for one in stream(iter([message, valid]), metadata=metadata, timeout=60)]
    assert [bool(one.error_message) for one in answers] == [True, False]
    assert resident_mib() - before < 100


async def test_oversized_message_is_refused(door: Door) -> None:
    """gRPC itself refuses it unread."""
    channel, metadata = door
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await channel.unary_unary(INFER)(bytes(65 * MEBIBYTE), metadata=metadata, timeout=60)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    live = await channel.unary_unary("/inference.GRPCInferenceService/ServerLive")(b"", timeout=60)
    assert pb.ServerLiveResponse.FromString(live).live


async def test_huge_message_without_a_key_is_unauthenticated(door: Door) -> None:
    channel, _ = door
    message = with_tensor([1, 3 * MEBIBYTE], bytes(12 * MEBIBYTE)).SerializeToString()
    for key_metadata in ([], [("x-api-key", "atl_wrong")]):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await channel.unary_unary(INFER)(message, metadata=key_metadata, timeout=60)
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_silent_streams_leave_places_for_other_requests(door: Door, site: KeyedSite) -> None:
    """They occupy counted places and none of those for other requests."""
    channel, metadata = door
    end = asyncio.Event()

    async def silent() -> AsyncIterator[bytes]:
        await end.wait()
        yield b""

    limit = site.state.settings.gateway.max_ongoing_requests
    stream = channel.stream_stream(STREAM)
    open_streams = [stream(silent(), metadata=metadata) for _ in range(limit + 5)]
    last = stream(silent(), metadata=metadata)
    codes = [await asyncio.wait_for(one.code(), 60) for one in (*open_streams[limit:], last)]
    assert set(codes) == {grpc.StatusCode.UNAVAILABLE}
    answer = await channel.unary_unary(INFER)(with_tensor([1, 4]).SerializeToString(), metadata=metadata, timeout=60)
    assert pb.ModelInferResponse.FromString(answer).raw_output_contents
    end.set()
    for one in open_streams:
        one.cancel()
