"""NVIDIA's perf_analyzer against HTTP and gRPC: its preliminary requests and its measurements."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from both_doors import both_doors
from illustrator_standin import IllustratorStandIn
from programs.perf_analyzer import as_bytes, input_data, measured, run
from standin import Served

pytestmark = pytest.mark.slow

PROTOCOLS = ("http", "grpc")


@pytest.fixture(scope="module")
def doors() -> Iterator[Served]:
    with both_doors(IllustratorStandIn()) as doors:
        yield doors


def address_of(doors: Served, protocol: str) -> str:
    return doors.http if protocol == "http" else doors.grpc


@pytest.mark.parametrize(
    ("protocol", "options"),
    [
        ("http", ()),
        ("http", ("--input-tensor-format", "json", "--output-tensor-format", "json")),
        ("http", ("--async", "--concurrency-range", "2:3", "-H", "x-api-key:none")),
        ("http", ("--request-rate-range", "50:50")),
        ("grpc", ("-b", "2", "-x", "1")),
        ("grpc", ("--async", "--streaming", "-H", "authorization:Bearer none")),
        ("grpc", ("--grpc-compression-algorithm", "gzip")),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else value,
)
def test_engine_load(doors: Served, tmp_path: Path, protocol: str, options: tuple[str, ...]) -> None:
    """It discards responses that the model statistics do not count."""
    loads = measured(tmp_path, address_of(doors, protocol), protocol, "plus_one", *options)
    assert len(loads) == (2 if "2:3" in options else 1)
    for load in loads:
        assert load["Inferences/Second"] > 0
        assert 0 < load["Server Compute Infer"] < load["p99 latency"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_vectorizer_load(doors: Served, tmp_path: Path, logo: bytes, protocol: str) -> None:
    pictures = input_data(tmp_path, [{"image": as_bytes(logo)}])
    (load,) = measured(tmp_path, address_of(doors, protocol), protocol, "vectorize", *pictures)
    assert load["Inferences/Second"] > 0
    assert load["Server Compute Infer"] > 100


@pytest.mark.parametrize(("protocol", "options"), [("http", ()), ("grpc", ("--async", "--streaming"))])
def test_illustrator_load(doors: Served, tmp_path: Path, protocol: str, options: tuple[str, ...]) -> None:
    """A model with several responses: it measures the first, and waits for the one marked final."""
    prompts = input_data(tmp_path, [{"prompt": ["red apple"]}, {"prompt": ["green pear"]}])
    report = tmp_path / "requests.json"
    more = (*options, "--profile-export-file", str(report))
    (load,) = measured(tmp_path, address_of(doors, protocol), protocol, "illustrate", *prompts, *more)
    assert load["Inferences/Second"] > 0
    text = report.read_text("latin-1")  # it writes raw pixel bytes into its JSON
    (experiment,) = json.loads(text, strict=False)["experiments"]
    assert all(len(request["response_timestamps"]) == 1 for request in experiment["requests"])


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ("nothing", (), "there is no model named"),
        ("plus_one", ("-x", "9"), "has no version '9'"),
        ("plus_one", ("--shape", "x:4", "--shared-memory", "system"), "this extension is not offered here"),
        ("plus_one", ("--shape", "x:4", "--trace-level", "TIMESTAMPS"), "this extension is not offered here"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_missing_model_or_input_is_reported(
    doors: Served, protocol: str, model: str, options: tuple[str, ...], message: str
) -> None:
    done = run(address_of(doors, protocol), protocol, model, *options)
    assert done.returncode != 0
    assert message in done.stdout + done.stderr


def test_reason_of_a_refusal_is_reported(doors: Served, tmp_path: Path) -> None:
    done = run(doors.http, "http", "vectorize", *input_data(tmp_path, [{"image": ["no picture"]}]))
    assert done.returncode != 0
    assert "is not a readable picture" in done.stdout + done.stderr
