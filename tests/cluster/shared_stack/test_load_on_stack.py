"""A short load of every vocabulary, jobs among them, on the whole stack."""

from __future__ import annotations

from pathlib import Path

import pytest
from whole_stack import Stack

from loadtests.load.run import Target, run
from loadtests.load.scenario import Scenario, Stage, mixes

pytestmark = pytest.mark.cluster


def test_every_vocabulary_is_answered_rightly(stack: Stack, tmp_path: Path) -> None:
    users = mixes()["mixed"]
    scenario = Scenario("all", dict.fromkeys(users, 1), (Stage(10.0, len(users), 10.0),), steps=3, tier="1")
    report = run(scenario, Target(f"http://{stack.http}", stack.grpc), tmp_path)
    assert set(report.vocabularies) == {"native", "openai", "gRPC v2", "KServe v2", "jobs"}
    assert report.measured.outcome.failures == 0, report.measured.notes.errors
    assert any("from request to result" in kind for kind in report.kinds)
