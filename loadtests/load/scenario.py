"""Scenarios, limits, and the verdict on a run from locust's own statistics."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Scenario:
    """``http`` and ``grpc`` are shares of the callers."""

    name: str
    callers: int
    spawn_rate: float
    run_time_s: int
    http: int
    grpc: int


@dataclass(frozen=True)
class Limits:
    failure_ratio: float
    p95_ms: float
    requests_per_second: float


@dataclass(frozen=True)
class Outcome:
    """The aggregated line of a run."""

    requests: int
    failures: int
    p50_ms: float
    p95_ms: float
    requests_per_second: float


def scenarios(path: Path = FOLDER / "scenarios.yaml") -> dict[str, Scenario]:
    return {name: Scenario(name, **values) for name, values in _read(path).items()}


def limits(scenario: str, path: Path = FOLDER / "limits.yaml") -> Limits:
    """The default limits with the scenario's own over them."""
    table = _read(path)
    return Limits(**(table["default"] | table.get(scenario, {})))


def _read(path: Path) -> dict[str, dict[str, Any]]:
    loaded: dict[str, dict[str, Any]] = yaml.safe_load(path.read_text())
    return loaded


def outcome(statistics_csv: str) -> Outcome:
    """Of locust's ``*_stats.csv``. ValueError when it has no line of totals."""
    for row in csv.DictReader(io.StringIO(statistics_csv)):
        if row["Name"] == "Aggregated":
            requests = int(row["Request Count"])
            return Outcome(
                requests,
                int(row["Failure Count"]),
                float(row["50%"]) if requests else 0.0,
                float(row["95%"]) if requests else 0.0,
                float(row["Requests/s"]),
            )
    raise ValueError("no line of totals: locust did not finish")


def broken(found: Outcome, limits: Limits) -> list[str]:
    """What the run exceeded, in words; empty when all is well."""
    failures = found.failures / found.requests if found.requests else 1.0
    reasons = []
    if failures > limits.failure_ratio:
        reasons.append(f"{found.failures} of {found.requests} requests failed")
    if found.p95_ms > limits.p95_ms:
        reasons.append(f"p95 {found.p95_ms:.0f} ms, limit {limits.p95_ms:.0f}")
    if found.requests_per_second < limits.requests_per_second:
        reasons.append(f"{found.requests_per_second:.1f} requests/s, limit {limits.requests_per_second:g}")
    return reasons
