"""Routing and candidates as pure functions: the table of tiers (D-053, F8), seeded samples, diverse picks, bounds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from serve.ensembles.vectorizer import candidates, tier_routing
from serve.ensembles.vectorizer.tier_routing import Forecast
from serve.ensembles.vectorizer.vectorization import VectorizeOptions
from serve.errors import InvalidRequest
from serve.vector.parameters import CoverageParameters, Parameters, VTracerParameters

GOOD, POOR = Forecast(0.97, 4000, 10), Forecast(0.80, 4000, 10)
SHA = "5f" * 32


@pytest.mark.parametrize(
    ("options", "forecasts", "fit", "tier"),
    [
        ({}, {1: GOOD, 2: GOOD}, (1, 2, 3), 1),
        ({}, {1: POOR, 2: GOOD}, (1, 2, 3), 2),
        ({}, {1: POOR, 2: POOR}, (1, 2, 3), 3),
        ({}, {1: POOR, 2: POOR}, (1, 2), 2),
        ({}, {1: POOR}, (1,), 1),
        ({}, {1: POOR}, (), 1),
        ({}, {}, (1, 2, 3), 1),
        ({"target_quality": 0.98}, {1: GOOD, 2: GOOD}, (1, 2, 3), 3),
        ({"target_quality": 0.5}, {1: POOR}, (1, 2, 3), 1),
        ({"max_bytes": 3000}, {1: GOOD, 2: Forecast(0.95, 2900, 10)}, (1, 2, 3), 2),
        ({"max_paths": 5}, {1: GOOD, 2: Forecast(0.95, 2900, 5)}, (1, 2, 3), 2),
    ],
)
def test_table_of_tiers(options: dict[str, Any], forecasts: dict[int, Forecast], fit: Any, tier: int) -> None:
    assert tier_routing.choose_tier(VectorizeOptions(**options), forecasts, fit) == tier


def test_too_slow_tiers_are_not_affordable() -> None:
    assert tier_routing.affordable_tiers((1, 2, 3), None, 0.1, 2) == (1, 2, 3)
    assert tier_routing.affordable_tiers((1, 2, 3), 10, 0.1, 2) == (1, 2, 3)
    assert tier_routing.affordable_tiers((1, 2, 3), 0.45, 0.1, 2) == (1, 2)
    assert tier_routing.affordable_tiers((1, 2, 3), 0.15, 0.1, 2) == (1,)
    assert tier_routing.affordable_tiers((1, 2, 3), 0.05, 0.1, 2) == ()


def test_large_pictures_get_fewer_trials() -> None:
    counts = [[tier_routing.trial_count(tier, s) for tier in (1, 2, 3)] for s in (0.02, 0.15, 2.0)]
    assert counts == [[1, 4, 12], [1, 2, 5], [1, 2, 4]]


@pytest.mark.parametrize("tier", ["1", "2", "best", 4, 0, True, None])
def test_tier_of_another_type_or_value_is_refused(tier: Any) -> None:
    """F8: a form's "2" must not silently be another tier; the routes convert it to a number."""
    with pytest.raises(InvalidRequest) as raised:
        VectorizeOptions(tier=tier)
    assert raised.value.field == "tier"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_bytes": 7}, "must be from 100 to 2147483647"),
        ({"target_quality": 1.5}, "must be from 0 to 1"),
        ({"time_budget_s": 0}, "must be from 0.001 to 600"),
    ],
)
def test_range_errors_have_plain_numbers(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        VectorizeOptions(**options)
    assert raised.value.message == message


def test_candidates_depend_on_the_picture_only() -> None:
    starts = candidates.row_from_parameters(CoverageParameters())[None]
    rows = candidates.sample(SHA, starts, refine=1)
    assert rows.shape == (1000, 10)
    assert np.array_equal(rows, candidates.sample(SHA, starts, refine=1))
    assert not np.array_equal(rows, candidates.sample("60" * 32, starts, refine=1))
    assert np.array_equal(rows[0], starts[0])
    assert 0.02 < rows[:, 0].mean() < 0.1
    for row in rows[::50]:
        candidates.parameters_from_row(row)


def test_last_bit_of_a_prediction_changes_nothing() -> None:
    row = candidates.row_from_parameters(CoverageParameters())
    assert candidates.parameters_from_row(row) == candidates.parameters_from_row(row + np.float32(1e-6))


def test_selected_candidates_are_good_and_diverse() -> None:
    rows = candidates.sample(SHA, candidates.row_from_parameters(CoverageParameters())[None], refine=1)
    worth = -np.abs(rows[:, 5] - 0.5).astype(np.float64)
    chosen = candidates.select_diverse(rows, worth, 4)
    assert len(chosen) == 4
    assert worth[chosen].min() > np.quantile(worth, 0.9)
    for i in chosen:
        for j in chosen:
            assert i == j or rows[i, 0] != rows[j, 0] or np.abs(rows[i] - rows[j]).max() >= 0.15
    assert candidates.select_diverse(rows[:1], worth[:1], 4) == [0]


@pytest.mark.parametrize("parameters", [CoverageParameters(), VTracerParameters()])
def test_coarser_parameters_stay_within_their_ranges(parameters: Parameters) -> None:
    for step in range(1, 12):
        assert candidates.coarser(parameters, step) != parameters
