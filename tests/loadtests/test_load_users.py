"""Every kind of locust user against the real application on a real socket, with engines that are functions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from both_doors import both_doors
from illustrator_standin import IllustratorStandIn
from standin import Served

from loadtests.load.run import Report, Target, run
from loadtests.load.scenario import Scenario, Stage, mixes

STAGES = (Stage(4.0, 8, 8.0),)
DIRECT = [name for name in mixes()["mixed"] if not name.endswith("Job")]
"""Jobs need a queue and a worker: tests/cluster/test_load_on_stack.py has them."""


@pytest.fixture(scope="module")
def doors() -> Iterator[Served]:
    with both_doors(IllustratorStandIn()) as served:  # type: ignore[arg-type]
        yield served


def load(doors: Served, scenario: Scenario, folder: Path) -> Report:
    return run(scenario, Target(f"http://{doors.http}", doors.grpc), folder)


def test_every_user_asks_and_every_answer_is_right(doors: Served, tmp_path: Path) -> None:
    report = load(doors, Scenario("all", dict.fromkeys(DIRECT, 1), STAGES, steps=3), tmp_path)
    assert {"native", "openai", "gRPC v2", "KServe v2"} == set(report.vocabularies)
    assert all(found.requests > 0 for found in report.kinds.values())
    assert not report.measured.notes.errors
    assert report.measured.outcome.failures == 0
    assert report.measured.notes.previews > 0
    for suffix in (".html", "_stats.csv", "_stats_history.csv", ".json", ".notes.json"):
        assert (tmp_path / f"all{suffix}").stat().st_size > 0


def test_arrivals_at_a_rate_wait_for_nobody(doors: Served, tmp_path: Path) -> None:
    report = load(doors, Scenario("rate", {"NativeVectorize": 1}, (Stage(5.0, 1, 1.0),), per_minute=600), tmp_path)
    notes = report.measured.notes
    assert 20 < notes.due < 90, "50 are expected, Poisson"
    assert report.measured.outcome.requests == notes.due - notes.unsent


def test_a_stack_that_is_not_there_is_a_failure_with_its_reason(tmp_path: Path) -> None:
    nowhere = Target("http://127.0.0.1:9", "127.0.0.1:9")
    scenario = Scenario("nobody", {"NativeVectorize": 1, "GrpcVectorize": 1}, (Stage(3.0, 2, 2.0),))
    report = run(scenario, nowhere, tmp_path)
    assert report.measured.outcome.failures == report.measured.outcome.requests > 0
    assert any("ConnectionRefusedError" in text for text in report.kinds["native: vectorize"].errors)
