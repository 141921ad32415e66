"""Latent consistency models (Luo et al. 2023): jump to the picture, add noise, jump again.

For a rectified flow the jump is the model's own, without the boundary condition of LCM's distillation, as in diffusers'
FlowMatchEulerDiscreteScheduler with stochastic sampling.
"""

from __future__ import annotations

import math

import numpy as np

from serve.diffusion.samplers.levels import Array, Levels, State, flow_levels
from serve.diffusion.schedules import NoiseSchedule, alphas_cumprod

SIGMA_DATA = 0.5


def levels(schedule: NoiseSchedule, steps: int) -> Levels:
    """Timesteps out of those that the model was distilled on, or out of as many as there are steps if that is more."""
    if schedule.prediction_type == "flow":
        return flow_levels(schedule, steps)
    total = schedule.num_train_timesteps
    distilled = min(max(schedule.original_inference_steps, steps), total)
    falling = (np.arange(1, distilled + 1) * (total // distilled) - 1)[::-1]
    chosen = falling[np.floor(np.linspace(0, distilled, steps, endpoint=False)).astype(int)]
    cumprod = alphas_cumprod(schedule)[chosen]
    return Levels.chain(schedule, chosen.astype(np.float64), np.sqrt(cumprod), np.sqrt(1.0 - cumprod))


def step(levels: Levels, state: State, x0: Array, sample: Array, i: int, noise: Array | None) -> tuple[Array, State]:
    level = levels[i]
    if noise is None:
        raise ValueError("LCM needs noise at every evaluation")
    skip, out = (0.0, 1.0) if levels.schedule.prediction_type == "flow" else _boundary(levels, i)
    return level.next_alpha * (out * x0 + skip * sample) + level.next_sigma * noise, {}


def _boundary(levels: Levels, i: int) -> tuple[float, float]:
    """(c_skip, c_out) of the consistency function (Luo et al. 2023, section 4.1)."""
    scaled = float(levels.timesteps[i]) * levels.schedule.timestep_scaling
    square = scaled**2 + SIGMA_DATA**2
    return SIGMA_DATA**2 / square, scaled / math.sqrt(square)
