"""One engine, the same ONNX file, asked through ours and through each peer."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import grpc.aio
import numpy as np
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc
from tritonclient.utils import np_to_triton_dtype

from loadtests.benchmarks.engines import REPOSITORY, random_inputs, threads_of
from loadtests.load.stack import Started
from loadtests.peers import litserve_server, wire
from loadtests.peers.closed_loop import Send
from loadtests.peers.processes import module, raw_triton
from loadtests.peers.wire import Arrays

FREE_AXES = {"mini_unet": 8, "quality": 1000}
"""Length of axes of any length: latents of 8 x 8, a thousand candidates."""
ROWS = {"mini_unet": 2}
"""Rows of a request: guidance takes two."""
TOLERANCE = 1e-2
MAX_BATCH_SIZE = 8


def path_of(engine: str) -> Path:
    return REPOSITORY / engine / "1" / "model.onnx"


def config_of(engine: str) -> dict[str, Any]:
    """As Triton tells it in JSON."""
    from google.protobuf.json_format import MessageToDict

    text = (REPOSITORY / engine / "config.pbtxt").read_text()
    message = text_format.Parse(text, model_config_pb2.ModelConfig())
    config: dict[str, Any] = MessageToDict(message, preserving_proto_field_name=True)
    for tensor in config["input"]:
        tensor["dims"] = [int(length) for length in tensor["dims"]]
    return config | {"parameters": config.get("parameters", {})}


def inputs_of(engine: str) -> Arrays:
    return random_inputs(config_of(engine), ROWS.get(engine, 1), FREE_AXES.get(engine, 1))


def expected_of(engine: str, inputs: Arrays) -> Arrays:
    """By ONNX Runtime in this process."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path_of(engine))
    return dict(zip([one.name for one in session.get_outputs()], session.run(None, inputs), strict=True))


class Check:
    """Of every answer that it has all tensors, of the right size and with the right numbers."""

    def __init__(self, expected: Arrays) -> None:
        self._expected = expected

    def __call__(self, found: Arrays) -> None:
        for name, array in self._expected.items():
            scale = max(1.0, float(np.abs(array).max()))
            if found[name].shape != array.shape or float(np.abs(found[name] - array).max()) > TOLERANCE * scale:
                raise ValueError(f"other numbers in {name}")


def over_http(session: aiohttp.ClientSession, url: str, inputs: Arrays, check: Check) -> Send:
    """KServe v2 with its tensors in binary form."""
    body, length = wire.request(inputs)
    headers = {wire.HEADER_LENGTH: str(length), "Content-Type": "application/octet-stream"}

    async def send(_: int) -> None:
        async with session.post(url, data=body, headers=headers) as answer:
            data = await answer.read()
            if answer.status != 200:
                raise ValueError(f"{answer.status}: {data[:100]!r}")
            check(wire.decode(data, int(answer.headers[wire.HEADER_LENGTH]), "outputs"))

    return send


def over_grpc(channel: grpc.aio.Channel, engine: str, inputs: Arrays, check: Check) -> Send:
    stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
    tensors = [
        service_pb2.ModelInferRequest.InferInputTensor(
            name=name, datatype=np_to_triton_dtype(array.dtype), shape=array.shape
        )
        for name, array in inputs.items()
    ]
    raw = [array.tobytes() for array in inputs.values()]
    request = service_pb2.ModelInferRequest(model_name=engine, inputs=tensors, raw_input_contents=raw)

    async def send(_: int) -> None:
        answer = await stub.ModelInfer(request)
        contents = zip(answer.outputs, answer.raw_output_contents, strict=True)
        check({one.name: np.frombuffer(data, np.float32).reshape(one.shape) for one, data in contents})

    return send


def over_json(session: aiohttp.ClientSession, url: str, inputs: Arrays, check: Check) -> Send:
    """LitServe's way: base64 in JSON."""
    body = json.dumps(litserve_server.told_as(inputs)).encode()

    async def send(_: int) -> None:
        async with session.post(url, data=body, headers={"Content-Type": "application/json"}) as answer:
            if answer.status != 200:
                raise ValueError(f"{answer.status}: {(await answer.text())[:100]}")
            check(litserve_server.read_from(await answer.json()))

    return send


@contextlib.asynccontextmanager
async def senders(engine: str, ours: Started, threads: int) -> AsyncIterator[dict[str, Send]]:
    """Every peer, started, by its name in the table. ``threads``: of the engine, unless its config says so."""
    inputs = inputs_of(engine)
    check = Check(expected_of(engine, inputs))
    own = threads_of(config_of(engine), threads)
    path = str(path_of(engine))
    model = f"/v2/models/{engine}/infer"
    with contextlib.ExitStack() as servers:
        triton = servers.enter_context(raw_triton(REPOSITORY, [engine], threads))
        plain = servers.enter_context(module("fastapi_server", "onnx", "--path", path, "--threads", str(own)))
        workers = ["--workers", str(threads), "--threads", "1"]
        spread = servers.enter_context(module("fastapi_server", "onnx", "--path", path, *workers))
        batch = ["--max-batch-size", str(MAX_BATCH_SIZE), "--threads", str(own)]
        lit = servers.enter_context(module("litserve_server", "onnx", "--path", path, *batch))
        connector = aiohttp.TCPConnector(limit=0)
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            grpc.aio.insecure_channel(ours.grpc) as our_channel,
            grpc.aio.insecure_channel(triton.grpc) as channel,
        ):
            yield {
                "Atelier, HTTP": over_http(session, ours.url + model, inputs, check),
                "Atelier, gRPC": over_grpc(our_channel, engine, inputs, check),
                "Triton alone, HTTP": over_http(session, triton.http + model, inputs, check),
                "Triton alone, gRPC": over_grpc(channel, engine, inputs, check),
                f"FastAPI, 1 worker of {own} threads": over_http(session, f"{plain}/infer", inputs, check),
                f"FastAPI, {threads} workers of 1 thread": over_http(session, f"{spread}/infer", inputs, check),
                "LitServe, batching": over_json(session, f"{lit}/predict", inputs, check),
            }
