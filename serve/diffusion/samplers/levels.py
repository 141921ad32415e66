"""The levels of noise that one run goes through, and what a prediction says at one of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt

from serve.diffusion.schedules import (
    FLOW_SIGMA_MAX,
    FewStep,
    Floats,
    NoiseSchedule,
    few_step_sigmas,
    flow_sigmas,
    karras_sigmas,
    sigmas_at,
    spaced_timesteps,
    timesteps_at,
)

Array = npt.NDArray[np.float32]
State = Mapping[str, Array]
"""A sampler's state between evaluations besides the sample: arrays by name, initially empty."""


@dataclass(frozen=True)
class Level:
    """One evaluation: the sample is ``alpha * x0 + sigma * noise`` before it and is brought to the next pair."""

    alpha: float
    sigma: float
    next_alpha: float
    next_sigma: float

    @property
    def log_snr(self) -> float:
        """Half the logarithm of the signal-to-noise ratio: the time that DPM-Solver++ and UniPC step in."""
        return math.log(self.alpha / self.sigma)

    @property
    def next_log_snr(self) -> float:
        """The same at the next level; infinite without noise."""
        return math.log(self.next_alpha / self.next_sigma) if self.next_sigma > 0 else math.inf


@dataclass(frozen=True, eq=False)
class Levels:
    """All evaluations of a run. Every array has shape (evaluations,), float64.

    ``initial_scale`` is the standard deviation of the noise that a run without a picture starts from.
    """

    schedule: NoiseSchedule
    timesteps: Floats
    alphas: Floats
    sigmas: Floats
    next_alphas: Floats
    next_sigmas: Floats
    initial_scale: float = 1.0

    def __len__(self) -> int:
        return len(self.timesteps)

    def __getitem__(self, i: int) -> Level:
        values = (self.alphas, self.sigmas, self.next_alphas, self.next_sigmas)
        return Level(*(float(value[i]) for value in values))

    def since(self, first: int) -> Self:
        """The levels from evaluation ``first`` on."""
        names = ("timesteps", "alphas", "sigmas", "next_alphas", "next_sigmas")
        return replace(self, **{name: getattr(self, name)[first:] for name in names})

    @classmethod
    def chain(
        cls, schedule: NoiseSchedule, timesteps: Floats, alphas: Floats, sigmas: Floats, initial_scale: float = 1.0
    ) -> Self:
        """Levels from pairs: each evaluation leads to the next level, the last to zero noise."""
        after = np.append(alphas[1:], 1.0), np.append(sigmas[1:], 0.0)
        return cls(schedule, timesteps, alphas, sigmas, *after, initial_scale)

    def model_scale(self, i: int) -> float:
        """Divisor of the sample for the model, which expects unit variance (or a flow's)."""
        return 1.0 if self.schedule.prediction_type == "flow" else math.hypot(self.alphas[i], self.sigmas[i])

    def predict_x0(self, output: Array, sample: Array, i: int) -> Array:
        """The picture's latents as the model's ``output`` at ``sample`` has them; arrays of one shape.

        epsilon: output = noise. v: output = alpha * noise - sigma * x0 at unit variance (Salimans and Ho 2022,
        appendix D). flow: output = noise - x0 (Liu et al. 2022).
        """
        level = self[i]
        if self.schedule.prediction_type == "epsilon":
            return (sample - level.sigma * output) / level.alpha
        if self.schedule.prediction_type == "flow":
            return sample - level.sigma * output
        square = level.alpha**2 + level.sigma**2
        return (level.alpha / square) * sample - (level.sigma / math.sqrt(square)) * output


def flow_levels(schedule: NoiseSchedule, steps: int) -> Levels:
    """Rectified flow: alpha = 1 - sigma."""
    return _flow_chain(schedule, flow_sigmas(schedule, steps))


def few_step_levels(schedule: NoiseSchedule, few_step: FewStep) -> Levels:
    """A flow in the few long steps that the model was taught."""
    return _flow_chain(schedule, few_step_sigmas(schedule, few_step.steps), few_step.timestep_offset)


def _flow_chain(schedule: NoiseSchedule, exact: Floats, timestep_offset: float = 0.0) -> Levels:
    sigmas = np.minimum(exact, FLOW_SIGMA_MAX)
    timesteps = timestep_offset + exact * schedule.num_train_timesteps
    return Levels.chain(schedule, timesteps, 1.0 - sigmas, sigmas)


def exploding_levels(schedule: NoiseSchedule, steps: int) -> Levels:
    """Variance exploding, alpha = 1: what Euler and Heun step in; flow levels for a flow.

    diffusers starts from noise alone, but for leading timesteps, which begin below the highest level: there the
    variance of the picture is added.
    """
    if schedule.prediction_type == "flow":
        return flow_levels(schedule, steps)
    spacing = schedule.timestep_spacing or "linspace"
    timesteps = spaced_timesteps(schedule, steps, spacing, whole=False)
    sigmas = sigmas_at(schedule, timesteps)
    if schedule.use_karras_sigmas:
        sigmas = karras_sigmas(sigmas[0], sigmas[-1], steps)
        timesteps = timesteps_at(schedule, sigmas)
    initial_scale = math.hypot(1.0, sigmas[0]) if spacing == "leading" else float(sigmas[0])
    return Levels.chain(schedule, timesteps, np.ones(steps), sigmas, initial_scale)


def multistep_levels(schedule: NoiseSchedule, steps: int, *, karras: bool = False) -> Levels:
    """Variance preserving, what DPM++ and UniPC step in; flow levels for a flow."""
    if schedule.prediction_type == "flow":
        return flow_levels(schedule, steps)
    if karras or schedule.use_karras_sigmas:
        highest, lowest = sigmas_at(schedule, np.array([np.inf, 0.0]))
        sigmas = karras_sigmas(highest, lowest, steps)
        timesteps = timesteps_at(schedule, sigmas).round()
    else:
        timesteps = spaced_timesteps(schedule, steps, "linspace", skip_last=True)
        sigmas = sigmas_at(schedule, timesteps)
    alphas = 1.0 / np.sqrt(sigmas**2 + 1.0)
    return Levels.chain(schedule, timesteps, alphas, sigmas * alphas)


def moved(sample: Array, x0: Array, level: Level) -> Array:
    """The sample at the next level if ``x0`` is right and nothing random is added."""
    ratio = level.next_sigma / level.sigma
    return ratio * sample + (level.next_alpha - ratio * level.alpha) * x0
