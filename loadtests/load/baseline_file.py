"""A run against one that was kept: whether the same machine now does less than it did, or is slower (D-071)."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from loadtests.load.limits import Limits, degradation
from loadtests.load.outcome import Outcome
from loadtests.load.run import Report
from loadtests.load.scenario import Scenario


@dataclass(frozen=True)
class Baseline:
    """``scenario`` as it was run; ``machine`` and ``when`` are for who reads."""

    scenario: Mapping[str, Any]
    outcome: Outcome
    machine: str
    when: str


def keep(report: Report, path: Path) -> None:
    machine = f"{platform.node()}, {os.cpu_count()} cores"
    when = datetime.now(UTC).isoformat(timespec="seconds")
    kept = Baseline(_plain(report.scenario), report.measured.outcome, machine, when)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(kept), indent=1) + "\n")


def read(path: Path, wanted: Scenario) -> Baseline:
    """Raises ``ValueError`` for what `keep` has not written, and for a run that asked for something else than
    ``wanted``, or had no right answer."""
    try:
        content = json.loads(path.read_text())
        kept = Baseline(**{**content, "outcome": Outcome(**content["outcome"])})
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not what --keep writes: {error}") from None
    if kept.scenario != _plain(wanted):
        raise ValueError(f"{path} is of another load: {json.dumps(kept.scenario)}")
    if not kept.outcome.right_per_second:
        raise ValueError(f"{path} is of a run without a right answer")
    return kept


def worse(found: Outcome, kept: Baseline, limits: Limits) -> list[str]:
    """By what more than allowed, in words; empty when all is well."""
    reasons = []
    if degradation(found, kept.outcome) > limits.regression:
        reasons.append(f"{degradation(found, kept.outcome):.0%} less done than on {kept.when}")
    if _longer(found, kept) > limits.regression_p95:
        reasons.append(f"p95 {_longer(found, kept):.0%} longer than on {kept.when}")
    return reasons


def beside(found: Outcome, kept: Baseline) -> str:
    return (
        f"against the run of {kept.when} on {kept.machine}: {found.right_per_second:.1f} right answers/s to "
        f"{kept.outcome.right_per_second:.1f}; p95 {found.p95_ms:.0f} ms to {kept.outcome.p95_ms:.0f} ms"
    )


def _longer(found: Outcome, kept: Baseline) -> float:
    return found.p95_ms / kept.outcome.p95_ms - 1


def _plain(scenario: Scenario) -> dict[str, Any]:
    """As JSON gives it back."""
    content: dict[str, Any] = json.loads(json.dumps(asdict(scenario)))
    return content
