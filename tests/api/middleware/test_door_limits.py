"""Limits of the endpoints: internal errors stay internal, names, rows and forms are bounded, packing does not block."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from standin import StandIn
from tritonclient.grpc import service_pb2 as pb

from serve.api.http.bodies import ENVELOPE_BYTES
from serve.api.inference.codec import MAX_NAME, InferRequest
from serve.api.inference.grpc import OpenInferenceServicer
from serve.api.inference.grpc_messages import MAX_DETAILS
from serve.api.inference.models import MAX_ROWS, Models
from serve.api.inference.tensors import Tensor
from serve.ensembles.vectorizer.vectorization import Vectorization, VectorizeOptions
from serve.errors import InvalidRequest, NotFound, TooLarge
from serve.settings import LimitsSettings, Settings

CAP = 100_000 + ENVELOPE_BYTES
SMALL = Settings(limits=LimitsSettings(max_body_bytes=100_000))


class GrpcContext:
    """A gRPC context that records the status, the details and the trailing metadata."""

    status: grpc.StatusCode | None = None
    details = ""

    def invocation_metadata(self) -> Sequence[tuple[str, str]]:
        return ()

    def set_code(self, code: grpc.StatusCode) -> None:
        self.status = code

    def code(self) -> grpc.StatusCode | None:
        return self.status

    def trailing_metadata(self) -> Sequence[tuple[str, str]]:
        return ()

    def set_trailing_metadata(self, trailing_metadata: Any) -> None:
        pass

    def set_details(self, details: str) -> None:
        self.details = details


class Failing(StandIn):
    """Fails with an unexpected error, or with an error message of unbounded length."""

    async def infer(self, engine: str, *_: Any, **__: Any) -> dict[str, Any]:
        raise RuntimeError("secret of the inside")

    async def metadata(self, engine: str) -> dict[str, Any]:
        if engine == "unknown":
            raise NotFound("é" * 5000)
        return await super().metadata(engine)


@pytest.fixture
def failing() -> OpenInferenceServicer:
    return OpenInferenceServicer(Models(Failing(), SMALL), SMALL)


def question(name: str = "x", rows: int = 1, model: str = "plus_one", **more: Any) -> bytes:
    request = pb.ModelInferRequest(model_name=model, **more)
    request.inputs.add(name=name, datatype="FP32", shape=[rows, 4])
    request.raw_input_contents.append(bytes(rows * 16))
    raw: bytes = request.SerializeToString()
    return raw


async def streamed(servicer: OpenInferenceServicer, *messages: bytes) -> list[str]:
    async def requests() -> AsyncIterator[bytes]:
        for message in messages:
            yield message

    return [answer.error_message async for answer in servicer.ModelStreamInfer(requests(), GrpcContext())]


async def test_unexpected_error_text_is_only_logged(
    failing: OpenInferenceServicer, caplog: pytest.LogCaptureFixture
) -> None:
    context = GrpcContext()
    with caplog.at_level(logging.ERROR):
        answer = await failing.ModelInfer(question(), context)
    assert answer == pb.ModelInferResponse()
    assert (context.status, context.details) == (grpc.StatusCode.INTERNAL, "an internal error; the log has it")
    assert "secret of the inside" in caplog.text
    assert await streamed(failing, question(), question()) == ["an internal error; the log has it"] * 2


async def test_error_details_fit_a_header(failing: OpenInferenceServicer) -> None:
    context = GrpcContext()
    await failing.ModelMetadata(pb.ModelMetadataRequest(name="unknown").SerializeToString(), context)
    assert context.status is grpc.StatusCode.NOT_FOUND
    assert len(context.details) == MAX_DETAILS
    assert context.details.isascii()
    assert context.details.endswith("...")


async def test_stream_enforces_the_message_size_limit() -> None:
    """The stream continues after a message over the limit."""
    servicer = OpenInferenceServicer(Models(StandIn(), SMALL), SMALL)
    errors = await streamed(servicer, question(), bytes(CAP + 1), question())
    assert [bool(error) for error in errors] == [False, True, False]
    assert f"more than {CAP} bytes" in errors[1]


@pytest.mark.parametrize("name", ["", "n" * (MAX_NAME + 1), "a\0b"])
async def test_grpc_names_are_limited_as_over_http(name: str) -> None:
    servicer = OpenInferenceServicer(Models(StandIn(), SMALL), SMALL)
    output = pb.ModelInferRequest.InferRequestedOutputTensor(name=name)
    for raw, field in ((question(name), "inputs"), (question(outputs=[output]), "outputs")):
        context = GrpcContext()
        await servicer.ModelInfer(raw, context)
        assert context.status is grpc.StatusCode.INVALID_ARGUMENT
        assert context.details.startswith(f"{field}: each needs a name of 1 to {MAX_NAME}")
    context = GrpcContext()
    await servicer.ModelInfer(question(id="i" * (MAX_NAME + 1)), context)
    assert context.status is grpc.StatusCode.INVALID_ARGUMENT
    assert context.details.startswith("id: ")


@pytest.mark.parametrize("charset", ["undefined", '"a\0b"', "idna", "punycode", "nothing", "hex", "utf-16", "utf-7"])
@pytest.mark.parametrize("path", ["/api/convert", "/api/convert-ai", "/api/analyze-image"])
async def test_form_charsets_cause_no_server_error(door: httpx.AsyncClient, path: str, charset: str) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="\xff\xd8"\r\n\r\n\xff\xfe\xd8\r\n--x--\r\n'
    headers = {"content-type": f"multipart/form-data; boundary=x; charset={charset}"}
    answer = await door.post(path, content=body, headers=headers)
    assert answer.status_code == 400
    assert answer.json()["detail"]


async def test_rows_on_a_variable_axis_are_capped(door: httpx.AsyncClient) -> None:
    for rows, status in ((MAX_ROWS, 200), (MAX_ROWS + 1, 413)):
        tensor = {"name": "x", "datatype": "FP32", "shape": [rows, 1], "data": [0.0] * rows}
        answer = await door.post("/v2/models/plus_one/infer", json={"inputs": [tensor]})
        assert answer.status_code == status
    assert answer.json()["error"].startswith("x: ")


async def test_variable_axes_are_capped_together() -> None:
    """As in the engine `quality`: a batch of [candidates, 10], with sizes as text, as in Triton's JSON."""

    class Free(StandIn):
        async def metadata(self, engine: str) -> dict[str, Any]:
            free = {"name": "x", "datatype": "FP32", "shape": ["-1", "-1", "10"]}
            return {**await super().metadata(engine), "inputs": [free]}

    models = Models(Free(), Settings())
    tensor = Tensor("x", "FP32", np.zeros((3, MAX_ROWS // 2, 10), np.float32))
    with pytest.raises(TooLarge) as caught:
        await models.infer("plus_one", "", InferRequest((tensor,)))
    assert caught.value.field == "x"


async def test_pixels_are_packed_off_the_event_loop() -> None:
    class Idle(StandIn):
        turns = 0
        seen = 0

        async def vectorize(self, data: bytes, options: VectorizeOptions) -> Vectorization:
            self.seen = self.turns
            raise InvalidRequest("enough")

        async def turn(self) -> None:
            while True:
                self.turns += 1
                await asyncio.sleep(0)

    service = Idle()
    pixels = np.random.default_rng(0).integers(0, 256, (512, 512, 4), np.uint8)
    ticking = asyncio.create_task(service.turn())
    with pytest.raises(InvalidRequest, match="enough"):
        await Models(service, Settings()).infer("vectorize", "", InferRequest((Tensor("image", "UINT8", pixels),)))
    ticking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await ticking
    assert service.seen > 0
