"""Triton's own spans join the trace of the request; its request id is that of its inferences."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
from otlp_collector import Collector

from serve.engines.engine_set import EngineSet
from serve.observability import tracing
from serve.observability.tracing import export
from serve.settings import TracingSettings

pytestmark = pytest.mark.triton
REPOSITORY = Path(__file__).parents[3] / "model_repository"


async def test_triton_traces_sampled_requests_only(collector: Collector) -> None:
    export.start(TracingSettings(endpoint=collector.url, triton=True), "Tests")
    room = EngineSet(REPOSITORY, ["tier1"])
    await room.start()
    try:
        await room.client.probe("tier1")
        embedding = {"embedding": np.zeros((3, 512), np.float32)}
        with tracing.entry_span("request", {"request_id": "r-1"}):
            await room.client.infer("tier1", embedding)
            trace = tracing.carrier()["traceparent"].split("-")[1]
        spans = await asyncio.to_thread(collector.of, trace, "request", "infer tier1", "InferRequest")
    finally:
        await room.close()
        await asyncio.to_thread(export.stop)
    infer = next(one for one in spans if one.name == "infer tier1")
    own = next(one for one in spans if one.name == "InferRequest")
    assert (infer.attributes["atelier.engine"], infer.attributes["atelier.rows"]) == ("tier1", 3)
    assert (own.parent, own.service) == (infer.id, "atelier-triton")
    assert {one.trace for one in collector.spans} == {trace}, "the probe is in no trace"
