"""Candidate parameters of a picture: fixed, sampled, near a known one, coarser.

Rows are candidate rows of `serve.vector.parameters`, shape (n, 10). Sampling is seeded by the picture's hash, and
values lie on a grid of 1/256, so that results do not depend on chance or on the last bit of a prediction.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from serve.vector.features import Features, degradation
from serve.vector.parameters import (
    CANDIDATE_WIDTH,
    LEARNED,
    CoverageParameters,
    Parameters,
    PictorialParameters,
    VTracerParameters,
    from_candidate,
    to_candidate,
)

Floats = npt.NDArray[np.float32]

SAMPLED = 1000
_GRID = 256
_VTRACER_SHARE = 0.05
_UNIFORM_SHARE = 0.35
_NEAR_SPREAD = 0.12
_DISTINCT = 0.15  # rows that differ less than this in every value count as equal

# The best of about 40 on icons of the `train` split, by utility against the clean picture.
_FIXED = {
    "none": CoverageParameters(refine=1),
    "noisy": CoverageParameters(
        denoise=24.0, flatness=20.0, palette_distance=0.065, max_colors=16, tolerance=0.25, refine=1
    ),
    "blurred": CoverageParameters(tolerance=0.21, refine=1),
}


_PICTORIAL = {1: (0.7, 1.4, 1.1, 3, 1 << 18), 2: (1.7, 0.6, 1.0, 2, 600_000), 3: (4.2, 0.2, 0.8, 1, 1_500_000)}
"""By tier: most regions for each pixel to the power of _REGIONS_POWER, price, tolerance, step of colours, most
pixels. A higher tier's drawing is finer in all of them."""
_REGIONS_POWER = 0.66
_MOST_REGIONS = 16_000


def pictorial_parameters(width: int, height: int, tier: int) -> PictorialParameters:
    """Parameters of a photograph, painting or scan of that size in pixels."""
    density, price, tolerance, step, most = _PICTORIAL[tier]
    regions = round(density * min(width * height, most) ** _REGIONS_POWER)
    return PictorialParameters(
        regions=max(2, min(_MOST_REGIONS, regions)),
        price=price,
        tolerance=tolerance,
        color_step=step,
        max_pixels=most,
    )


def generator(sha256: str, stage: int) -> np.random.Generator:
    """A generator that depends only on the picture and the search stage."""
    return np.random.default_rng([int(sha256[:16], 16), stage])


def fixed_parameters(features: Features) -> CoverageParameters:
    """Parameters without a model: defaults for clean pictures, a pre-filter and wider thresholds for noisy ones."""
    return _FIXED[degradation(features)]


def on_grid(rows: npt.ArrayLike) -> Floats:
    """Round values to the grid, the tracer to 0 or 1, refinement to whole rounds; any leading shape."""
    values = np.clip(np.asarray(rows, np.float32), 0, 1)
    snapped = np.round(values * _GRID) / np.float32(_GRID)
    snapped[..., 0] = values[..., 0] >= 0.5
    snapped[..., -1] = np.round(values[..., -1] * 3) / np.float32(3)
    return np.asarray(snapped, np.float32)


def parameters_from_row(row: npt.ArrayLike) -> Parameters:
    return from_candidate(on_grid(row))


def sample(sha256: str, starts: Floats, refine: int, count: int = SAMPLED) -> Floats:
    """``starts`` (shape (k, 10)) and samples, ``count`` rows in total: partly uniform, the rest near the starts."""
    rng = generator(sha256, 0)
    free = count - len(starts)
    rows = np.empty((free, CANDIDATE_WIDTH), np.float32)
    rows[:, 1:-1] = starts[np.arange(free) % len(starts), 1:-1] + rng.normal(0, _NEAR_SPREAD, (free, LEARNED))
    everywhere = rng.random(free) < _UNIFORM_SHARE
    rows[everywhere, 1:-1] = rng.random((int(everywhere.sum()), LEARNED))
    rows[:, 0] = rng.random(free) < _VTRACER_SHARE
    rows[:, -1] = np.where(rows[:, 0] == 1, 0, refine / 3)
    return np.concatenate([on_grid(starts), on_grid(rows)])


def sample_near(sha256: str, stage: int, row: Floats, spread: Floats, count: int) -> Floats:
    """``count`` rows near ``row`` (shape (10,)); ``spread`` (shape (8,)): standard deviations in unit values."""
    rng = generator(sha256, stage)
    rows = np.repeat(row[None], count, axis=0)
    moved = rng.random((count, LEARNED)) < 0.6
    rows[:, 1:-1] += moved * rng.normal(0, 1, (count, LEARNED)) * spread
    return on_grid(rows)


def select_diverse(rows: Floats, worth: npt.NDArray[np.float64], count: int, taken: Floats | None = None) -> list[int]:
    """Indices of up to ``count`` rows with the highest ``worth`` that differ from each other and from ``taken``.

    Worths that agree to 1e-4 are ordered by index.
    """
    chosen: list[int] = []
    avoided = [*taken] if taken is not None else []
    for index in np.lexsort((np.arange(len(rows)), -np.round(worth, 4))):
        if len(chosen) == count:
            break
        if all(_differ(rows[index], other) for other in avoided):
            chosen.append(int(index))
            avoided.append(rows[index])
    return chosen


def _differ(a: Floats, b: Floats) -> bool:
    return bool(a[0] != b[0] or np.abs(a[1:] - b[1:]).max() >= _DISTINCT)


def row_from_parameters(parameters: Parameters) -> Floats:
    return on_grid(to_candidate(parameters))


def coarser(parameters: Parameters, step: int) -> Parameters:
    """Parameters for fewer bytes and paths, more so with each ``step`` from 1 on."""
    if isinstance(parameters, VTracerParameters):
        return replace(
            parameters,
            filter_speckle=min(16, parameters.filter_speckle + 2 * step),
            color_precision=max(1, parameters.color_precision - step // 2),
            layer_difference=min(128, parameters.layer_difference + 12 * step),
            path_precision=0,
            mode="polygon" if step >= 4 else parameters.mode,
        )
    if isinstance(parameters, PictorialParameters):
        return replace(
            parameters,
            regions=max(2, round(parameters.regions * 0.5**step)),
            price=min(1e4, parameters.price * 2.0**step),
            tolerance=min(4.0, parameters.tolerance * 1.15**step),
        )
    return replace(
        parameters,
        tolerance=min(1.0, parameters.tolerance * 1.3**step),
        min_area=min(12.0, parameters.min_area * 1.5**step),
        palette_distance=min(0.12, parameters.palette_distance * 1.2**step),
        max_colors=max(2, round(parameters.max_colors * 0.75**step)),
        max_paths=max(1, round(parameters.max_paths * 0.7**step)),
        gradient_rms=parameters.gradient_rms if step < 4 else 0.0,
        decimals=min(parameters.decimals, 1 if step < 2 else 0),
    )
