"""Scenarios, limits, and the verdict on a run from locust's own statistics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
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
    """A run in numbers. Waiting times as locust keeps them: rounded to two digits from 100 ms on."""

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


def outcome(entries: Sequence[Mapping[str, Any]]) -> Outcome:
    """Of the entries of locust's ``--json-file``, one per endpoint, all endpoints together."""
    waits: Counter[float] = Counter()
    for entry in entries:
        waits.update({float(ms): count for ms, count in entry["response_times"].items()})
    requests = sum(entry["num_requests"] for entry in entries)
    failures = sum(entry["num_failures"] for entry in entries)
    if not requests:
        return Outcome(0, failures, 0.0, 0.0, 0.0)
    begin = min(entry["start_time"] for entry in entries)
    end = max(entry["last_request_timestamp"] for entry in entries)
    rate = requests / max(end - begin, 1e-3)
    return Outcome(requests, failures, _quantile(waits, 0.5), _quantile(waits, 0.95), rate)


def _quantile(waits: Counter[float], share: float) -> float:
    """The smallest value that at least ``share`` of the counted values do not exceed."""
    left = share * waits.total()
    for value, count in sorted(waits.items()):
        left -= count
        if left <= 0:
            return value
    return 0.0


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
