"""Every kind of locust user against the real application on a real socket, with engines that are functions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from both_doors import both_doors
from fastapi import FastAPI
from fastapi.responses import JSONResponse, StreamingResponse
from illustrator_standin import IllustratorStandIn
from programs.http_server import listening
from standin import Served, StandIn

from loadtests.load.limits import Limits, broken, uncounted
from loadtests.load.run import Report, Target, run
from loadtests.load.scenario import Scenario, Stage, mixes

STAGES = (Stage(4.0, 8, 8.0),)
DIRECT = [name for name in mixes()["mixed"] if not name.endswith("Job")]
"""Jobs need a queue and a worker: tests/cluster/shared_stack/test_load_on_stack.py has them."""


@pytest.fixture(scope="module")
def doors() -> Iterator[Served]:
    with both_doors(IllustratorStandIn()) as served:  # type: ignore[arg-type]
        yield served


def load(doors: Served, scenario: Scenario, folder: Path) -> Report:
    return run(scenario, Target(f"http://{doors.http}", doors.grpc), folder)


def test_every_user_sends_requests_and_every_response_is_right(doors: Served, tmp_path: Path) -> None:
    report = load(doors, Scenario("all", dict.fromkeys(DIRECT, 1), STAGES, steps=3), tmp_path)
    assert {"native", "openai", "gRPC v2", "KServe v2"} == set(report.vocabularies)
    assert all(found.requests > 0 for found in report.kinds.values())
    assert not report.measured.notes.errors
    assert report.measured.outcome.failures == 0
    assert uncounted(report.measured) == []
    assert report.measured.notes.counted.total() == report.measured.outcome.requests
    assert set(report.measured.notes.counted) == set(DIRECT)
    assert report.kinds["native: step: request"].requests == report.kinds["native: illustrate"].requests
    assert report.measured.notes.previews > 0
    for suffix in (".html", "_stats.csv", "_stats_history.csv", ".json", ".notes.json"):
        assert (tmp_path / f"all{suffix}").stat().st_size > 0


def test_arrivals_at_a_rate_do_not_wait_for_responses(doors: Served, tmp_path: Path) -> None:
    report = load(doors, Scenario("rate", {"NativeVectorize": 1}, (Stage(5.0, 1, 1.0),), per_minute=600), tmp_path)
    notes = report.measured.notes
    assert 20 < notes.due < 90, "50 are expected, Poisson"
    assert report.measured.outcome.requests == notes.due - notes.unsent


def test_unreachable_stack_is_a_failure_with_its_reason(tmp_path: Path) -> None:
    nowhere = Target("http://127.0.0.1:9", "127.0.0.1:9")
    scenario = Scenario("nobody", {"NativeVectorize": 1, "GrpcVectorize": 1}, (Stage(3.0, 2, 2.0),))
    report = run(scenario, nowhere, tmp_path)
    assert report.measured.outcome.failures == report.measured.outcome.requests > 0
    assert any("ConnectionRefusedError" in text for text in report.kinds["native: vectorize"].errors)


def test_degraded_conversion_is_wrong(tmp_path: Path) -> None:
    vectorizer = StandIn()
    vectorizer.degraded = ("tier1 failed (timeout): fixed parameters",)
    users = ("NativeVectorize", "GrpcVectorize", "KServeVectorize")
    with both_doors(vectorizer=vectorizer) as served:
        report = load(served, Scenario("degraded", dict.fromkeys(users, 1), (Stage(6.0, 3, 3.0),), tier="1"), tmp_path)
    assert 0 < report.measured.outcome.requests == report.measured.outcome.failures
    assert set(report.measured.outcome.errors) == {"degraded: tier1 failed (timeout): fixed parameters"}
    assert set(report.measured.notes.counted) == set(users)


def one_job(result: dict[str, object]) -> FastAPI:
    """Every request gets this job, whose result is no picture."""
    doors = FastAPI()
    doors.post("/v1/jobs")(lambda: {"id": "a"})
    doors.get("/v1/jobs/a")(lambda: {"id": "a", "status": "completed"})
    doors.get("/v1/jobs/a/result")(lambda: {"results": [{"url": "http://a/file"}], **result})
    doors.get("/file")(lambda: {})
    return doors


def errors_of_jobs(result: dict[str, object], folder: Path, catalogue: int = 0) -> set[str]:
    scenario = Scenario("job", {"PolledJob": 1}, (Stage(4.0, 2, 2.0),), catalogue=catalogue)
    with listening(one_job(result)) as address:
        report = run(scenario, Target(f"http://{address}", "127.0.0.1:9"), folder)
    assert report.kinds["jobs: step: file"].failures == 0
    return set(report.measured.outcome.errors)


def test_degraded_job_is_wrong(tmp_path: Path) -> None:
    degraded = "tier1 failed (timeout): fixed parameters"
    found = errors_of_jobs({"details": {"degraded": [degraded]}, "cached": False}, tmp_path)
    assert found == {f"degraded: {degraded}", "no PNG that can be read"}


def test_cached_job_is_wrong_without_a_catalogue(tmp_path: Path) -> None:
    cached: dict[str, object] = {"details": {"degraded": []}, "cached": True}
    assert errors_of_jobs(cached, tmp_path) == {"an answer that was not made for this request"}
    assert errors_of_jobs(cached, tmp_path, catalogue=60) == {"an SVG that is no XML", "no PNG that can be read"}


@pytest.mark.parametrize("word", ["hit", "miss"])
def test_cached_response_is_wrong_without_a_catalogue(tmp_path: Path, word: str) -> None:
    async def events() -> AsyncIterator[str]:
        yield "data: [DONE]\n\n"

    doors, headers = FastAPI(), {"X-Atelier-Cache": word}
    doors.post("/api/convert-ai")(lambda: JSONResponse({}, headers=headers))
    doors.post("/v1/images/generations")(lambda: StreamingResponse(events(), headers=headers))
    scenario = Scenario("cached", {"NativeVectorize": 1, "OpenAIStream": 1}, (Stage(3.0, 2, 2.0),))
    with listening(doors) as address:
        report = run(scenario, Target(f"http://{address}", "127.0.0.1:9"), tmp_path)
    assert set(report.measured.notes.counted) == {"NativeVectorize", "OpenAIStream"}
    assert set(report.measured.outcome.errors) == {"an answer that was not made for this request"}


def broken_doors() -> FastAPI:
    """Streams that go on without events, jobs that never end, and an invalid response."""
    doors = FastAPI()

    async def comments() -> AsyncIterator[str]:
        while True:
            yield ": keep\n\n"
            await asyncio.sleep(0.1)

    doors.post("/v1/jobs")(lambda: {"id": "a"})
    doors.get("/v1/jobs/a")(lambda: {"id": "a", "status": "processing"})
    doors.get("/v1/jobs/a/events")(lambda: StreamingResponse(comments(), media_type="text/event-stream"))
    doors.post("/v1/images/generations")(lambda: StreamingResponse(comments(), media_type="text/event-stream"))
    doors.post("/api/convert-ai")(lambda: {"svg_content": None, "ai_metadata": {"degraded": []}})
    return doors


@pytest.mark.parametrize("per_minute", [0, 300])
def test_endless_and_invalid_responses_count_as_failed(tmp_path: Path, per_minute: float) -> None:
    users = ("FollowedJob", "PolledJob", "OpenAIStream", "NativeVectorize")
    stages = (Stage(4.0, 4, 4.0),)
    scenario = Scenario("never", dict.fromkeys(users, 1), stages, per_minute=per_minute, limit_s=1.5)
    with listening(broken_doors()) as address:
        report = run(scenario, Target(f"http://{address}", "127.0.0.1:9"), tmp_path)
    found = report.measured.outcome
    assert 0 < found.requests == found.failures
    assert set(report.measured.notes.counted) == set(users)
    assert uncounted(report.measured) == []
    assert set(found.errors) == {"not done within 1.5 s", "AttributeError: 'NoneType' object has no attribute 'encode'"}
    assert found.requests_per_second <= found.requests / 3
    assert "failed" in broken(report.measured, Limits(failure_ratio=0.01))[0]


def test_requests_cut_off_by_the_end_of_the_run_count_as_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loadtests.load.run.STOP_S", -59.0)
    scenario = Scenario("ended", {"FollowedJob": 1}, (Stage(2.0, 3, 3.0),), limit_s=60.0)
    with listening(broken_doors()) as address:
        report = run(scenario, Target(f"http://{address}", "127.0.0.1:9"), tmp_path)
    assert report.measured.outcome.requests == report.measured.outcome.failures == 3
    assert report.measured.outcome.errors == {"not done when the run was ended": 3}
