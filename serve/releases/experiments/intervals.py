"""Means and rates with 95 % confidence intervals for clustered data (several values per user).

Generations of a user are correlated, and arms are assigned to users: treating generations as independent would make
intervals too narrow. The variance is that of a ratio of sums over units (Deng, Knoblich and Lu, "Applying the Delta
Method in Metric Analytics", KDD 2018, equation 4). With one value per unit it is the usual s^2 / n.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

CONFIDENCE = 0.95
_ROUNDING = 1e-12
"""Relative to the sum of squares: smaller values are rounding errors."""
_Z = 1.959963984540054
"""Normal quantile at 0.975."""


@dataclass(frozen=True)
class Sums:
    """Sums over ``units`` of n_i values with sum x_i: of n, x, n^2, x^2 and n x."""

    units: int
    n: float
    x: float
    nn: float
    xx: float
    nx: float

    @property
    def mean(self) -> float:
        return self.x / self.n

    @property
    def variance_of_mean(self) -> float:
        """Delta method: K/(K-1) * sum (x_i - m n_i)^2 / n^2, for K units and the mean m."""
        m, k = self.mean, self.units
        squares = self.xx - 2 * m * self.nx + m * m * self.nn
        return k / (k - 1) * squares / self.n**2 if squares > _ROUNDING * self.xx else 0.0


@dataclass(frozen=True)
class Estimate:
    """``n`` values of ``units`` units. ``low`` and ``high`` are None with too few units or without spread."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    units: int


def rate(sums: Sums) -> Estimate:
    """Wilson's score interval (Wilson 1927) with the effective sample size (Korn and Graubard 1998):
    p (1 - p) over the variance of the mean, at most n. If all values are equal, the number of units.
    """
    if sums.n == 0:
        return Estimate(None, None, None, 0, 0)
    p, n = min(1.0, max(0.0, sums.mean)), int(sums.n)
    if sums.units < 2:
        return Estimate(p, None, None, n, sums.units)
    spread, variance = p * (1 - p), sums.variance_of_mean
    worth = min(sums.n, spread / variance) if spread > 0 and variance > 0 else float(min(sums.units, n))
    low, high = wilson(p, worth)
    return Estimate(p, low, high, n, sums.units)


def wilson(p: float, n: float) -> tuple[float, float]:
    """(p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n)."""
    middle, half = p + _Z**2 / (2 * n), _Z * math.sqrt(p * (1 - p) / n + _Z**2 / (4 * n * n))
    whole = 1 + _Z**2 / n
    return max(0.0, (middle - half) / whole), min(1.0, (middle + half) / whole)


def mean(sums: Sums) -> Estimate:
    """Student's t interval with units - 1 degrees of freedom."""
    if sums.n == 0:
        return Estimate(None, None, None, 0, 0)
    if sums.units < 2:
        return Estimate(sums.mean, None, None, int(sums.n), sums.units)
    variance = sums.variance_of_mean
    if variance == 0:
        return Estimate(sums.mean, None, None, int(sums.n), sums.units)
    half = t_quantile(sums.units - 1) * math.sqrt(variance)
    return Estimate(sums.mean, sums.mean - half, sums.mean + half, int(sums.n), sums.units)


def rate_difference(one: Estimate, other: Estimate) -> Estimate:
    """``other`` minus ``one``, from the two score intervals (Newcombe 1998, "Interval estimation for the difference
    between independent proportions", method 10)."""
    if one.low is None or other.low is None or one.high is None or other.high is None:
        return _unknown(one, other)
    p, q = one.value or 0.0, other.value or 0.0
    value = q - p
    low = value - math.hypot(q - other.low, one.high - p)
    high = value + math.hypot(other.high - q, p - one.low)
    return Estimate(value, low, high, one.n + other.n, one.units + other.units)


def mean_difference(one: Sums, other: Sums) -> Estimate:
    """``other`` minus ``one``: Welch's t, degrees of freedom by Satterthwaite (Welch 1947)."""
    if one.units < 2 or other.units < 2:
        return _unknown(mean(one), mean(other))
    a, b = one.variance_of_mean, other.variance_of_mean
    value, total = other.mean - one.mean, a + b
    n, units = int(one.n + other.n), one.units + other.units
    if total == 0:
        return Estimate(value, None, None, n, units)
    freedom = total**2 / (a**2 / (one.units - 1) + b**2 / (other.units - 1))
    half = t_quantile(freedom) * math.sqrt(total)
    return Estimate(value, value - half, value + half, n, units)


def t_quantile(freedom: float) -> float:
    """Student's t quantile at 0.975. Loads SciPy on first use: not on an event loop."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 1 - (1 - CONFIDENCE) / 2))


def _unknown(one: Estimate, other: Estimate) -> Estimate:
    return Estimate(None, None, None, one.n + other.n, one.units + other.units)
