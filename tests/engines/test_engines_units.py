"""The parts of ``serve.engines`` that need no process: tensors, configs, logs, errors."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2, service_pb2

from serve.engines import tensors, triton_errors
from serve.engines.tensors import to_json
from serve.engines.triton import server_log
from serve.engines.triton.supervisor import Supervisor
from serve.engines.warmup_inputs import warmup_inputs
from serve.errors import (
    AtelierError,
    Cancelled,
    DeadlineExceeded,
    EngineFailure,
    EngineUnavailable,
    InvalidRequest,
    NotFound,
    Overloaded,
    TooLarge,
    Unsupported,
)
from serve.observability.metrics import processes


@pytest.mark.parametrize("name", [name for name in tensors.NUMPY_TYPES if name != "BYTES"])
def test_round_trip_keeps_every_type(name: str) -> None:
    array = np.arange(6).reshape(2, 3).astype(tensors.NUMPY_TYPES[name])
    assert tensors.datatype(array) == name
    back = tensors.decode(tensors.encode(array[:, ::2]), name, (2, 2))
    np.testing.assert_array_equal(back, array[:, ::2])
    assert back.dtype == array.dtype


@pytest.mark.parametrize(
    "words", [[b"", b"\x00\xff", "é".encode()], [b"a"], []], ids=["empty and binary", "one", "none"]
)
def test_round_trip_keeps_bytes(words: list[bytes]) -> None:
    array = np.array(words, np.object_)
    assert tensors.datatype(array) == "BYTES"
    assert tensors.decode(tensors.encode(array), "BYTES", array.shape).tolist() == words


def test_text_is_sent_as_utf8() -> None:
    array = np.array(["é", "日本"])
    assert tensors.datatype(array) == "BYTES"
    assert tensors.decode(tensors.encode(array), "BYTES", (2,)).tolist() == ["é".encode(), "日本".encode()]


@pytest.mark.parametrize("dtype", ["complex64", ">f4", "datetime64[s]"])
def test_types_without_a_protocol_name_are_refused(dtype: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        tensors.datatype(np.zeros(1, dtype), "x")
    assert caught.value.field == "x"


CONFIG = """
name: "quality" max_batch_size: 16
input { name: "embedding" data_type: TYPE_FP32 dims: [512] }
input { name: "parameters" data_type: TYPE_FP32 dims: [-1, 10] }
input { name: "style" data_type: TYPE_STRING dims: [1] }
input { name: "extra" data_type: TYPE_INT64 dims: [1] optional: true }
output { name: "ssim" data_type: TYPE_FP32 dims: [-1] }
parameters { key: "NUM_STREAMS" value { string_value: "1" } }
model_warmup { batch_size: 1 inputs { key: "parameters" value { data_type: TYPE_FP32 dims: [7, 10] zero_data: true } } }
"""


def test_config_as_json_and_its_zero_inputs() -> None:
    config = to_json(text_format.Parse(CONFIG, model_config_pb2.ModelConfig()))
    assert config["input"][1]["dims"] == [-1, 10]
    assert config["input"][0]["data_type"] == "TYPE_FP32"
    assert config["parameters"] == {"NUM_STREAMS": {"string_value": "1"}}
    assert "dynamic_batching" not in config
    inputs = warmup_inputs(config, 3)
    assert {name: array.shape for name, array in inputs.items()} == {
        "embedding": (3, 512),
        "parameters": (3, 7, 10),
        "style": (3, 1),
    }
    assert inputs["style"].ravel().tolist() == [b"", b"", b""]


def test_statistics_as_json_have_numbers() -> None:
    message = service_pb2.ModelStatisticsResponse()
    message.model_stats.add(name="quality", version="1", inference_count=2**40)
    assert to_json(message)["model_stats"][0]["inference_count"] == 2**40


@pytest.mark.parametrize(
    ("code", "details", "kind"),
    [
        ("INVALID_ARGUMENT", "[request id: 7] unexpected shape for input 'x' for model 'm'", InvalidRequest),
        ("NOT_FOUND", "Request for unknown model: 'm' is not found", NotFound),
        ("UNAVAILABLE", "Request for unknown model: 'm' has no available versions", NotFound),
        ("DEADLINE_EXCEEDED", "Deadline Exceeded", DeadlineExceeded),
        ("UNAVAILABLE", "[request id: 1] Request timeout expired", DeadlineExceeded),
        ("UNAVAILABLE", "Exceeds maximum queue size", Overloaded),
        ("UNAVAILABLE", "failed to connect to all addresses; last error: ipv4:127.0.0.1:1", EngineUnavailable),
        ("INTERNAL", "Stub process 'm_0_0' is not healthy.", EngineUnavailable),
        ("INTERNAL", "Traceback: /srv/atelier/x.py pid 4711", EngineFailure),
        ("RESOURCE_EXHAUSTED", "Sent message larger than max", TooLarge),
        ("UNIMPLEMENTED", "", Unsupported),
        ("CANCELLED", "", Cancelled),
    ],
)
def test_each_grpc_error_maps_to_its_own_error(code: str, details: str, kind: type[AtelierError]) -> None:
    error = grpc.aio.AioRpcError(grpc.StatusCode[code], grpc.aio.Metadata(), grpc.aio.Metadata(), details)
    fault = triton_errors.from_grpc(error, "m")
    assert type(fault) is kind
    assert "/srv" not in str(fault)
    assert "4711" not in str(fault)
    assert "127.0.0.1" not in str(fault)
    assert "request id" not in str(fault)


def test_lost_region_is_no_client_error() -> None:
    details = "Unable to find shared memory region: 'atelier_1_0'"
    error = grpc.aio.AioRpcError(grpc.StatusCode.NOT_FOUND, grpc.aio.Metadata(), grpc.aio.Metadata(), details)
    assert isinstance(triton_errors.from_grpc(error, "m"), triton_errors.RegionLost)


def test_failure_reason_has_no_paths_or_traces() -> None:
    lines = [
        'I1121 07:49:19.590 13443 model_lifecycle.cc:472] "loading: a:1"',
        "E1121 07:49:21.207 13948 model_lifecycle.cc:642] \"failed to load 'a' version 1: Internal: "
        "TritonModelException: engine 'a': cannot read /srv/models/a/1/model.onnx\\n\\nAt:\\n  /srv/x.py(117): f\\n\"",
        "I1121 07:49:21.207 13948 model_lifecycle.cc:777] \"failed to load 'a'\"",
        "E1121 07:49:21.300 13948 model_lifecycle.cc:642] \"failed to load 'b' version 1: Invalid argument: bad\"",
    ]
    assert server_log.failure(lines) == "engine 'a': cannot read …; engine 'b': bad"
    assert not any(server_log.is_ready(line) for line in lines)
    assert server_log.failure(["nothing of note"]) == "tritonserver ended at start"


BELOW_ONE_ANOTHER = """
import subprocess, sys, time
depth = int(sys.argv[2])
if depth:
    subprocess.Popen([sys.executable, "-c", sys.argv[1], sys.argv[1], str(depth - 1)])
    time.sleep(600)
"""


@pytest.mark.parametrize(("depth", "is_trouble"), [(1, True), (2, True), (3, False)])
def test_ended_server_or_stub_is_a_fault_but_a_grandchild_is_not(depth: int, is_trouble: bool) -> None:
    """The chain process_guard, tritonserver, stub, child of the stub; the last of them has ended."""
    process_guard = subprocess.Popen([sys.executable, "-c", BELOW_ONE_ANOTHER, BELOW_ONE_ANOTHER, str(depth)])
    try:
        deadline = time.monotonic() + 60
        while not any(map(processes.is_zombie, processes.descendants(process_guard.pid))):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert len(processes.descendants(process_guard.pid)) == depth
        assert (processes.find_fault(process_guard.pid) is not None) == is_trouble
    finally:
        for pid in (*processes.descendants(process_guard.pid), process_guard.pid):
            os.kill(pid, signal.SIGKILL)
        process_guard.wait()


def test_incomplete_response_means_unavailable_engine() -> None:
    """Triton sends it for a stub that it has just lost."""
    response = service_pb2.ModelInferResponse(model_name="unet")
    response.outputs.add(name="noise", datatype="FP32", shape=[2, 4])
    response.raw_output_contents.append(b"")
    with pytest.raises(EngineUnavailable, match="engine 'unet'"):
        tensors.arrays(response)


async def test_supervisor_continues_after_a_failed_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the next Triton that dies is not restarted."""
    found: list[str | Exception] = [ValueError("unforeseen"), "it ended"]
    restarted = asyncio.Event()

    async def fault(_: Supervisor) -> str | None:
        result = found.pop(0) if found else None
        if isinstance(result, Exception):
            raise result
        return result

    async def restart(_: Supervisor) -> None:
        restarted.set()

    monkeypatch.setattr(Supervisor, "_find_fault", fault)
    monkeypatch.setattr(Supervisor, "_restart", restart)
    nothing: Any = SimpleNamespace(refuse=lambda: None)
    monkeypatch.setattr(Supervisor, "_pause", lambda _: asyncio.sleep(0.01))
    watch = asyncio.create_task(Supervisor(nothing, nothing).run())
    await asyncio.wait_for(restarted.wait(), 60)
    watch.cancel()
