"""diffusers' schedulers, driven like ours: one fake model, one noise, a whole trajectory."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

from serve.diffusion.noise import LATENTS, gaussian, step_draw
from serve.diffusion.samplers import Array, Trajectory, by_name
from serve.diffusion.schedules import NoiseSchedule

SHAPE = (4, 8, 8)
SEED = 7
Model = Callable[[Array, float], Array]

SD15 = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
    "set_alpha_to_one": False,
    "clip_sample": False,
}
"""CompVis/stable-diffusion-v1: spacing is left to the scheduler's class."""
CONFIGS: dict[str, dict[str, Any]] = {
    "sd15": {**SD15, "prediction_type": "epsilon"},
    "sd21": {**SD15, "prediction_type": "v_prediction"},
    "sdxl": {**SD15, "prediction_type": "epsilon", "timestep_spacing": "leading"},
    "turbo": {**SD15, "prediction_type": "epsilon", "timestep_spacing": "trailing"},
    "zero_snr": {
        **SD15,
        "prediction_type": "v_prediction",
        "timestep_spacing": "trailing",
        "rescale_betas_zero_snr": True,
    },
}
CLASSES = {
    "ddim": "DDIMScheduler",
    "euler": "EulerDiscreteScheduler",
    "euler_a": "EulerAncestralDiscreteScheduler",
    "heun": "HeunDiscreteScheduler",
    "dpmpp_2m": "DPMSolverMultistepScheduler",
    "dpmpp_2m_karras": "DPMSolverMultistepScheduler",
    "unipc": "UniPCMultistepScheduler",
    "lcm": "LCMScheduler",
}


FLOW = {"num_train_timesteps": 1000, "shift": 3.0}


def scheduler(sampler: str, config: dict[str, Any], steps: int) -> Any:
    """diffusers' scheduler for ``sampler``, told its steps.

    It has the keys of ``config`` that its class knows, and its own defaults for the rest. Its index is set, as img2img
    pipelines do: looking it up by a timestep that Karras sigmas round to twice would skip a step.
    """
    karras = {"use_karras_sigmas": True} if sampler.endswith("_karras") else {}
    reference = getattr(diffusers, CLASSES[sampler]).from_config({**config, **karras})
    reference.set_timesteps(steps)
    if hasattr(reference, "set_begin_index"):
        reference.set_begin_index(0)
    return reference


def flow_scheduler(sampler: str, steps: int) -> Any:
    """The same for a flow. DPM++ and UniPC have other sigmas for it in diffusers than the rest: here they get those."""
    if sampler == "heun":
        reference = diffusers.FlowMatchHeunDiscreteScheduler(**FLOW)
    elif sampler in ("dpmpp_2m", "unipc"):
        settings = {"prediction_type": "flow_prediction", "use_flow_sigmas": True}
        reference = getattr(diffusers, CLASSES[sampler])(**settings)
    else:
        reference = diffusers.FlowMatchEulerDiscreteScheduler(**FLOW, stochastic_sampling=sampler == "lcm")
    reference.set_timesteps(steps)
    if sampler in ("dpmpp_2m", "unipc"):
        sigmas = diffusers.FlowMatchEulerDiscreteScheduler(**FLOW)
        sigmas.set_timesteps(steps)
        reference.sigmas = sigmas.sigmas.clamp(max=1 - 1e-6)
    reference.set_begin_index(0)
    return reference


def model(sample: Array, timestep: float) -> Array:
    """A small nonlinear function of neighbours and time; what it predicts is a matter of interpretation."""
    mixed = 0.6 * sample + 0.3 * np.roll(sample, 1, axis=-1) - 0.2 * np.roll(sample, 1, axis=0)
    result: Array = (np.tanh(mixed) + 0.2 * np.sin(3 * mixed + timestep / 250)).astype(np.float32)
    return result


def trajectory_of(sampler: str, config: dict[str, Any], steps: int, strength: float = 1.0) -> Trajectory:
    return by_name(sampler).trajectory(NoiseSchedule.model_validate(config), steps, strength)


def ours(trajectory: Trajectory, latents: Array | None = None, seed: int = SEED) -> list[Array]:
    """Every sample of the run, the first included, as the model sees it."""
    sample = trajectory.start(gaussian(seed, LATENTS, SHAPE), latents)
    samples, state = [trajectory.scale_model_input(sample, 0)], {}
    for i, timestep in enumerate(trajectory.timesteps):
        output = model(trajectory.scale_model_input(sample, i), float(timestep))
        noise = gaussian(seed, step_draw(i), SHAPE) if trajectory.stochastic else None
        sample, state = trajectory.step(state, output, sample, i, noise)
        last = i + 1 == len(trajectory)
        samples.append(sample if last else trajectory.scale_model_input(sample, i + 1))
    return samples


def theirs(reference: Any, sample: torch.Tensor, told: Array | None = None, first: int = 0) -> list[Array]:
    """The same of a scheduler, from its timestep ``first``. ``told`` are timesteps for the model, if not its own."""
    scale = getattr(reference, "scale_model_input", lambda sample, _: sample)
    samples = []
    for i, timestep in enumerate(reference.timesteps[first:]):
        scaled = scale(sample, timestep)
        samples.append(scaled.numpy()[0])
        output = model(samples[-1], float(timestep if told is None else told[i]))
        sample = reference.step(torch.from_numpy(output)[None], timestep, sample, return_dict=False)[0]
    return [*samples, sample.numpy()[0]]


def initial_noise() -> torch.Tensor:
    return torch.from_numpy(gaussian(SEED, LATENTS, SHAPE))[None]


def picture() -> Array:
    """Latents of a picture."""
    return gaussian(SEED + 1, LATENTS, SHAPE)


def feed_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let diffusers' stochastic schedulers draw what our samplers are given."""

    def draws() -> Iterator[torch.Tensor]:
        i = 0
        while True:
            yield torch.from_numpy(gaussian(SEED, step_draw(i), SHAPE))[None]
            i += 1

    noise = draws()
    for name in ("scheduling_lcm", "scheduling_euler_ancestral_discrete", "scheduling_flow_match_euler_discrete"):
        module = importlib.import_module(f"diffusers.schedulers.{name}")
        monkeypatch.setattr(module, "randn_tensor", lambda *_, **__: next(noise))


def error(a: list[Array], b: list[Array]) -> float:
    """Largest difference of two samples over both trajectories, relative to the largest value of that sample."""
    return max(float(np.abs(x - y).max() / np.abs(y).max()) for x, y in zip(a, b, strict=True))
