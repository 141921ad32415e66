"""Which parameters the tracers are tried with: the sampling that the labels come from.

A picture's first two candidates are the defaults of VTracer (path precision 2, the baseline of every comparison)
and of the coverage tracer. The others mix three sources, so that the predictor knows the whole box, the
neighbourhood of the defaults and that of points known to be good for degraded pictures.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from serve.vector.parameters import LEARNED, MAX_REFINE, CoverageParameters, Parameters, VTracerParameters

BASELINE = VTracerParameters()

GOOD_POINTS = (
    CoverageParameters(denoise=24, flatness=19, palette_distance=0.06, max_colors=16, min_area=1.0, tolerance=0.25),
    CoverageParameters(denoise=14, flatness=14, palette_distance=0.05, max_colors=24, min_area=1.5, tolerance=0.3),
    CoverageParameters(denoise=0, flatness=5, palette_distance=0.03, max_colors=40, min_area=0.7, tolerance=0.2),
    CoverageParameters(denoise=0, flatness=8, palette_distance=0.04, max_colors=24, min_area=1.5, tolerance=0.5),
)

_UNIFORM, _NEAR_DEFAULT = 0.35, 0.35
_SPREAD = 0.12
_VTRACER_SHARE = 0.08
_REFINE_ROUNDS = ((0, 0.6), (1, 0.25), (2, 0.08), (3, 0.07))


def sample_unit(rng: np.random.Generator, centres: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """One point of the unit box (shape (8,)): uniform, near ``centres[0]`` (the default) or near another centre.

    Near a centre, each coordinate moves with probability 0.6, by a Gaussian of 0.12.
    """
    which = rng.random()
    if which < _UNIFORM:
        return rng.random(LEARNED)
    centre = centres[0] if which < _UNIFORM + _NEAR_DEFAULT else centres[rng.integers(len(centres))]
    moved = np.where(rng.random(LEARNED) < 0.6, rng.normal(0.0, _SPREAD, LEARNED), 0.0)
    return np.asarray(np.clip(centre + moved, 0.0, 1.0))


def sample_coverage(rng: np.random.Generator) -> CoverageParameters:
    centres = np.stack([p.to_unit() for p in (CoverageParameters(), *GOOD_POINTS)])
    rounds, shares = zip(*_REFINE_ROUNDS, strict=True)
    refine = int(rng.choice(rounds, p=shares))
    return CoverageParameters.from_unit(sample_unit(rng, centres), refine=min(refine, MAX_REFINE))


def sample_vtracer(rng: np.random.Generator) -> VTracerParameters:
    return VTracerParameters.from_unit(sample_unit(rng, VTracerParameters().to_unit()[None]))


def candidates(count: int, seed: int) -> list[Parameters]:
    """The ``count`` (2 or more) candidates of one picture; about 8 % of the sampled ones are VTracer's."""
    rng = np.random.default_rng(seed)
    chosen: list[Parameters] = [BASELINE, CoverageParameters()]
    while len(chosen) < count:
        chosen.append(sample_vtracer(rng) if rng.random() < _VTRACER_SHARE else sample_coverage(rng))
    return chosen[:count]
