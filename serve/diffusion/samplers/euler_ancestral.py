"""Ancestral sampling: further down than the next level, then noise up to it (Song et al. 2021, eq. 16 with eta = 1).

In the variance exploding convention this is k-diffusion's Euler ancestral. Written in alpha and sigma it also serves a
rectified flow, where it keeps the noise at the level that the model expects.
"""

from __future__ import annotations

import math
from dataclasses import replace

from serve.diffusion.samplers.levels import Array, Levels, State, exploding_levels, moved
from serve.diffusion.schedules import NoiseSchedule


def levels(schedule: NoiseSchedule, steps: int) -> Levels:
    """Those of Euler, and never Karras sigmas, as in diffusers."""
    return exploding_levels(schedule.model_copy(update={"use_karras_sigmas": False}), steps)


def step(levels: Levels, state: State, x0: Array, sample: Array, i: int, noise: Array | None) -> tuple[Array, State]:
    level = levels[i]
    if noise is None:
        raise ValueError("ancestral sampling needs noise at every evaluation")
    kept = level.next_sigma * level.alpha / (level.next_alpha * level.sigma)
    added = level.next_sigma * math.sqrt(max(0.0, 1.0 - kept**2))
    down = replace(level, next_sigma=level.next_sigma * min(1.0, kept))
    return moved(sample, x0, down) + added * noise, {}
