"""Euler's method along d sample / d sigma = (sample - x0) / sigma (Karras et al. 2022, algorithm 2 without churn).

The same for a rectified flow, where that derivative is what the model predicts.
"""

from __future__ import annotations

from serve.diffusion.samplers.levels import Array, Levels, State, moved


def step(levels: Levels, state: State, x0: Array, sample: Array, i: int, noise: Array | None) -> tuple[Array, State]:
    return moved(sample, x0, levels[i]), {}
