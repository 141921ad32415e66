"""The highest request rate within the limits (C-101, D-055), and the exit status of `python -m
loadtests.benchmarks.rates`."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from loadtests.benchmarks import rates
from loadtests.benchmarks.rates import KINDS
from loadtests.load.limits import FILE, Measured, rate_limits
from loadtests.load.observations import Observations
from loadtests.load.outcome import Outcome
from loadtests.load.run import Report, Target
from loadtests.load.scenario import Scenario

HOME = Path(__file__).parents[3]
NAMES = [kind.name for kind in KINDS]


def test_every_kind_has_the_required_limits() -> None:
    description = yaml.safe_load(FILE.read_text())["rates"]
    assert set(description) - {"default"} == set(NAMES)
    assert {(rate_limits(name).failure_ratio, rate_limits(name).late_ratio) for name in NAMES} == {(0.01, 0.01)}
    assert [rate_limits(f"tier_{n}").p95_ms for n in (1, 2, 3)] == [200, 500, 1000]
    assert {rate_limits(name).p95_ms for name in NAMES if "known" in name} == {500}
    with pytest.raises(KeyError):
        rate_limits("callers_1")


def answered(p95_ms: float = 100, failed: int = 0, late: int = 0) -> Measured:
    return Measured(Outcome(100, failed, 50, p95_ms, p95_ms, 10), Observations(due=100, late=late))


def done(
    monkeypatch: pytest.MonkeyPatch, found: Mapping[float, Measured], *arguments: str
) -> tuple[str | int | None, list[float]]:
    """The exit status on a stack with the outcomes ``found`` by rate, and the rates that were run, in order."""
    run_at = []

    def run(wanted: Scenario, where: Target, folder: Path) -> Report:
        run_at.append(wanted.per_minute)
        return Report(wanted, found[wanted.per_minute], {}, {}, Path("unused"))

    monkeypatch.setattr(rates, "run", run)
    monkeypatch.setattr(rates, "target", lambda url, grpc: contextlib.nullcontext(Target("", "")))
    try:
        rates.main(arguments)
    except SystemExit as ended:
        return ended.code, run_at
    return 0, run_at


TIER_1 = ("--kind", str(NAMES.index("tier_1")), "--rates")


def test_highest_given_rate_is_the_goal(monkeypatch: pytest.MonkeyPatch) -> None:
    assert done(monkeypatch, {1000: answered()}, *TIER_1, "60", "1000") == (0, [1000])
    description, run_at = done(monkeypatch, {1000: answered(p95_ms=260), 60: answered()}, *TIER_1, "60", "1000")
    assert description == "limits exceeded: conversions, tier 1 at 1000 a minute: p95 260 ms, limit 200 (in time at 60)"
    assert run_at == [1000, 60]
    assert done(monkeypatch, {60: answered()}, *TIER_1, "60") == (0, [60])


@pytest.mark.parametrize("amiss", [answered(p95_ms=201), answered(failed=2), answered(late=2)])
def test_late_responses_are_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], amiss: Measured
) -> None:
    description, _ = done(monkeypatch, {60: amiss}, *TIER_1, "60")
    assert str(description).endswith("(in time at no rate)")
    assert capsys.readouterr().out.splitlines()[-1].endswith("| 200 | no |")


def test_goal_may_be_below_the_tried_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = answered(p95_ms=260)
    found = {1000: slow, 250: answered(), 60: answered()}
    assert done(monkeypatch, found, *TIER_1, "1000", "250", "--least", "60") == (0, [1000, 250])
    assert done(monkeypatch, found, *TIER_1, "1000", "--least", "60") == (0, [1000, 60])
    description, run_at = done(monkeypatch, found | {250: slow}, *TIER_1, "1000", "60", "--least", "250")
    assert ("at 250 a minute" in str(description), run_at) == (True, [1000, 250, 60])


def test_each_kind_is_judged_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """300 ms are within the limit of one kind and not of the other."""
    both = ("--kind", str(NAMES.index("tier_2")), *TIER_1[1:2])
    description, _ = done(monkeypatch, {60: answered(p95_ms=300)}, *both, "--rates", "60")
    assert (
        description == "limits exceeded: conversions, tier 1 at 60 a minute: p95 300 ms, limit 200 (in time at no rate)"
    )


def test_missed_limit_does_not_stop_make_bench() -> None:
    description = subprocess.run(
        ["make", "-n", "bench"], cwd=HOME, capture_output=True, text=True, check=True, timeout=60
    )
    (line,) = (line for line in description.stdout.splitlines() if "loadtests.benchmarks.rates" in line)
    assert '|| failed="' in line
