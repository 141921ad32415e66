"""One engine, the same ONNX file, asked through ours and through each peer."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc
from tritonclient.utils import np_to_triton_dtype

from loadtests.benchmarks.engines import REPOSITORY, random_inputs, threads_of
from loadtests.load.stack import running
from loadtests.peers import litserve_server, perf_analyzer, wire
from loadtests.peers.closed_loop import Samples, post
from loadtests.peers.peer import Call, Peer, Server, over_http
from loadtests.peers.processes import module, raw_triton
from loadtests.peers.wire import Arrays

FREE_AXES = {"mini_unet": 8, "quality": 8}
"""Length of axes of any length: latents of 8 x 8, eight candidates."""
ROWS = {"mini_unet": 2}
"""Rows of a request: guidance takes two."""
_HEADER_LENGTH = re.compile(rb"\r\ninference-header-content-length: *(\d+)\r\n", re.IGNORECASE)
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


def check_v2(expected: Arrays) -> Callable[[bytes, bytes], None]:
    """Of an answer in the protocol's binary form over HTTP."""
    check = Check(expected)

    def check_answer(head: bytes, body: bytes) -> None:
        length = _HEADER_LENGTH.search(head)
        if length is None:
            raise ValueError("no binary answer")
        check(wire.decode(body, int(length[1]), "outputs"))

    return check_answer


def check_base64(expected: Arrays) -> Callable[[bytes, bytes], None]:
    """Of LitServe's answer: base64 in JSON."""
    check = Check(expected)

    def check_answer(_: bytes, body: bytes) -> None:
        check(litserve_server.read_from(json.loads(body)))

    return check_answer


def over_v2(address: str, path: str, inputs: Arrays, expected: Arrays) -> Call:
    """KServe v2 with its tensors in binary form."""
    body, length = wire.request(inputs)
    headers = [(wire.HEADER_LENGTH, str(length)), ("Content-Type", "application/octet-stream")]
    return over_http(address, itertools.repeat(post(address, path, body, headers)), check_v2(expected))


def over_grpc(address: str, engine: str, inputs: Arrays, expected: Arrays) -> Call:
    """NVIDIA's perf_analyzer (`make clients`); answers are checked by one request before."""

    def call(callers: int, seconds: float, samples: Samples) -> int:
        check_grpc(address, engine, inputs, Check(expected))
        return perf_analyzer.run_grpc(address, engine, inputs, callers, seconds, samples)

    return call


def check_grpc(address: str, engine: str, inputs: Arrays, check: Check) -> None:
    tensors = [
        service_pb2.ModelInferRequest.InferInputTensor(
            name=name, datatype=np_to_triton_dtype(array.dtype), shape=array.shape
        )
        for name, array in inputs.items()
    ]
    raw = [array.tobytes() for array in inputs.values()]
    request = service_pb2.ModelInferRequest(model_name=engine, inputs=tensors, raw_input_contents=raw)
    with grpc.insecure_channel(address) as channel:
        answer = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=10)
    contents = zip(answer.outputs, answer.raw_output_contents, strict=True)
    check({one.name: np.frombuffer(data, np.float32).reshape(one.shape) for one, data in contents})


def peers(engine: str, threads: int, options: Mapping[str, Any]) -> dict[str, Peer]:
    """Every peer by name. ``threads``: of the engine, unless its config says so; ``options``: settings of the stack."""
    inputs = inputs_of(engine)
    expected = expected_of(engine, inputs)
    own = threads_of(config_of(engine), threads)
    path, model = str(path_of(engine)), f"/v2/models/{engine}/infer"
    headers = [("Content-Type", "application/json")]
    json_body = json.dumps(litserve_server.told_as(inputs)).encode()

    @contextlib.contextmanager
    def atelier() -> Iterator[Server]:
        with running(options) as started:
            address = started.url.removeprefix("http://")
            ways = {"Atelier, HTTP": over_v2(address, model, inputs, expected)}
            if perf_analyzer.is_there():
                ways["Atelier, gRPC"] = over_grpc(started.grpc, engine, inputs, expected)
            yield Server(started.pid, ways)

    @contextlib.contextmanager
    def triton() -> Iterator[Server]:
        with raw_triton(REPOSITORY, [engine], threads) as started:
            ways = {"Triton alone, HTTP": over_v2(started.http, model, inputs, expected)}
            if perf_analyzer.is_there():
                ways["Triton alone, gRPC"] = over_grpc(started.grpc, engine, inputs, expected)
            yield Server(started.pid, ways)

    @contextlib.contextmanager
    def fastapi(title: str, *arguments: str) -> Iterator[Server]:
        with module("fastapi_server", "onnx", "--path", path, *arguments) as started:
            yield Server(started.pid, {title: over_v2(started.address, "/infer", inputs, expected)})

    @contextlib.contextmanager
    def litserve() -> Iterator[Server]:
        batch = ["--max-batch-size", str(MAX_BATCH_SIZE), "--threads", str(own)]
        with module("litserve_server", "onnx", "--path", path, *batch) as started:
            request = post(started.address, "/predict", json_body, headers)
            call = over_http(started.address, itertools.repeat(request), check_base64(expected))
            yield Server(started.pid, {"LitServe, batching": call})

    one, many = f"FastAPI, 1 worker of {own} threads", f"FastAPI, {threads} workers of 1 thread"
    return {
        "atelier": atelier,
        "triton": triton,
        "fastapi": partial(fastapi, one, "--threads", str(own)),
        "fastapi-workers": partial(fastapi, many, "--workers", str(threads), "--threads", "1"),
        "litserve": litserve,
    }
