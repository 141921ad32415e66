"""Euler's method along d sample / d sigma = (sample - x0) / sigma (Karras et al. 2022, algorithm 2 without churn).

The same for a rectified flow, where that derivative is what the model predicts.
"""

from __future__ import annotations

from serve.diffusion.samplers.levels import Array, Levels, State, exploding_levels, few_step_levels, moved
from serve.diffusion.schedules import NoiseSchedule


def levels(schedule: NoiseSchedule, steps: int) -> Levels:
    """The model's few long steps where ``steps`` are as many."""
    few = schedule.few_step
    return exploding_levels(schedule, steps) if few is None or few.steps != steps else few_step_levels(schedule, few)


def step(levels: Levels, state: State, x0: Array, sample: Array, i: int, noise: Array | None) -> tuple[Array, State]:
    return moved(sample, x0, levels[i]), {}
