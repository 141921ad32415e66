"""Whole trajectories against diffusers, whatever the spacing, the prediction, the number of steps and the start."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers_reference import (
    CLASSES,
    CONFIGS,
    FLOW,
    SD15,
    error,
    feed_noise,
    flow_scheduler,
    initial_noise,
    ours,
    picture,
    scheduler,
    theirs,
    trajectory_of,
)

from serve.diffusion.noise import LATENTS, gaussian

TOLERANCE = 1e-4
"""Of one sample, relative to its largest value. diffusers' schedules and coefficients are float32, ours float64."""
COARSE = 1e-3
"""Where diffusers' Euler steps down from sigma 4096: its float32 sums lose what ours, written otherwise, keep."""
STEPS = (1, 2, 8, 30)
FLOW_SETTINGS = {**FLOW, "prediction_type": "flow"}
CASES = [
    (sampler, config)
    for sampler in CLASSES
    for config in CONFIGS
    if (sampler, config) != ("heun", "zero_snr")  # diffusers' Heun does not know the setting
]


@pytest.fixture(autouse=True)
def _same_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    feed_noise(monkeypatch)


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize(("sampler", "config"), CASES)
def test_a_trajectory_is_that_of_diffusers(sampler: str, config: str, steps: int) -> None:
    reference = scheduler(sampler, CONFIGS[config], steps)
    trajectory = trajectory_of(sampler, CONFIGS[config], steps)
    assert np.allclose(trajectory.timesteps, reference.timesteps.numpy(), rtol=0, atol=1e-3)
    expected = theirs(reference, initial_noise() * reference.init_noise_sigma)
    coarse = config == "zero_snr" and sampler in ("euler", "euler_a")
    assert error(ours(trajectory), expected) < (COARSE if coarse else TOLERANCE)


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("sampler", ["euler", "flow_euler", "heun", "dpmpp_2m", "unipc", "lcm"])
def test_a_trajectory_of_a_flow_is_that_of_diffusers(sampler: str, steps: int) -> None:
    reference = flow_scheduler(sampler, steps)
    trajectory = trajectory_of(sampler, FLOW_SETTINGS, steps)
    expected = theirs(reference, initial_noise(), told=trajectory.timesteps)
    assert error(ours(trajectory), expected) < TOLERANCE


def test_the_timesteps_of_a_flow_are_those_of_diffusers() -> None:
    reference = flow_scheduler("flow_euler", 12)
    trajectory = trajectory_of("flow_euler", FLOW_SETTINGS, 12)
    assert np.allclose(trajectory.timesteps, reference.timesteps.numpy(), rtol=1e-6)


@pytest.mark.parametrize("strength", [0.05, 0.3, 0.75, 1.0])
@pytest.mark.parametrize("sampler", CLASSES)
def test_img2img_starts_where_diffusers_does(sampler: str, strength: float) -> None:
    """As in StableDiffusionImg2ImgPipeline.get_timesteps and prepare_latents."""
    steps, config = 20, CONFIGS["sdxl"]
    reference = scheduler(sampler, config, steps)
    first = (steps - int(steps * strength)) * reference.order
    if hasattr(reference, "set_begin_index"):
        reference.set_begin_index(first)
    latents = torch.from_numpy(picture())[None]
    start = reference.add_noise(latents, initial_noise(), reference.timesteps[first : first + 1])
    expected = theirs(reference, start, first=first)
    assert error(ours(trajectory_of(sampler, config, steps, strength), picture()), expected) < TOLERANCE


def test_img2img_of_a_flow_starts_where_diffusers_does() -> None:
    reference = flow_scheduler("flow_euler", 20)
    first = 20 - int(20 * 0.6)
    reference.set_begin_index(first)
    latents = torch.from_numpy(picture())[None]
    start = reference.scale_noise(latents, reference.timesteps[first : first + 1], initial_noise())
    trajectory = trajectory_of("flow_euler", FLOW_SETTINGS, 20, 0.6)
    assert len(trajectory) == 12
    assert error(ours(trajectory, picture()), theirs(reference, start, first=first)) < TOLERANCE


@pytest.mark.parametrize("steps", [1, 7, 30])
@pytest.mark.parametrize("sampler", ["euler", "euler_a", "heun", "dpmpp_2m", "unipc"])
def test_karras_sigmas_of_a_checkpoint_are_used(sampler: str, steps: int) -> None:
    config = {**CONFIGS["sdxl"], "use_karras_sigmas": True}
    reference = scheduler(sampler, config, steps)
    expected = theirs(reference, initial_noise() * reference.init_noise_sigma)
    assert error(ours(trajectory_of(sampler, config, steps)), expected) < TOLERANCE


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("sampler", ["ddim", "euler", "dpmpp_2m"])
def test_timesteps_are_those_of_diffusers_for_every_number_of_steps(sampler: str, spacing: str) -> None:
    """Or, where those leave the trained range or repeat, still as many, falling and inside."""
    config = {**SD15, "prediction_type": "epsilon", "timestep_spacing": spacing}
    for steps in [*range(1, 60), *range(60, 1000, 37), 499, 500, 501, 997, 998, 999, 1000]:
        timesteps = trajectory_of(sampler, config, steps).timesteps
        expected = scheduler(sampler, config, steps).timesteps.numpy()
        assert timesteps.shape == (steps,)
        assert timesteps.min() >= 0
        assert timesteps.max() <= 999
        if expected.min() >= 0 and expected.max() <= 999 and (np.diff(expected) < 0).all():
            assert np.allclose(timesteps, expected, rtol=0, atol=1e-3), steps
        elif sampler == "dpmpp_2m":
            assert (np.diff(timesteps) < 0).all(), steps


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "flow"])
@pytest.mark.parametrize("sampler", ["euler_a", "lcm"])
def test_added_noise_is_what_the_level_asks_for(sampler: str, prediction_type: str) -> None:
    """With a model that always sees the right picture, a sample is alpha * x0 + sigma * noise, of unit variance."""
    config = {**FLOW, **SD15, "prediction_type": prediction_type}
    trajectory = trajectory_of(sampler, config, 6)
    x0, shape = np.float32(0.5), (1, 200, 200)
    sample = trajectory.start(gaussian(1, LATENTS, shape), np.full(shape, x0))
    for i in range(len(trajectory)):
        level = trajectory.levels[i]
        assert sample.mean() == pytest.approx(level.alpha * x0, abs=0.02 * max(1, level.sigma))
        assert sample.std() == pytest.approx(level.sigma, rel=0.02)
        noise = gaussian(2 + i, LATENTS, shape)
        sample, _ = trajectory.sampler.advance(trajectory.levels, {}, np.full(shape, x0), sample, i, noise)
    assert np.allclose(sample, x0, atol=1e-3 if sampler == "euler_a" else 0.02)
