"""Events on one machine of two: the arguments of `python -m loadtests.chaos.nodes`, its files and exit status."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from loadtests.chaos import nodes
from loadtests.chaos.attempts_log import Attempt, AttemptResult, Entry, summary
from loadtests.chaos.runner import Outcome


def ended(monkeypatch: pytest.MonkeyPatch, folder: Path, *given: str, recovery_s: float = 8.0) -> Any:
    """The exit status, when every event takes ``recovery_s`` to recover from."""

    def measure(events: Sequence[str], pace: Any) -> tuple[list[Outcome], str, str]:
        right = Entry("HTTP", 0.0, [Attempt(0.0, 0.1, AttemptResult.RIGHT)], ended=0.1)
        return [Outcome(event, "", summary([right], recovery_s)) for event in events], "", "one to one"

    monkeypatch.setattr(nodes, "missing", lambda: "")
    monkeypatch.setattr(nodes, "measure", measure)
    monkeypatch.setattr(nodes.signal, "signal", lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["nodes", "--reports", str(folder), *given])
    with pytest.raises(SystemExit) as exited:
        nodes.main()
    return exited.value.code


def done(folder: Path) -> list[str]:
    return [one["fault"] for one in json.loads((folder / "nodes.json").read_text())["faults"]]


def test_without_events_all_are_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert ended(monkeypatch, tmp_path) == 0
    assert done(tmp_path) == list(nodes.EVENTS)
    assert ended(monkeypatch, tmp_path, "kill") == 0
    assert done(tmp_path) == ["kill"]
    assert ended(monkeypatch, tmp_path, "burn") == 2


def test_recovery_longer_than_its_goal_is_a_failure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert ended(monkeypatch, tmp_path, recovery_s=10.5) == 1
    assert "| 10.5 | no |" in (tmp_path / "nodes.md").read_text()
    assert ended(monkeypatch, tmp_path, "--goal-s", "12", recovery_s=10.5) == 0
