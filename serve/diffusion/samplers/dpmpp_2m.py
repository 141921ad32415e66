"""DPM-Solver++(2M), midpoint (Lu et al. 2022b, algorithm 2): the step before stands in for a second evaluation.

The first and the last step are of first order: one has no step before it, the other ends without noise.
"""

from __future__ import annotations

import math
from functools import partial

from serve.diffusion.samplers.levels import Array, Levels, State, moved, multistep_levels

karras_levels = partial(multistep_levels, karras=True)


def step(levels: Levels, state: State, x0: Array, sample: Array, i: int, noise: Array | None) -> tuple[Array, State]:
    level = levels[i]
    if "x0" not in state or i == len(levels) - 1:
        return moved(sample, x0, level), {"x0": x0}
    h = level.next_log_snr - level.log_snr
    ratio = h / (level.log_snr - levels[i - 1].log_snr)
    slope = (0.5 * ratio) * (x0 - state["x0"])
    return moved(sample, x0, level) - (level.next_alpha * math.expm1(-h)) * slope, {"x0": x0}
