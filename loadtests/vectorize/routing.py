"""How well the router decides and the predictor foresees (D-053, F5), from measurements of the tiers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import spearmanr

from loadtests.vectorize.measure import Measurement

TIERS = ("tier1", "tier2", "tier3")
CLOSE = 0.005
"""Quality within this of the best tier's counts as the best, where none reaches the target."""


@dataclass(frozen=True)
class Routing:
    """``accuracy``: share where `auto` took the cheapest tier whose actual quality reaches the target, or one within
    CLOSE of the best where none does. ``reached``: share that met the target, of those that some tier can."""

    pictures: int
    accuracy: float
    reached: float
    chosen: Mapping[str, float]


@dataclass(frozen=True)
class Foresight:
    """Predicted against actual SSIM: shares within 10 % and within 0.05, mean error, rank correlation."""

    pictures: int
    within_10_percent: float
    within_005: float
    mean_error: float
    spearman: float


def routing(auto: Sequence[Measurement], tiers: Mapping[str, Sequence[Measurement]], target: float) -> Routing | None:
    """None when no picture was measured with every tier."""
    actual = {name: {r.picture: _actual(r) for r in tiers.get(name, ()) if not r.failure} for name in TIERS}
    common = [r for r in auto if not r.failure and all(r.picture in known for known in actual.values())]
    if not common:
        return None
    right, reached, possible = 0, 0, 0
    counts = dict.fromkeys(TIERS, 0)
    for row in common:
        qualities = {name: actual[name][row.picture] for name in TIERS}
        chosen = f"tier{row.notes['tier']}"
        counts[chosen] = counts.get(chosen, 0) + 1
        right += chosen in best_tiers(qualities, target)
        if max(qualities.values()) >= target:
            possible += 1
            reached += _actual(row) >= target
    shares = {name: count / len(common) for name, count in counts.items()}
    return Routing(len(common), right / len(common), reached / possible if possible else 1.0, shares)


def best_tiers(qualities: Mapping[str, float], target: float) -> set[str]:
    """The tiers that a router with hindsight may take: the cheapest that reaches ``target``, else all near the best."""
    for name in TIERS:
        if qualities[name] >= target:
            return {name}
    best = max(qualities.values())
    return {name for name, quality in qualities.items() if quality >= best - CLOSE}


def _actual(row: Measurement) -> float:
    return float(row.notes["actual_quality"])


def foresight(rows: Sequence[Measurement]) -> Foresight | None:
    """None when no row has a prediction."""
    pairs = [
        (float(r.notes["predicted_quality"]), _actual(r))
        for r in rows
        if r.notes.get("predicted_quality") is not None and r.notes.get("actual_quality") is not None
    ]
    if len(pairs) < 2:
        return None
    predicted, actual = np.array(pairs).T
    error = np.abs(predicted - actual)
    return Foresight(
        len(pairs),
        float(np.mean(error <= 0.1 * actual)),
        float(np.mean(error <= 0.05)),
        float(error.mean()),
        float(spearmanr(predicted, actual).statistic),
    )
