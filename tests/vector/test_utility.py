"""Fidelity and size as one number: more of either good is worth more, and their exchange rate is as written."""

from __future__ import annotations

import math

import numpy as np
import pytest

from serve.vector.parameters import (
    EPSILON,
    WEIGHT_OVER,
    WEIGHT_UNDER,
    reference_from_area,
    reference_parameters,
    utility,
)


def test_halving_the_error_is_worth_ln_2() -> None:
    assert utility(1 - 0.02 + EPSILON, 500, 1000) - utility(1 - 0.04 + EPSILON, 500, 1000) == pytest.approx(math.log(2))


def test_bytes_cost_more_above_the_reference_than_below() -> None:
    at = float(utility(0.95, 1000, 1000))
    assert at - utility(0.95, 1000 * math.e, 1000) == pytest.approx(WEIGHT_OVER)
    assert utility(0.95, 1000 / math.e, 1000) - at == pytest.approx(WEIGHT_UNDER)


def test_it_ranks_as_a_person_would() -> None:
    scores = utility([0.99, 0.99, 0.95, 0.99], [4000, 3000, 3000, 40_000], 5000)
    assert scores.argsort().tolist() == [2, 3, 0, 1]
    assert scores.shape == (4,)


def test_it_is_finite_at_the_ends() -> None:
    assert np.isfinite(utility([1.0, 1.0001, -1.0, 0.0], [0, 1, 10**9, 1], 0)).all()


def test_references() -> None:
    assert reference_parameters().path_precision == 2
    assert reference_from_area(256, 256) == pytest.approx(5632)
