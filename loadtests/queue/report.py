"""Lines of measured times, their goals and peers, as tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from loadtests.queue.callers import Samples
from loadtests.vectorize.table import UNMEASURED, markdown


@dataclass(frozen=True)
class Line:
    """``peer`` is the ``what`` of the line that this one is compared with: of the same database, in the same run."""

    database: str
    what: str
    count: int
    per_second: float
    p50_ms: float
    p95_ms: float
    goal_ms: float = math.inf
    peer: str = ""
    errors: int = 0
    error: str = ""

    @property
    def met(self) -> bool:
        return self.p95_ms < self.goal_ms and not self.errors


def line(database: str, what: str, samples: Samples, goal_ms: float = math.inf, peer: str = "") -> Line:
    p50, p95 = quantiles_ms(samples.taken_s)
    per_second = len(samples.taken_s) / samples.seconds if samples.seconds else math.nan
    first = samples.errors[0] if samples.errors else ""
    return Line(database, what, len(samples.taken_s), per_second, p50, p95, goal_ms, peer, len(samples.errors), first)


def quantiles_ms(seconds: Sequence[float]) -> tuple[float, float]:
    p50, p95 = np.quantile(seconds, [0.5, 0.95]) * 1e3 if seconds else (math.nan, math.nan)
    return float(p50), float(p95)


def table(title: str, lines: Sequence[Line]) -> str:
    """Databases beside each other where they were asked the same."""
    order = list(dict.fromkeys(one.what for one in lines))
    header = [title, "database", "answers", "errors", "per second", "p50 ms", "p95 ms", "p50 to its peer's"]
    rows = []
    for one in sorted(lines, key=lambda one: order.index(one.what)):
        numbers = [f"{one.count}", f"{one.errors}", f"{one.per_second:.0f}", f"{one.p50_ms:.1f}", f"{one.p95_ms:.1f}"]
        goal = [UNMEASURED, UNMEASURED] if math.isinf(one.goal_ms) else [f"{one.goal_ms:.0f}", verdict(one.met)]
        rows.append([one.what, one.database, *numbers, against(one, lines), *goal])
    return markdown([*header, "goal ms", "p95 within"], rows)


def against(one: Line, lines: Sequence[Line]) -> str:
    """How many times as long as its peer it takes."""
    peers = [other for other in lines if (other.database, other.what) == (one.database, one.peer)]
    return f"{one.p50_ms / peers[0].p50_ms:.2f} x" if peers else UNMEASURED


def verdict(met: bool) -> str:
    return "yes" if met else "no"


def errors_of(lines: Sequence[Line]) -> list[str]:
    return [f"error seen, {one.database}, {one.what}: {one.error}" for one in lines if one.error]
