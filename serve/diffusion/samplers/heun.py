"""Heun's method: an Euler step, a look from where it led, and the step again with the mean of both slopes.

Karras et al. 2022, algorithm 1. Two evaluations a step but for the last, which ends without noise: 2 * steps - 1.
"""

from __future__ import annotations

import numpy as np

from serve.diffusion.samplers.levels import Array, Levels, State, exploding_levels, moved
from serve.diffusion.schedules import NoiseSchedule


def levels(schedule: NoiseSchedule, steps: int) -> Levels:
    """Evaluation 2k opens step k at its own level, 2k + 1 closes it at the level of the step after it."""
    once = exploding_levels(schedule, steps)
    twice = np.repeat(np.arange(steps), 2)[1:]
    return Levels.chain(schedule, once.timesteps[twice], once.alphas[twice], once.sigmas[twice], once.initial_scale)


def step(levels: Levels, state: State, x0: Array, sample: Array, i: int, noise: Array | None) -> tuple[Array, State]:
    level = levels[i]
    slope = (sample - x0) / level.sigma
    if "slope" in state:
        length = level.sigma - levels[i - 1].sigma
        return state["sample"] + (0.5 * length) * (state["slope"] + slope), {}
    if i == len(levels) - 1:
        return moved(sample, x0, level), {}
    return moved(sample, x0, level), {"slope": slope, "sample": sample}
