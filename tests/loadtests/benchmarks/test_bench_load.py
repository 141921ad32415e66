"""The load benchmark's figures of a request's time (D-062, D-071)."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from loadtests.benchmarks.load import outside_share, overhead_ms, summary, table
from loadtests.load.callers import Call, Load, call

CALLS = [
    Call(200, 0.100, 0.090, {"analyze": 0.010, "trace": 0.070, "embed": 0.005}),
    Call(200, 0.060, 0.056, {"trace": 0.050}),
    Call(503, 0.001, error="busy"),
]
LOAD = Load(1, 2.0, CALLS)


def test_outside_share_excludes_tracing_and_inference_of_successes() -> None:
    assert outside_share(LOAD) == pytest.approx(1 - (0.075 + 0.050) / 0.160)
    assert overhead_ms(LOAD) == pytest.approx((10 + 4) / 2)


def test_errors_are_counted_and_not_averaged() -> None:
    found = summary(LOAD, {"Triton": 3 * 1024 * 1024})
    assert (found["requests"], found["errors"], found["per_second"]) == (3, 1, 1.0)
    assert found["error_texts"] == ["busy"]
    assert found["p50_ms"] == pytest.approx(80)
    line = table([found]).splitlines()[-1]
    assert line == "| 1 | 3 | 1.0 | 80 | 98 | 1 | 21.9 % | 7.0 | 3 |"


def test_load_without_responses_still_gives_a_row() -> None:
    assert "| 10 | 1 | 0.0 | nan | nan | 1 |" in table([summary(Load(10, 1.0, [Call(0, 1.0)]), {})])


def test_call_reads_server_timings_and_survives_refusals() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if b"broken" in request.content:
            return httpx.Response(422, json={"detail": "no"})
        metadata = {"processing_time": 0.01, "timings_s": {"trace": 0.008}}
        return httpx.Response(200, json={"ai_metadata": metadata})

    async def both() -> tuple[Call, Call]:
        transport = httpx.MockTransport(answer)
        async with httpx.AsyncClient(transport=transport, base_url="http://stack") as client:
            return await call(client, b"picture", {"tier": "1"}), await call(client, b"broken", {})

    good, bad = asyncio.run(both())
    assert (good.ok, good.processing_s, good.timings_s) == (True, 0.01, {"trace": 0.008})
    assert (bad.ok, bad.status) == (False, 422)
    assert "no" in bad.error
