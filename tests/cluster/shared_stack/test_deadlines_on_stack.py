"""Disconnected clients and expired deadlines, through HAProxy, Ray Serve and a real Triton: no further step is run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc
from whole_stack import ANEW, Stack

pytestmark = pytest.mark.cluster

PICTURES = 10
"""So that a fast machine is not done with them in time."""
DRAWN = {"prompt": "red apple", "steps": 1000, "n": PICTURES}
ENDED_S = 1.0
"""By then the news has come to the replica."""
STEPPING_S = 0.4
"""In which a drawing that goes on makes some hundred steps."""
LIMIT_S = 60.0


@pytest.fixture
def client(stack: Stack) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(stack.grpc) as client:
        yield client


def steps(client: triton.InferenceServerClient) -> int:
    (entry,) = client.get_inference_statistics("toy_unet").model_stats
    return int(entry.inference_count)


def stands_still(client: triton.InferenceServerClient, before: int) -> bool:
    """Some steps were run, and none is run any more, except a supervisor's probe."""
    time.sleep(ENDED_S)
    made = steps(client)
    time.sleep(STEPPING_S)
    assert before < made < before + 2 * PICTURES * 900
    return steps(client) <= made + 2


def is_well(stack: Stack) -> bool:
    return httpx.get(f"http://{stack.http}/health/ready", timeout=60).status_code == 200


def test_a_deadline_over_http(stack: Stack, client: triton.InferenceServerClient) -> None:
    before = steps(client)
    headers = {**ANEW, "X-Request-Timeout": "0.5"}
    answer = httpx.post(f"http://{stack.http}/v1/images/generations", json=DRAWN, headers=headers, timeout=60)
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "deadline_exceeded")
    assert int(answer.headers["retry-after"]) >= 1
    assert stands_still(client, before)
    assert is_well(stack)


def test_a_client_that_goes_over_http(stack: Stack, client: triton.InferenceServerClient) -> None:
    before = steps(client)
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"http://{stack.http}/api/diffusion/generate", json=DRAWN, headers=ANEW, timeout=0.7)
    assert stands_still(client, before)


def prompt() -> Any:
    tensor = triton.InferInput("prompt", [1], "BYTES")
    tensor.set_data_from_numpy(np.array([b"red apple"], object))
    return tensor


@pytest.mark.parametrize("way", ["grpc-timeout", "metadata", "parameter"])
def test_a_deadline_over_grpc(stack: Stack, client: triton.InferenceServerClient, way: str) -> None:
    before = steps(client)
    more: dict[str, Any] = {
        "grpc-timeout": {"client_timeout": 0.5},
        "metadata": {"headers": {"x-request-timeout": "0.5"}},
        "parameter": {"timeout": 500_000},
    }[way]
    with pytest.raises(triton.InferenceServerException) as caught:
        client.infer("illustrate", [prompt()], parameters={"num_inference_steps": 1000, "n": PICTURES}, **more)
    assert caught.value.status() == "StatusCode.DEADLINE_EXCEEDED"
    assert stands_still(client, before)


def test_when_to_come_again_over_grpc(stack: Stack) -> None:
    """By Ray Serve's own context, and HAProxy."""
    request = pb.ModelInferRequest(model_name="illustrate")
    request.inputs.add(name="prompt", datatype="BYTES", shape=[1]).contents.bytes_contents.append(b"red apple")
    request.parameters["num_inference_steps"].int64_param = 1000
    with grpc.insecure_channel(stack.grpc) as channel, pytest.raises(grpc.RpcError) as caught:
        service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request, metadata=[("x-request-timeout", "0.5")])
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    told = [name for name, _ in caught.value.trailing_metadata()]
    assert dict(caught.value.trailing_metadata())["retry-after"] == "2"
    assert "x-request-id" in told
    assert len(told) == len(set(told)), told


def test_a_call_that_is_cancelled(client: triton.InferenceServerClient) -> None:
    before = steps(client)
    call = client.async_infer(
        "illustrate", [prompt()], lambda *_: None, parameters={"num_inference_steps": 1000, "n": PICTURES}
    )
    time.sleep(0.7)
    call.cancel()
    assert stands_still(client, before)


def test_a_job_past_its_time_has_failed(stack: Stack, client: triton.InferenceServerClient) -> None:
    before = steps(client)
    asked = {"kind": "illustrate", "input": {**DRAWN, "seed": 5}, "timeout_s": 2.5}
    job = httpx.post(f"http://{stack.http}/v1/jobs", json=asked, headers={"Prefer": "wait=20"}, timeout=40).json()
    assert (job["status"], job["error"]["type"]) == ("failed", "DeadlineExceeded")
    assert stands_still(client, before)


@pytest.mark.parametrize(("verb", "ending"), [("POST", "/cancel"), ("DELETE", "")])
def test_a_job_that_is_cancelled_while_it_is_drawn(
    stack: Stack, client: triton.InferenceServerClient, verb: str, ending: str
) -> None:
    before = steps(client)
    with httpx.Client(base_url=f"http://{stack.http}", timeout=60) as http:
        asked = {"kind": "illustrate", "input": {**DRAWN, "seed": 6}}
        path = f"/v1/jobs/{http.post('/v1/jobs', json=asked, headers=ANEW).json()['id']}"
        until(lambda: steps(client) >= before + 20, LIMIT_S)
        assert http.request(verb, path + ending).status_code in (200, 202)
        until(lambda: http.get(path).json()["status"] != "processing", LIMIT_S)
        assert http.get(path).json()["status"] == "cancelled"
        assert stands_still(client, before)
        assert http.get(f"{path}/result").status_code == 410
    assert is_well(stack)


def until(holds: Callable[[], bool], most_s: float) -> None:
    end = time.monotonic() + most_s
    while not holds():
        assert time.monotonic() < end, f"not so within {most_s:g} s"
        time.sleep(0.05)
