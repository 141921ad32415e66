"""A run is judged against an earlier one (D-071: performance against a baseline)."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from loadtests.load import __main__ as load
from loadtests.load.baseline_file import beside, keep, read, worse
from loadtests.load.limits import MIB, Measured, limits
from loadtests.load.observations import Observations
from loadtests.load.outcome import Outcome
from loadtests.load.run import Report, Target
from loadtests.load.scenario import Changes, Scenario, scenario

GOOD = Outcome(100, 0, 50.0, 100.0, 110.0, 10.0, {"none": 0})


def report_of(found: Outcome) -> Report:
    return Report(scenario("smoke"), Measured(found, Observations(), [MIB, MIB]), {}, {}, Path("unused"))


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    keep(report_of(GOOD), tmp_path / "kept" / "smoke.json")
    return tmp_path / "kept" / "smoke.json"


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (GOOD, []),
        (replace(GOOD, requests_per_second=9.1, p95_ms=124.0), []),
        (replace(GOOD, requests_per_second=20.0, p95_ms=50.0), []),
        (replace(GOOD, requests_per_second=8.9), ["11% less done than on "]),
        (replace(GOOD, failures=20), ["20% less done than on "]),
        (replace(GOOD, p95_ms=126.0), ["p95 26% longer than on "]),
        (Outcome(), ["100% less done than on "]),
    ],
)
def test_lower_rate_and_longer_waits_are_reported(kept: Path, found: Outcome, why: list[str]) -> None:
    before = read(kept, scenario("smoke"))
    reasons = worse(found, before, limits("smoke"))
    assert [reason.removesuffix(before.when) for reason in reasons] == why
    assert before.when in beside(found, before)


def test_other_loads_and_other_files_are_refused(kept: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="of another load"):
        read(kept, scenario("smoke", Changes(users=3)))
    for text in ("[]", "{}", "nothing", json.dumps({"outcome": {}}), json.dumps({"outcome": asdict(GOOD)})):
        (tmp_path / "other.json").write_text(text)
        with pytest.raises(ValueError, match="is not what --keep writes"):
            read(tmp_path / "other.json", scenario("smoke"))
    keep(report_of(Outcome()), kept)
    with pytest.raises(ValueError, match="without a right answer"):
        read(kept, scenario("smoke"))


def test_command_fails_when_worse_than_the_earlier_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = [GOOD, replace(GOOD, requests_per_second=5.0), GOOD]
    path = str(tmp_path / "smoke.json")

    def run(wanted: Scenario, where: Target, folder: Path) -> Report:
        return report_of(found.pop(0))

    monkeypatch.setattr(load, "run", run)
    monkeypatch.setattr(load, "target", lambda arguments: contextlib.nullcontext(Target("", "")))
    load.main(["smoke", "--keep", path])
    with pytest.raises(SystemExit) as ended:
        load.main(["smoke", "--baseline", path])
    assert str(ended.value.code).startswith("limits exceeded: 50% less done than on ")
    load.main(["smoke", "--baseline", path])
    assert "right answers/s to 10.0" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        load.main(["smoke", "--baseline", str(tmp_path / "none.json")])
    assert "No such file" in capsys.readouterr().err
