"""NVIDIA's own load generator through the whole stack: HAProxy, gateway, replica, Triton."""

from __future__ import annotations

from pathlib import Path

import pytest
from programs.perf_analyzer import as_bytes, input_data, measured
from whole_stack import Stack

pytestmark = pytest.mark.cluster


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_an_engine(stack: Stack, tmp_path: Path, protocol: str) -> None:
    """Its statistics are Triton's own."""
    address = stack.http if protocol == "http" else stack.grpc
    (load,) = measured(tmp_path, address, protocol, "logo_type", "-b", "4", "--concurrency-range", "2")
    assert load["Inferences/Second"] > 4
    assert load["Server Compute Infer"] > 0


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_the_vectorizer(stack: Stack, tmp_path: Path, logo: bytes, protocol: str) -> None:
    address = stack.http if protocol == "http" else stack.grpc
    (load,) = measured(tmp_path, address, protocol, "vectorize", *input_data(tmp_path, [{"image": as_bytes(logo)}]))
    assert load["Inferences/Second"] > 1


def test_the_illustrator(stack: Stack, tmp_path: Path) -> None:
    prompts = input_data(tmp_path, [{"prompt": ["red apple"], "num_inference_steps": [4]}])
    (load,) = measured(tmp_path, stack.grpc, "grpc", "illustrate", "--async", "--streaming", *prompts)
    assert load["Inferences/Second"] > 0
