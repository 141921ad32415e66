"""DDIM without added noise (Song et al. 2021, eq. 12 with sigma = 0)."""

from __future__ import annotations

import numpy as np

from serve.diffusion.samplers.levels import Array, Levels, State, moved
from serve.diffusion.schedules import NoiseSchedule, alphas_cumprod, spaced_timesteps


def levels(schedule: NoiseSchedule, steps: int) -> Levels:
    """Variance preserving. As in diffusers a step ends ``T // steps`` timesteps further down, even if the next begins
    elsewhere."""
    total, cumprod = schedule.num_train_timesteps, alphas_cumprod(schedule)
    timesteps = spaced_timesteps(schedule, steps, "leading")
    begin = timesteps.astype(int)
    end = begin - total // steps
    last = cumprod[0] if schedule.set_alpha_to_one is False else 1.0
    now, after = cumprod[begin], np.where(end >= 0, cumprod[end], last)
    return Levels(schedule, timesteps, np.sqrt(now), np.sqrt(1.0 - now), np.sqrt(after), np.sqrt(1.0 - after))


def step(levels: Levels, state: State, x0: Array, sample: Array, i: int, noise: Array | None) -> tuple[Array, State]:
    return moved(sample, x0, levels[i]), {}
