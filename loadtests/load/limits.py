"""Limits, and the verdict on a run."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from loadtests.load.observations import Observations
from loadtests.load.outcome import Outcome

FILE = Path(__file__).with_name("limits.yaml")
MIB = 1024 * 1024


@dataclass(frozen=True)
class Limits:
    """As limits.yaml tells them; what is not told is not limited."""

    failure_ratio: float = 0.0
    p50_ms: float = math.inf
    p95_ms: float = math.inf
    p99_ms: float = math.inf
    requests_per_second: float = 0.0
    baseline: str = ""
    degradation: float = 1.0
    memory_mib: float = math.inf
    drift_mib: float = math.inf
    late_ratio: float = 1.0
    cache_hit_ratio: float = 0.0
    regression: float = math.inf
    regression_p95: float = math.inf


@dataclass(frozen=True)
class Measured:
    """``memory_bytes``: of the stack over the run, the first before it; empty where its processes are not known.
    ``results``: conversions and pictures each."""

    outcome: Outcome
    notes: Observations
    memory_bytes: Sequence[int] = field(default_factory=list)
    results: Mapping[str, Outcome] = field(default_factory=dict)

    @property
    def growth_mib(self) -> float:
        return (max(self.memory_bytes) - self.memory_bytes[0]) / MIB if self.memory_bytes else math.nan

    @property
    def drift_mib(self) -> float:
        """NaN with fewer than nine values, which tell nothing."""
        third = len(self.memory_bytes) // 3
        if third < 3:
            return math.nan
        middle, last = self.memory_bytes[third : 2 * third], self.memory_bytes[-third:]
        return (statistics.median(last) - statistics.median(middle)) / MIB


def limits(scenario: str, path: Path = FILE) -> Limits:
    """The default limits with the scenario's own over them."""
    return _of(scenario, yaml.safe_load(path.read_text()))


def rate_limits(kind: str, path: Path = FILE) -> Limits:
    """Of what comes at a rate, from the section ``rates``. Raises ``KeyError`` for a kind that has none."""
    table = yaml.safe_load(path.read_text())["rates"]
    return _of(kind, {"default": table["default"], kind: table[kind]})


def _of(name: str, table: Mapping[str, Mapping[str, Any]]) -> Limits:
    return Limits(**{**table["default"], **table.get(name, {})})


def degradation(found: Outcome, baseline: Outcome) -> float:
    """Share of the baseline's right answers per second that is missing; below 0: there are more."""
    if not baseline.right_per_second:
        return math.nan
    return 1 - found.right_per_second / baseline.right_per_second


def degradations(measured: Measured, baseline: Measured) -> Iterator[tuple[str, float]]:
    """Of all work, and of conversions and pictures each, so that more of one does not hide less of the other."""
    yield "all work", degradation(measured.outcome, baseline.outcome)
    for name, before in baseline.results.items():
        yield name, degradation(measured.results.get(name, Outcome()), before)


def broken(measured: Measured, limits: Limits, baseline: Measured | None = None) -> list[str]:
    """What the run exceeded, in words; empty when all is well."""
    found, notes = measured.outcome, measured.notes
    reasons = uncounted(measured)
    if found.failure_ratio > limits.failure_ratio:
        reasons.append(f"{found.failures} of {found.requests} requests failed")
    for name in ("p50_ms", "p95_ms", "p99_ms"):
        took, limit = getattr(found, name), getattr(limits, name)
        if took > limit:
            reasons.append(f"{name[:3]} {took:.0f} ms, limit {limit:.0f}")
    if found.requests_per_second < limits.requests_per_second:
        reasons.append(f"{found.requests_per_second:.1f} requests/s, limit {limits.requests_per_second:g}")
    for name, missing in degradations(measured, baseline) if baseline is not None else ():
        if not missing <= limits.degradation:
            reasons.append(f"{name}: {missing:.0%} less done than by {limits.baseline}")
    if notes.late_ratio > limits.late_ratio:
        reasons.append(f"{notes.late} of {notes.due} requests were not sent when they were due")
    if limits.cache_hit_ratio and notes.hit_ratio < limits.cache_hit_ratio:
        reasons.append(f"{notes.hit_ratio:.0%} of answers from the cache, limit {limits.cache_hit_ratio:.0%}")
    return reasons + _of_memory(measured, limits)


def uncounted(measured: Measured) -> list[str]:
    """A request that nobody counted has not gone well: something broke where it was asked or looked at."""
    found, notes = measured.outcome, measured.notes
    silent = [name for name in sorted(notes.started) if not notes.counted[name]]
    reasons = [f"no request of {', '.join(silent)} was counted"] if silent else []
    sent = notes.due - notes.unsent
    if notes.due and sent != found.requests:
        reasons.append(f"{sent} requests were sent, and {found.requests} counted")
    return reasons


def _of_memory(measured: Measured, limits: Limits) -> list[str]:
    """Where memory is not known it breaks nothing: see ``not_judged``."""
    reasons = []
    if measured.growth_mib > limits.memory_mib:
        reasons.append(f"memory grew by {measured.growth_mib:.0f} MiB, limit {limits.memory_mib:.0f}")
    if measured.drift_mib > limits.drift_mib:
        reasons.append(f"memory went on growing by {measured.drift_mib:.0f} MiB, limit {limits.drift_mib:.0f}")
    return reasons


def not_judged(measured: Measured, limits: Limits) -> list[str]:
    """The limits that nothing is known about, in words."""
    known = {"memory_mib": measured.growth_mib, "drift_mib": measured.drift_mib}
    return [name for name, found in known.items() if math.isnan(found) and getattr(limits, name) < math.inf]
