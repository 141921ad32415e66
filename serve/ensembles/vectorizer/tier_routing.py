"""Which tier a request gets: the cheapest one that should reach what was asked in the time there is (D-053)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from serve.ensembles.vectorizer.vectorization import VectorizeOptions

TIER2_TRIALS = 4
TIER3_GENERATIONS = 2
TIER3_TRIALS = 4
"""Trials of one generation of tier 3. Counts are fixed, so that the result does not depend on the number of workers."""

_SECONDS_PER_TRIAL = 0.015
_SECONDS_PER_MEGAPIXEL = 0.32
_TIER2_SECONDS = 0.35  # of one core, for all of its trials
_TIER3_SECONDS = 0.8
_TIER2_FEWEST = 2
_TIER3_FEWEST = 4


@dataclass(frozen=True)
class Forecast:
    """What a tier should give; ``quality`` is an SSIM."""

    quality: float
    bytes: float
    paths: float


def expected_trial_s(width: int, height: int) -> float:
    """One tracing with its measurement on one core, from the size alone."""
    return _SECONDS_PER_TRIAL + _SECONDS_PER_MEGAPIXEL * width * height / 1e6


def trials_of(tier: int, trial_s: float) -> int:
    """How many trials ``tier`` makes of a picture whose trials take ``trial_s``: fewer of large pictures."""
    if tier == 1:
        return 1
    if tier == 2:
        return min(TIER2_TRIALS, max(_TIER2_FEWEST, int(_TIER2_SECONDS / trial_s)))
    return min(TIER3_TRIALS * (1 + TIER3_GENERATIONS), max(_TIER3_FEWEST, int(_TIER3_SECONDS / trial_s)))


def duration_s(tier: int, trial_s: float, workers: int) -> float:
    """Expected wall time of the trials of ``tier``."""
    refined_s = trial_s if tier > 1 else 0.0
    return math.ceil(trials_of(tier, trial_s) / min(workers, TIER3_TRIALS)) * trial_s + refined_s


def fitting(tiers: tuple[int, ...], left_s: float | None, trial_s: float, workers: int) -> tuple[int, ...]:
    """Those of ``tiers`` that end within ``left_s``; all of them when there is no limit."""
    if left_s is None:
        return tiers
    return tuple(tier for tier in tiers if duration_s(tier, trial_s, workers) <= left_s)


def choose(options: VectorizeOptions, forecasts: dict[int, Forecast], fit: tuple[int, ...]) -> int:
    """The lowest tier of ``fit`` whose forecast satisfies ``options``, else the highest; 1 when none fits.

    A tier without a forecast of its quality is taken at its word: the result is measured, and the next tier follows.
    """
    for tier in fit:
        forecast = forecasts.get(tier)
        if forecast is None or satisfies(options, forecast.quality, forecast.bytes, forecast.paths):
            return tier
    return max(fit, default=1)


def satisfies(options: VectorizeOptions, quality: float | None, size_bytes: float | None, paths: float | None) -> bool:
    """Whether quality and bounds are as asked; what is None counts as satisfied."""
    return (quality is None or quality >= options.target_quality) and excess(options, size_bytes, paths) == 0.0


def excess(options: VectorizeOptions, size_bytes: float | None, paths: float | None) -> float:
    """How far beyond ``max_bytes`` and ``max_paths``, as the sum of the logarithms of the ratios; 0 is within."""
    total = 0.0
    for value, bound in ((size_bytes, options.max_bytes), (paths, options.max_paths)):
        if value is not None and bound is not None and value > bound:
            total += math.log(value / bound)
    return total
