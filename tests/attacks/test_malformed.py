"""Thousands of malformed requests cause no server error, memory stays flat, health stays green (F 12, C-102)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from malformed import attack
from programs.long_form import length
from verdicts import fault_of, report
from whole_door import Answer

from serve.settings import DatabaseSettings, Settings
from serve.state import State

SEED, REQUESTS = 20_261, length(2_500, 10_000)
MOST_GROWTH_MIB = 64


@pytest.mark.slow
async def test_malformed_requests_cause_no_fault(tmp_path: Path) -> None:
    """`python -m tests.attacks.malformed` sends any number, with another seed."""
    state = await State.open(Settings(state_dir=tmp_path, database=DatabaseSettings()))
    try:
        seen = await attack(state, SEED, REQUESTS)
    finally:
        await state.close()
    summary = report(seen, SEED)
    assert seen.faults == [], summary
    assert sum(seen.answers.values()) == REQUESTS, summary
    assert seen.end_mib - seen.warm_mib < MOST_GROWTH_MIB, summary
    assert max(seen.health_s) < 30, summary
    assert len(seen.health_s) > 4, summary
    for one in ("http 200", "http 400", "http 401", "http 404", "http 413", "grpc INVALID_ARGUMENT", "socket 400",
                "stream OK", "websocket 4404"):  # fmt: skip
        assert seen.answers[one] > 0, f"{one} did not come: the generator has lost its bite\n{summary}"


@pytest.mark.parametrize(
    ("path", "status", "body", "fault"),
    [
        (b"/v1/jobs", 500, b"{}", "500"), (b"/v1/jobs", 503, b"{}", "503"), (b"/v2", 400, b"not json", "no JSON"),
        (b"/v2", 400, b'{"detail": "x"}', "other words"), (b"/v1/models", 400, b'{"error": "x"}', "other words"),
        (b"/api/convert", 400, b'{"error": "x"}', "other words"), (b"/api/convert", 200, b"anything", None),
        (b"/v2/models/x", 404, b'{"error": "x"}', None), (b"/v2", 501, b'{"error": "x"}', None),
        (b"/v1/jobs", 429, b"{}", "Retry-After"),
    ],
)  # fmt: skip
def test_faults_are_detected(path: bytes, status: int, body: bytes, fault: str | None) -> None:
    headers = {"content-type": "application/json"}
    detected = fault_of(path, "GET", Answer(status, headers, body))
    assert detected is None if fault is None else detected is not None and fault in detected


def test_problem_response_is_no_fault() -> None:
    body = json.dumps({"status": 400, "title": "x"}).encode()
    assert fault_of(b"/v1/jobs", "GET", Answer(400, {"content-type": "application/problem+json"}, body)) is None
