"""A picture's noise comes from its seed alone; guidance is that of diffusers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import rescale_noise_cfg

from serve.diffusion.guidance import guide, is_guided
from serve.diffusion.noise import LATENTS, MAX_SEED, POSTERIOR, derived_seeds, gaussian, step_draw
from serve.errors import InvalidRequest

SHAPE = (4, 16, 16)


def test_noise_depends_on_seed_and_draw_only() -> None:
    first = gaussian(7, LATENTS, SHAPE)
    gaussian(8, step_draw(3), SHAPE)
    assert (gaussian(7, LATENTS, SHAPE) == first).all()
    assert first.dtype == np.float32
    draws = [gaussian(seed, draw, SHAPE) for seed in (7, 8) for draw in (LATENTS, POSTERIOR, *map(step_draw, range(3)))]
    correlations = np.corrcoef([draw.ravel() for draw in draws])
    assert np.abs(correlations - np.eye(len(draws))).max() < 0.15


def test_noise_is_standard_normal() -> None:
    noise = gaussian(MAX_SEED, LATENTS, (1000, 1000))
    assert noise.mean() == pytest.approx(0, abs=0.005)
    assert noise.std() == pytest.approx(1, abs=0.005)


def test_noise_stays_what_it_was() -> None:
    """Else a seed someone noted down no longer gives the picture."""
    assert gaussian(42, LATENTS, (3,)) == pytest.approx([0.181704745, -1.242639303, -0.551553011])


def test_seeds_of_several_pictures() -> None:
    assert derived_seeds(5, 3) == [5, 6, 7]
    assert derived_seeds(MAX_SEED, 2) == [MAX_SEED, 0]


@pytest.mark.parametrize("seed", [-1, 2**63, True, 1.5, "7"])
def test_a_wrong_seed_is_refused(seed: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        derived_seeds(seed, 1)
    assert caught.value.field == "seed"


@pytest.mark.parametrize("rescale", [0.0, 0.7, 1.0])
def test_guidance_is_that_of_diffusers(rescale: float) -> None:
    unconditional, conditional = gaussian(1, 0, SHAPE), gaussian(2, 0, SHAPE)
    plain = unconditional + 7.5 * (conditional - unconditional)
    expected = rescale_noise_cfg(torch.from_numpy(plain)[None], torch.from_numpy(conditional)[None], rescale)
    found = guide(unconditional, conditional, 7.5, rescale)
    assert found.dtype == np.float32
    assert np.allclose(found, expected.numpy()[0], atol=1e-5)


def test_guidance_at_one_needs_no_second_prediction() -> None:
    """A-007: the default is 7.5."""
    assert [is_guided(scale) for scale in (0.0, 1.0, 1.01, 7.5)] == [False, False, True, True]
    same = gaussian(1, 0, SHAPE)
    assert (guide(same, same, 7.5) == same).all()
    assert np.isfinite(guide(same * 0, same * 0, 7.5, 1.0)).all()
