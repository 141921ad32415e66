"""One request, one trace, through all processes of the stack; and its log records, found by its id."""

from __future__ import annotations

import io
import json
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.grpc
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from whole_stack import ANEW, Stack

from tests.observability.tracing.otlp_collector import Collector, ReceivedSpan, tree

pytestmark = pytest.mark.cluster

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def door(stack: Stack) -> Iterator[httpx.Client]:
    """Each of its requests begins a trace below ``PARENT``."""

    def traced(request: httpx.Request) -> None:
        request.headers.setdefault("traceparent", f"00-{uuid.uuid4().hex}-{PARENT}-01")

    with httpx.Client(base_url=f"http://{stack.http}", timeout=60, event_hooks={"request": [traced]}) as client:
        yield client


def folder(stack: Stack) -> Path:
    return Path(stack.environment["ATELIER_STATE_DIR"]) / "logs"


def records(stack: Stack) -> list[dict[str, Any]]:
    """Without the last line of a process that was killed while writing it."""
    lines = (line for file in sorted(folder(stack).glob("*.log")) for line in file.read_text().splitlines())
    return [json.loads(line) for line in lines if line.endswith("}")]


def trace_of(answer: httpx.Response) -> str:
    return answer.headers["traceresponse"].split("-")[1]


def by_name(spans: list[ReceivedSpan], name: str) -> ReceivedSpan:
    return next(one for one in spans if one.name == name)


def test_a_conversion(stack: Stack, collector: Collector, door: httpx.Client, logo: bytes) -> None:
    """Gateway, Vectorizer, its workers, and Triton's own spans below each inference.

    Bytes of its own: a replica keeps analyses, and one of ``logo`` leaves out the spans of its parts.
    """
    picture = io.BytesIO()
    labels = PngInfo()
    labels.add_text("Comment", uuid.uuid4().hex)
    Image.open(io.BytesIO(logo)).save(picture, "PNG", pnginfo=labels)
    files = {"image": ("a.png", picture.getvalue())}
    answer = door.post("/api/convert-ai", files=files, data={"tier": "2"}, headers=ANEW)
    assert answer.status_code == 200, answer.text
    names = (
        "POST /api/convert-ai",
        "to Vectorizer.vectorize",
        "Vectorizer.vectorize",
        "infer logo_type",
        "task inspect",
    )
    spans = collector.of(trace_of(answer), *names, "InferRequest")
    parents = tree(spans)
    assert parents[names[0]] == PARENT
    assert (parents[names[1]], parents[names[2]]) == (names[0], names[1])
    assert (parents["infer logo_type"], parents["task inspect"]) == ("Vectorizer.vectorize", "analyze")
    services = {one.service for one in spans}
    assert services >= {"atelier-gateway", "atelier-vectorizer", "atelier-triton"}
    tritons = [one for one in spans if one.service == "atelier-triton" and one.name == "InferRequest"]
    infers = {one.id for one in spans if one.name.startswith("infer ")}
    assert {one.parent for one in tritons} <= infers


def test_a_drawing(stack: Stack, collector: Collector, door: httpx.Client) -> None:
    body = {"prompt": "red apple", "seed": 9003, "steps": 20, "response_format": "url"}
    parent = f"00-{TRACE}-{PARENT}-01"
    answer = door.post("/v1/images/generations", json=body, headers={"traceparent": parent})
    assert answer.status_code == 200, answer.text
    assert trace_of(answer) == TRACE
    spans = collector.of(TRACE, "POST /v1/images/generations", "Illustrator.draw", "paint", "prompt")
    parents = tree(spans)
    assert parents["POST /v1/images/generations"] == PARENT
    assert parents["Illustrator.draw"] == "to Illustrator.draw"
    assert parents["to Illustrator.draw"] == "POST /v1/images/generations"
    assert parents["paint"] == parents["prompt"] == "Illustrator.draw"
    steps = [told for name, told in by_name(spans, "paint").events if name == "step"]
    assert [told["step"] for told in steps] == list(range(1, 21))
    assert {one.service for one in spans} >= {"atelier-gateway", "atelier-illustrator"}
    assert b"apple" not in collector.raw


def test_a_call_by_grpc(stack: Stack, collector: Collector) -> None:
    """The gateway calls an engine of its own machine by itself, once it knows it; before that the replica does."""
    client = tritonclient.grpc.InferenceServerClient(stack.grpc)
    tensor = tritonclient.grpc.InferInput("embedding", [1, 512], "FP32")
    tensor.set_data_from_numpy(np.full((1, 512), 0.1, np.float32))
    trace = "1" * 32
    client.infer("tier1", [tensor], headers={"traceparent": f"00-{trace}-{PARENT}-01"})
    door = "inference.GRPCInferenceService/ModelInfer"
    parents = tree(collector.of(trace, door, "infer tier1"))
    assert parents[door] == PARENT
    if parents["infer tier1"] != door:
        parents = tree(collector.of(trace, door, "to Vectorizer.infer", "Vectorizer.infer", "infer tier1"))
        way = (parents["infer tier1"], parents["Vectorizer.infer"], parents["to Vectorizer.infer"])
        assert way == ("Vectorizer.infer", "to Vectorizer.infer", door)


def test_a_job(stack: Stack, collector: Collector, door: httpx.Client) -> None:
    """From its request through the worker to the Illustrator; and each process's log records have the request's id."""
    order = {"kind": "illustrate", "input": {"prompt": "red apple", "seed": 9009, "num_inference_steps": 10}}
    answer = door.post("/v1/jobs", json=order, headers={"x-request-id": "job-request"})
    assert answer.status_code == 202, answer.text
    spans = collector.of(trace_of(answer), "POST /v1/jobs", "job illustrate", "Illustrator.stream", "paint")
    parents = tree(spans)
    assert (parents["queue"], parents["job illustrate"]) == ("POST /v1/jobs", "queue")
    assert parents["to Illustrator.stream"] == "job illustrate"
    assert (parents["Illustrator.stream"], parents["paint"]) == ("to Illustrator.stream", "Illustrator.stream")
    services = {name: by_name(spans, name).service for name in ("queue", "job illustrate", "paint")}
    assert list(services.values()) == ["atelier-gateway", "atelier-worker", "atelier-illustrator"]


def test_a_failure_is_found_by_the_id_of_its_answer(stack: Stack, collector: Collector, door: httpx.Client) -> None:
    """An engine refuses invalid input: the ensemble logs it under the id in the client's response."""
    tensor = {"name": "embedding", "datatype": "FP32", "shape": [1, 512], "data": [-3e38] * 512}
    answer = door.post("/v2/models/tier1/infer", json={"inputs": [tensor]})
    assert answer.status_code == 400
    end, found = time.monotonic() + 60, []
    while not found and time.monotonic() < end:
        found = [one for one in records(stack) if one.get("request_id") == answer.headers["x-request-id"]]
        time.sleep(0.1)
    (record,) = [one for one in found if one["logger"] == "serve.requests"]
    assert (record["component"], record["route"], record["status"]) == ("Gateway", "/v2/models/{name}/infer", 400)
    assert record["trace_id"] == trace_of(answer)


def test_where_to_look_is_told(stack: Stack, collector: Collector) -> None:
    told = json.loads(stack.atelier("status", "--json").stdout)["watched"]
    assert httpx.get(told["metrics"]).status_code == 200
    assert httpx.get(told["dashboard"]).status_code in (200, 401)
    assert Path(told["logs"]) == folder(stack)
    assert told["traces"].startswith(collector.url)
    shown = stack.atelier("status").stdout
    assert all(value in shown for value in told.values())
    components = {one["component"] for one in records(stack)}
    assert components >= {"Gateway"}
