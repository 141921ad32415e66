"""The statistics of the vectorising benchmark (D-051, F6)."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from loadtests.vectorize.measure import Measurement
from loadtests.vectorize.paired import compare, interval


def measurement(icon: str, ssim: float, size_bytes: int = 100) -> Measurement:
    return Measurement(
        method="ours",
        picture=f"{icon}|clean",
        icon=icon,
        set=icon.split(":")[0],
        condition="clean",
        width=64,
        height=64,
        size=64,
        ssim=ssim,
        ssim4=ssim,
        mse=0.0,
        bytes=size_bytes,
        gzip_bytes=50,
        paths=2,
        nodes=9,
        ms=5.0,
    )


def test_removed_is_a_ratio_of_sums_and_not_a_mean_of_ratios() -> None:
    atelier = [measurement("a:1", 0.99), measurement("a:2", 0.95)]
    base = [measurement("a:1", 0.90), measurement("a:2", 0.90)]
    found = compare(atelier, base)
    assert found is not None
    assert found.removed == pytest.approx(1 - 0.06 / 0.20)
    assert found.relative_gain == pytest.approx((0.09 / 0.9 + 0.05 / 0.9) / 2)
    assert found.icons == 2


def test_only_common_pictures_are_compared() -> None:
    atelier = [measurement("a:1", 0.99), measurement("a:2", 0.0)]
    found = compare(atelier, [measurement("a:1", 0.90)])
    assert found is not None
    assert found.pictures == 1
    assert found.removed == pytest.approx(0.9)
    assert compare(atelier, [measurement("a:3", 0.9)]) is None


def test_base_wins_where_its_ssim_is_higher_by_more_than_a_tie() -> None:
    base = [measurement(f"a:{k}", 0.95) for k in range(4)]
    atelier = [
        measurement("a:0", 0.94),
        measurement("a:1", 0.95 - 5e-5),
        measurement("a:2", 0.95),
        measurement("a:3", 0.96),
    ]
    found = compare(atelier, base)
    assert found is not None
    assert found.base_wins == 0.25


def test_bytes_ratio_is_of_totals() -> None:
    base = [measurement("a:1", 0.9, 1000), measurement("a:2", 0.9, 100)]
    atelier = [measurement("a:1", 0.9, 300), measurement("a:2", 0.9, 250)]
    found = compare(atelier, base)
    assert found is not None
    assert found.bytes_ratio == pytest.approx(0.5)


def test_interval_covers_the_true_share_at_its_confidence() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(60):
        base = rng.gamma(2.0, 0.05, 80)
        atelier = base * rng.uniform(0.0, 0.4, 80)  # removes 80 % on average
        low, high = interval(atelier, base, np.arange(80))
        covered += low <= 0.8 <= high
    assert 50 <= covered <= 60


def test_conditions_of_one_icon_are_not_independent_samples() -> None:
    """Repeating every picture four times must not narrow the interval."""
    rng = np.random.default_rng(1)
    base, share = rng.gamma(2.0, 0.05, 40), rng.uniform(0.0, 0.4, 40)
    once = interval(base * share, base, np.arange(40))
    repeated = np.tile(base, 4)
    four = interval(repeated * np.tile(share, 4), repeated, np.tile(np.arange(40), 4))
    assert four == pytest.approx(once, abs=1e-9)


def test_missing_4x_measure_leaves_the_rest_intact() -> None:
    atelier = [replace(measurement("a:1", 0.99), ssim4=math.nan)]
    found = compare(atelier, [measurement("a:1", 0.90)])
    assert found is not None
    assert math.isnan(found.removed4)
    assert found.removed == pytest.approx(0.9)
