"""UniPC of order 2 with B(h) = expm1(-h), in x0 (Zhao et al. 2023, algorithms 5 and 6): predict, then correct for free.

An evaluation first corrects its sample with the new output, then predicts the next one.
The predictor is DPM-Solver++(2M).
"""

from __future__ import annotations

import math

from serve.diffusion.samplers import dpmpp_2m
from serve.diffusion.samplers.levels import Array, Levels, State, moved


def step(levels: Levels, state: State, x0: Array, sample: Array, i: int, noise: Array | None) -> tuple[Array, State]:
    corrected = _corrected(levels, state, x0, i) if "x0" in state else sample
    after, _ = dpmpp_2m.step(levels, state, x0, corrected, i, noise)
    now = {"x0": x0, "sample": corrected}
    return after, {**now, "x0_before": state["x0"]} if "x0" in state else now


def _corrected(levels: Levels, state: State, x0: Array, i: int) -> Array:
    """The sample of evaluation ``i`` again, from the one before it, now that ``x0`` is known at its far end."""
    level = levels[i - 1]
    h = level.next_log_snr - level.log_snr
    change, big = x0 - state["x0"], math.expm1(-h)
    if "x0_before" not in state:
        correction = 0.5 * change
    else:
        # What multiplies the two slopes solves rho_0 + rho_1 = b_1, r rho_0 + rho_1 = b_2 (their eq. 9).
        r = (levels[i - 2].log_snr - level.log_snr) / h
        phi_1 = -big / h - 1.0
        phi_2 = -phi_1 / h - 0.5
        rho_0 = (phi_1 - 2.0 * phi_2) / big / (1.0 - r)
        rho_1 = phi_1 / big - rho_0
        correction = (rho_0 / r) * (state["x0_before"] - state["x0"]) + rho_1 * change
    return moved(state["sample"], state["x0"], level) - (level.next_alpha * big) * correction
