"""Samplers of diffusion models in numpy, equal to diffusers' over whole trajectories (tests compare to 1e-4).

A sampler is data and two pure functions: which levels of noise a run goes through, and one step. The caller owns the
loop and asks the model itself, so it can wait, stop, show or store the picture between any two evaluations::

    trajectory = by_name("DPM++ 2M").trajectory(family.scheduler, steps=30, strength=1.0)
    sample = trajectory.start(gaussian(seed, LATENTS, shape))            # or start(noise, latents) for img2img
    state: State = {}
    for i, timestep in enumerate(trajectory.timesteps):                  # a model evaluation each; Heun has two a step
        output = await unet(trajectory.scale_model_input(sample, i), timestep, ...)   # guided, see `guidance`
        noise = gaussian(seed, step_draw(i), shape) if trajectory.stochastic else None
        sample, state = trajectory.step(state, output, sample, i, noise)

- ``trajectory.timesteps``: shape (evaluations,), float32. For img2img only those that are left to do.
- ``sample``, ``output``, ``noise``: one picture's latents, shape (C, H, W), float32. Nothing is modified in place. All
  arithmetic is element by element: a picture comes out the same whatever other pictures are under way.
- ``state``: arrays by name, of the sample's shape. With ``sample``, ``i`` and the request it is all that a run needs to
  continue elsewhere; noise is a function of the seed (`serve.diffusion.noise`).
- ``trajectory.predict_x0(output, sample, i)``: the latents as the model sees them at ``i``, for previews.
- ``trajectory.add_noise(latents, noise, i)``: clean latents at the level of evaluation ``i``, for inpainting.
- The last sample goes to the VAE as it is. It is free of noise (of DDIM, up to the checkpoint's ``set_alpha_to_one``).

Precision: schedules and coefficients are float64, tensors float32. diffusers computes both in float32. No sample of a
trajectory differs by more than 1e-4 of its largest value, as a rule by 1e-6; only where diffusers' Euler steps
down from sigma 4096 (zero terminal SNR) does its own float32 cost it up to 4e-4.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serve.diffusion.samplers import ddim, dpmpp_2m, euler, euler_ancestral, heun, lcm, unipc
from serve.diffusion.samplers.levels import (
    Array,
    Levels,
    State,
    multistep_levels,
)
from serve.diffusion.schedules import NoiseSchedule, PredictionType, check_steps, first_step
from serve.errors import InvalidRequest

__all__ = ["SAMPLERS", "Array", "Sampler", "State", "Trajectory", "by_name"]

LevelsFunction = Callable[[NoiseSchedule, int], Levels]
StepFunction = Callable[[Levels, State, Array, Array, int, Array | None], tuple[Array, State]]

_DIFFUSION: tuple[PredictionType, ...] = ("epsilon", "v_prediction")
_ALL: tuple[PredictionType, ...] = (*_DIFFUSION, "flow")


@dataclass(frozen=True)
class Sampler:
    """``name`` as diffusers' users write it, ``title`` as AUTOMATIC1111 shows it; ``predictions`` it can serve."""

    name: str
    title: str
    aliases: tuple[str, ...]
    predictions: tuple[PredictionType, ...]
    levels: LevelsFunction
    advance: StepFunction
    stochastic: bool = False
    evaluations_per_step: int = 1

    @property
    def takes_long_steps(self) -> bool:
        """Whether it goes the few long steps that a model was taught (``NoiseSchedule.few_step``)."""
        return self.levels is euler.levels

    def check(self, prediction_type: PredictionType) -> None:
        """Raises ``InvalidRequest`` unless the sampler serves models that predict ``prediction_type``."""
        if prediction_type not in self.predictions:
            others = ", ".join(s.name for s in SAMPLERS if prediction_type in s.predictions)
            what = f"{self.name!r} does not serve this model, which predicts {prediction_type}"
            raise InvalidRequest(f"{what}; those that do: {others}", "sampler")

    def trajectory(self, schedule: NoiseSchedule, steps: int, strength: float = 1.0) -> Trajectory:
        """The run of ``steps`` steps (1 to ``num_train_timesteps``), of which img2img does the last ``strength``.

        Raises ``InvalidRequest`` naming ``sampler``, ``num_inference_steps`` or ``strength``.
        """
        self.check(schedule.prediction_type)
        check_steps(schedule, steps)
        first = first_step(steps, strength) * self.evaluations_per_step
        return Trajectory(self, self.levels(schedule, steps).since(first))


@dataclass(frozen=True, eq=False)
class Trajectory:
    """One run of a sampler: everything that does not depend on the picture."""

    sampler: Sampler
    levels: Levels

    def __len__(self) -> int:
        """Number of model evaluations."""
        return len(self.levels)

    @property
    def timesteps(self) -> npt.NDArray[np.float32]:
        """Shape (evaluations,): the model's timestep input of each."""
        return self.levels.timesteps.astype(np.float32)

    @property
    def stochastic(self) -> bool:
        """Whether ``step`` needs noise."""
        return self.sampler.stochastic

    def start(self, noise: Array, latents: Array | None = None) -> Array:
        """The first sample, from standard normal ``noise`` and, for img2img, the picture's ``latents``."""
        if latents is not None:
            return self.add_noise(latents, noise, 0)
        return self.levels.initial_scale * noise

    def add_noise(self, latents: Array, noise: Array, i: int) -> Array:
        """``latents`` at the level of noise that the sample of evaluation ``i`` has."""
        level = self.levels[i]
        return level.alpha * latents + level.sigma * noise

    def scale_model_input(self, sample: Array, i: int) -> Array:
        """The model input of evaluation ``i``."""
        return sample / self.levels.model_scale(i)

    def predict_x0(self, output: Array, sample: Array, i: int) -> Array:
        """The denoised latents according to ``output``, the model's output at evaluation ``i``."""
        return self.levels.predict_x0(output, sample, i)

    def step(self, state: State, output: Array, sample: Array, i: int, noise: Array | None) -> tuple[Array, State]:
        """(the sample of evaluation ``i + 1``, its state). ``noise`` is standard normal, None if not ``stochastic``."""
        return self.sampler.advance(self.levels, state, self.predict_x0(output, sample, i), sample, i, noise)


SAMPLERS: tuple[Sampler, ...] = (
    Sampler("ddim", "DDIM", ("DDIMScheduler",), _DIFFUSION, ddim.levels, ddim.step),
    Sampler("euler", "Euler", ("k_euler", "EulerDiscreteScheduler"), _ALL, euler.levels, euler.step),
    Sampler(
        "euler_a",
        "Euler a",
        ("euler_ancestral", "k_euler_a", "k_euler_ancestral", "EulerAncestralDiscreteScheduler"),
        _ALL,
        euler_ancestral.levels,
        euler_ancestral.step,
        stochastic=True,
    ),
    Sampler("heun", "Heun", ("k_heun", "HeunDiscreteScheduler"), _ALL, heun.levels, heun.step, evaluations_per_step=2),
    Sampler(
        "dpmpp_2m",
        "DPM++ 2M",
        ("k_dpmpp_2m", "DPMSolverMultistepScheduler"),
        _ALL,
        multistep_levels,
        dpmpp_2m.step,
    ),
    Sampler(
        "dpmpp_2m_karras",
        "DPM++ 2M Karras",
        ("k_dpmpp_2m_karras", "k_dpmpp_2m_ka"),
        _DIFFUSION,
        dpmpp_2m.karras_levels,
        dpmpp_2m.step,
    ),
    Sampler("unipc", "UniPC", ("uni_pc", "UniPCMultistepScheduler"), _ALL, multistep_levels, unipc.step),
    Sampler("lcm", "LCM", ("LCMScheduler",), _ALL, lcm.levels, lcm.step, stochastic=True),
    Sampler(
        "flow_euler",
        "Flow Euler",
        ("flow_match_euler", "FlowMatchEulerDiscreteScheduler"),
        ("flow",),
        euler.levels,
        euler.step,
    ),
)


def _key(name: str) -> str:
    """Normalise a name: case, spaces, hyphens and underscores are ignored."""
    return re.sub(r"[\s_-]+", "", name).casefold()


_BY_KEY = {_key(name): sampler for sampler in SAMPLERS for name in (sampler.name, sampler.title, *sampler.aliases)}


def by_name(name: str) -> Sampler:
    """The sampler called ``name``: its own name, its title or an alias. Raises ``InvalidRequest`` listing the names."""
    sampler = _BY_KEY.get(_key(name)) if len(name) <= 64 else None
    if sampler is None:
        raise InvalidRequest(f"no such sampler; there are {', '.join(s.name for s in SAMPLERS)}", "sampler")
    return sampler
