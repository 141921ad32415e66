"""The exit status of `python -m loadtests.load`, and where it writes reports (D-071)."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from loadtests.load import __main__ as load
from loadtests.load.limits import MIB, Measured
from loadtests.load.observations import Observations
from loadtests.load.outcome import Outcome
from loadtests.load.run import Report, Target, run
from loadtests.load.scenario import Scenario, scenario


def report_of(name: str, found: Outcome, memory: Sequence[int] = ()) -> Report:
    return Report(scenario(name), Measured(found, Observations(), memory), {}, {}, Path("unused"))


def outcome_of(
    monkeypatch: pytest.MonkeyPatch, name: str, found: Mapping[str, Outcome], memory: Sequence[int] = (MIB, MIB)
) -> str | int | None:
    """The exit status of ``python -m loadtests.load NAME`` on a stack with the outcomes ``found`` by scenario."""

    def run(wanted: Scenario, where: Target, folder: Path) -> Report:
        return report_of(wanted.name, found[wanted.name], memory)

    monkeypatch.setattr(load, "run", run)
    monkeypatch.setattr(load, "target", lambda arguments: contextlib.nullcontext(Target("", "")))
    try:
        load.main([name])
    except SystemExit as ended:
        return ended.code
    return 0


def test_exit_status_names_exceeded_and_unjudged_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    good, slow = Outcome(100, 0, 50.0, 100.0, 110.0, 10.0), Outcome(100, 90, 50.0, 100.0, 110.0, 10.0)
    assert outcome_of(monkeypatch, "smoke", {"smoke": good}) == 0
    assert outcome_of(monkeypatch, "smoke", {"smoke": good}, memory=()) == load.NOT_JUDGED
    assert outcome_of(monkeypatch, "soak", {"soak": good}) == load.NOT_JUDGED, "no drift from two values"
    assert "90 of 100" in str(outcome_of(monkeypatch, "smoke", {"smoke": slow}, memory=()))


def test_baseline_run_has_its_own_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compared with a failing baseline, any run would pass."""
    good = Outcome(100, 0, 50.0, 100.0, 110.0, 10.0)
    assert outcome_of(monkeypatch, "short_50", {"short_10": good, "short_50": good}) == 0
    failed = Outcome(100, 90, 50.0, 100.0, 110.0, 10.0)
    status = str(outcome_of(monkeypatch, "short_50", {"short_10": failed, "short_50": good}))
    assert status == "limits exceeded: short_10: 90 of 100 requests failed"


def test_reports_are_written_relative_to_the_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Locust runs in the folder of the project."""
    commands: list[list[str]] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        subprocess, "run", lambda command, **_: commands.append(command) or subprocess.CompletedProcess([], 1)
    )
    with pytest.raises(RuntimeError, match="locust ended with 1"):
        run(scenario("smoke"), Target("http://127.0.0.1:9", "127.0.0.1:9"), Path("reports"))
    assert str(tmp_path / "reports" / "smoke.html") in commands[0]
