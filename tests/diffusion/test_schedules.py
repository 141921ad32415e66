"""Noise schedules of checkpoints: what diffusers computes from the same config, and configs that are refused."""

from __future__ import annotations

from typing import Any

import diffusers
import numpy as np
import pytest
from diffusers_reference import CONFIGS, SD15
from pydantic import ValidationError

from serve.diffusion.schedules import (
    NoiseSchedule,
    alphas_cumprod,
    first_step,
    flow_sigmas,
    karras_sigmas,
    sigmas_at,
    timesteps_at,
    train_sigmas,
)


def parsed(**config: Any) -> NoiseSchedule:
    return NoiseSchedule.model_validate({**SD15, "prediction_type": "epsilon", **config})


@pytest.mark.parametrize(
    "config", [*CONFIGS.values(), {**CONFIGS["sd15"], "beta_schedule": "linear", "num_train_timesteps": 500}]
)
def test_alphas_are_those_of_diffusers(config: dict[str, Any]) -> None:
    expected = diffusers.DDIMScheduler.from_config(config).alphas_cumprod.numpy()
    found = alphas_cumprod(NoiseSchedule.model_validate(config))
    assert found.dtype == np.float64
    assert np.allclose(found, expected, rtol=1e-4, atol=1e-7)


def test_zero_snr_ends_in_noise_alone() -> None:
    schedule = parsed(rescale_betas_zero_snr=True, prediction_type="v_prediction")
    assert alphas_cumprod(schedule)[-1] == 0
    assert train_sigmas(schedule)[-1] == pytest.approx(4096, rel=1e-6)


def test_karras_sigmas_go_from_end_to_end_and_crowd_at_the_low_one() -> None:
    sigmas = karras_sigmas(14.6, 0.03, 10)
    assert sigmas[[0, -1]] == pytest.approx([14.6, 0.03])
    assert (np.diff(np.abs(np.diff(sigmas))) < 0).all()
    assert karras_sigmas(14.6, 0.03, 1) == pytest.approx([14.6])


def test_timesteps_and_sigmas_are_inverse() -> None:
    timesteps = np.linspace(999, 0, 30).round()
    assert timesteps_at(parsed(), sigmas_at(parsed(), timesteps)) == pytest.approx(timesteps)


def test_shift_moves_flow_sigmas_towards_noise() -> None:
    plain, shifted = (flow_sigmas(parsed(prediction_type="flow", shift=shift), 5) for shift in (1.0, 3.0))
    assert plain[0] == shifted[0] == 1.0
    assert (shifted[1:] > plain[1:]).all()
    assert shifted[2] == pytest.approx(3 * plain[2] / (1 + 2 * plain[2]), abs=2e-3)


@pytest.mark.parametrize(("steps", "strength", "first"), [(30, 1.0, 0), (30, 0.8, 6), (10, 0.05, 9), (1, 0.5, 0)])
def test_strength_tells_the_first_step(steps: int, strength: float, first: int) -> None:
    assert first_step(steps, strength) == first


def test_a_config_as_it_is_saved_is_read() -> None:
    """Keys of other classes are ignored, and what was only another class's default."""
    saved = dict(diffusers.PNDMScheduler.from_config(SD15).config)
    assert saved["timestep_spacing"] == "leading"
    schedule = NoiseSchedule.model_validate({**saved, "_class_name": "PNDMScheduler", "prediction_type": "epsilon"})
    assert schedule.beta_end == 0.012
    assert schedule.steps_offset == 1
    assert schedule.timestep_spacing is None
    assert parsed(timestep_spacing=None, trained_betas=None).timestep_spacing is None


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"trained_betas": [0.1]}, "trained_betas"),
        ({"thresholding": True}, "thresholding"),
        ({"use_beta_sigmas": True}, "use_beta_sigmas"),
        ({"timestep_type": "continuous"}, "timestep_type"),
        ({"beta_schedule": "squaredcos_cap_v2"}, "beta_schedule"),
        ({"beta_start": None}, "beta_start"),
        ({"timestep_spacing": "uneven"}, "timestep_spacing"),
        ({"rescale_betas_zero_snr": True}, "rescale_betas_zero_snr"),
        ({"prediction_type": "sample"}, "prediction_type"),
        ({"shift": float("nan")}, "shift"),
    ],
)
def test_what_would_change_the_picture_unseen_is_refused(changed: dict[str, Any], named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        parsed(**changed)
