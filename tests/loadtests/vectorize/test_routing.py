"""Routing accuracy and foresight, from measurements of the tiers (D-053, F5)."""

from __future__ import annotations

from typing import Any

import pytest

from loadtests.vectorize import tiers_table
from loadtests.vectorize.measure import Measurement
from loadtests.vectorize.routing import best_tiers, foresight, routing


def row(method: str, picture: str, actual: float, predicted: float | None = None, tier: str = "1") -> Measurement:
    notes: dict[str, Any] = {"actual_quality": actual, "predicted_quality": predicted, "tier": tier}
    notes["timings_s"] = {"features": 0.002, "trace": 0.01 * int(tier)}
    return Measurement(
        method, picture, picture, "a", "clean", 64, 64, 64, actual, actual, 0.0, 100, 50, 2, 9, 5.0, "", notes
    )


TIERS = {
    "tier1": [row("tier1", "p", 0.92), row("tier1", "q", 0.85), row("tier1", "r", 0.70)],
    "tier2": [row("tier2", "p", 0.95), row("tier2", "q", 0.93), row("tier2", "r", 0.80)],
    "tier3": [row("tier3", "p", 0.97), row("tier3", "q", 0.96), row("tier3", "r", 0.801)],
}


def test_hindsight_takes_the_cheapest_that_reaches_the_target_else_all_near_the_best() -> None:
    assert best_tiers({"tier1": 0.92, "tier2": 0.95, "tier3": 0.97}, 0.9) == {"tier1"}
    assert best_tiers({"tier1": 0.85, "tier2": 0.93, "tier3": 0.96}, 0.95) == {"tier3"}
    assert best_tiers({"tier1": 0.70, "tier2": 0.80, "tier3": 0.801}, 0.9) == {"tier2", "tier3"}


def test_accuracy_counts_too_expensive_and_too_cheap_choices_as_wrong() -> None:
    auto = [row("auto", "p", 0.95, tier="2"), row("auto", "q", 0.93, tier="2"), row("auto", "r", 0.80, tier="2")]
    found = routing(auto, TIERS, 0.9)
    assert found is not None
    assert found.accuracy == pytest.approx(2 / 3)
    assert found.reached == 1.0
    assert found.chosen["tier2"] == 1.0
    assert routing(auto, {"tier1": TIERS["tier1"]}, 0.9) is None


def test_foresight_measures_both_bounds() -> None:
    cases = ((0.50, 0.0), (0.60, 0.04), (0.51, 0.052), (0.90, -0.2))
    rows = [row("tier1", str(actual), actual, actual + offset) for actual, offset in cases]
    found = foresight(rows)
    assert found is not None
    assert (found.within_10_percent, found.within_005) == (0.5, 0.5)
    assert found.mean_error == pytest.approx((0.04 + 0.052 + 0.2) / 4)
    assert foresight([row("tier1", "p", 0.9)]) is None


def test_tables_of_the_tiers_are_complete() -> None:
    rows = TIERS | {"auto": [row("auto", "p", 0.92, 0.9), row("auto", "q", 0.85, 0.8)], "coverage": TIERS["tier1"]}
    titles = {name: name for name in rows}
    stages = tiers_table.stages(rows, titles)
    assert "| tier1 | 2.0 | 10.0 |" in stages
    assert "| tier3 | 3 | 49.2 %" in tiers_table.learning(rows, titles)
    assert tiers_table.routes(rows, {"auto": 0.9}).splitlines()[-1].startswith("| 0.9 | 2 | 100.0 %")
    assert len(tiers_table.predictions(rows, titles).splitlines()) == 3
