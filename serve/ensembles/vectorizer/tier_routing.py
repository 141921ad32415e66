"""Tier selection: the cheapest tier expected to meet the request in the available time (D-053)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from serve.ensembles.vectorizer.vectorization import VectorizeOptions

TIER2_TRIALS = 4
TIER3_GENERATIONS = 2
TIER3_TRIALS = 4
"""Trials per generation of tier 3. Counts are fixed, so that the result does not depend on the number of workers."""

_SECONDS_PER_TRIAL = 0.015
_SECONDS_PER_MEGAPIXEL = 0.32
_TIER2_SECONDS = 0.35  # of one core, for all of its trials
_TIER3_SECONDS = 0.8
_TIER2_FEWEST = 2
_TIER3_FEWEST = 4


@dataclass(frozen=True)
class Forecast:
    """Expected result of a tier; ``quality`` is an SSIM."""

    quality: float
    bytes: float
    paths: float


def expected_trial_s(width: int, height: int) -> float:
    """Estimated time of one trial with measurement on one core, from the size alone."""
    return _SECONDS_PER_TRIAL + _SECONDS_PER_MEGAPIXEL * width * height / 1e6


def trial_count(tier: int, trial_s: float) -> int:
    """Number of trials of ``tier`` if one takes ``trial_s``: fewer for large pictures."""
    if tier == 1:
        return 1
    if tier == 2:
        return min(TIER2_TRIALS, max(_TIER2_FEWEST, int(_TIER2_SECONDS / trial_s)))
    return min(TIER3_TRIALS * (1 + TIER3_GENERATIONS), max(_TIER3_FEWEST, int(_TIER3_SECONDS / trial_s)))


def duration_s(tier: int, trial_s: float, workers: int) -> float:
    """Expected wall time of the trials of ``tier``."""
    refined_s = trial_s if tier > 1 else 0.0
    return math.ceil(trial_count(tier, trial_s) / min(workers, TIER3_TRIALS)) * trial_s + refined_s


def affordable_tiers(tiers: tuple[int, ...], left_s: float | None, trial_s: float, workers: int) -> tuple[int, ...]:
    """The ``tiers`` that finish within ``left_s``; all if None."""
    if left_s is None:
        return tiers
    return tuple(tier for tier in tiers if duration_s(tier, trial_s, workers) <= left_s)


def choose_tier(options: VectorizeOptions, forecasts: dict[int, Forecast], fit: tuple[int, ...]) -> int:
    """The lowest tier in ``fit`` whose forecast satisfies ``options``, otherwise the highest; 1 if none fits.

    A tier without a forecast is accepted: its result is measured, and the next tier follows if needed.
    """
    for tier in fit:
        forecast = forecasts.get(tier)
        if forecast is None or satisfies(options, forecast.quality, forecast.bytes, forecast.paths):
            return tier
    return max(fit, default=1)


def satisfies(options: VectorizeOptions, quality: float | None, size_bytes: float | None, paths: float | None) -> bool:
    """Whether quality and limits are met; None counts as met."""
    return (quality is None or quality >= options.target_quality) and excess(options, size_bytes, paths) == 0.0


def excess(options: VectorizeOptions, size_bytes: float | None, paths: float | None) -> float:
    """Sum of log ratios by which ``max_bytes`` and ``max_paths`` are exceeded; 0: within the limits."""
    total = 0.0
    for value, bound in ((size_bytes, options.max_bytes), (paths, options.max_paths)):
        if value is not None and bound is not None and value > bound:
            total += math.log(value / bound)
    return total
