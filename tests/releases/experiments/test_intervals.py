"""Confidence intervals (D-083): equal to published examples and SciPy's, and of the right width for clustered users."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from serve.releases.experiments.intervals import (
    Estimate,
    Sums,
    mean,
    mean_difference,
    rate,
    rate_difference,
    t_quantile,
    wilson,
)


def sums(*units: list[float]) -> Sums:
    n, x = np.array([len(unit) for unit in units], float), np.array([sum(unit) for unit in units], float)
    return Sums(len(units), n.sum(), x.sum(), (n * n).sum(), (x * x).sum(), (n * x).sum())


def alone(values: list[float]) -> Sums:
    return sums(*([value] for value in values))


@pytest.mark.parametrize(
    ("count", "n", "low", "high"), [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611)]
)
def test_wilson_interval_equals_newcombes_table(count: int, n: int, low: float, high: float) -> None:
    """Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I, method 3."""
    assert wilson(count / n, n) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))
    interval = rate(alone([1.0] * count + [0.0] * (n - count)))
    assert interval.low == pytest.approx(low, abs=3e-4)
    assert interval.high == pytest.approx(high, abs=3e-4)


def test_difference_of_rates_equals_newcombes_table() -> None:
    """Newcombe 1998, table II, 56/70 and 48/80 by method 10: 0.0524 to 0.3339."""
    one, other = (Estimate(p, *wilson(p, n), n, n) for p, n in ((48 / 80, 80), (56 / 70, 70)))
    interval = rate_difference(one, other)
    assert interval.value == pytest.approx(0.2)
    assert (interval.low, interval.high) == (pytest.approx(0.0524, abs=5e-5), pytest.approx(0.3339, abs=5e-5))


def test_interval_of_means_equals_scipys() -> None:
    generator = np.random.default_rng(3)
    one, other = generator.normal(5, 2, 40), generator.normal(6, 3, 25)
    interval = mean(alone(list(one)))
    low, high = stats.t.interval(0.95, 39, one.mean(), stats.sem(one))
    assert (interval.low, interval.high) == (pytest.approx(low), pytest.approx(high))
    between = mean_difference(alone(list(one)), alone(list(other)))
    expected = stats.ttest_ind(other, one, equal_var=False).confidence_interval(0.95)
    assert (between.low, between.high) == (pytest.approx(expected.low), pytest.approx(expected.high))
    assert t_quantile(7) == pytest.approx(2.364624, abs=1e-6)


def test_generations_of_one_user_are_not_independent() -> None:
    """Each of twenty users likes either all of fifty pictures or none."""
    users = sums(*([float(i % 2)] * 50 for i in range(20)))
    interval = rate(users)
    narrow, wide = wilson(0.5, 1000), wilson(0.5, 20)
    assert interval.low is not None
    assert interval.high is not None
    assert interval.high - interval.low == pytest.approx(wide[1] - wide[0], rel=0.06)
    assert interval.high - interval.low > 4 * (narrow[1] - narrow[0])
    assert (interval.n, interval.units) == (1000, 20)


@pytest.mark.slow
def test_interval_covers_the_true_rate_in_95_percent_of_trials() -> None:
    """Users with individual rates (beta distribution), of 1 to 20 generations: the interval covers the mean rate."""
    generator, held, of = np.random.default_rng(11), 0, 600
    for _ in range(of):
        units = []
        for p in generator.beta(2, 4, 150):
            units.append(list((generator.random(generator.integers(1, 20)) < p).astype(float)))
        interval = rate(sums(*units))
        assert interval.low is not None
        assert interval.high is not None
        held += interval.low <= 1 / 3 <= interval.high
    assert abs(held / of - 0.95) < 4 * math.sqrt(0.95 * 0.05 / of)


def test_too_few_samples_give_no_interval() -> None:
    nothing = Sums(0, 0, 0, 0, 0, 0)
    assert rate(nothing) == Estimate(None, None, None, 0, 0)
    assert mean(nothing) == Estimate(None, None, None, 0, 0)
    one = sums([1.0, 0.0, 1.0])
    assert (rate(one).value, rate(one).low) == (pytest.approx(2 / 3), None)
    assert mean(one).low is None
    assert mean_difference(one, alone([1.0, 2.0])).value is None
    assert rate_difference(rate(one), rate(alone([1.0, 0.0]))).value is None


def test_samples_without_variance() -> None:
    interval = rate(sums([0.0] * 10, [0.0] * 10, [0.0]))
    assert interval.low == pytest.approx(0.0, abs=1e-12)
    assert interval.high == pytest.approx(wilson(0.0, 3)[1])
    for value in (2.0, 0.1, 1 / 3):
        same = alone([value] * 7)
        assert (mean(same).value, mean(same).low, mean(same).high) == (pytest.approx(value), None, None)
        between = mean_difference(same, same)
        assert (between.value, between.low, between.high) == (0.0, None, None)
        assert mean_difference(same, alone([1.0, 2.0])).low is not None
