"""Whole pictures, through a real Triton: against diffusers' pipelines, and many at once against each alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from built import Built, Illustrators

from serve.diffusion.noise import LATENTS, gaussian
from serve.ensembles.illustrator.illustration import IllustrateOptions

pytestmark = [pytest.mark.slow, pytest.mark.triton]

STEPS, WIDTH, HEIGHT, SEED = 6, 72, 40, 7  # sides whose latents do not halve evenly
LARGEST_PSNR_DB = 99.0
SCHEDULERS = {
    "ddim": diffusers.DDIMScheduler,
    "euler": diffusers.EulerDiscreteScheduler,
    "heun": diffusers.HeunDiscreteScheduler,
    "dpmpp_2m": diffusers.DPMSolverMultistepScheduler,
}
PIPELINES = {
    "sd15": diffusers.StableDiffusionPipeline,
    "sd21": diffusers.StableDiffusionPipeline,
    "sdxl": diffusers.StableDiffusionXLPipeline,
}


def drawn_by_diffusers(family: Built, sampler: str, negative_prompt: str | None) -> np.ndarray:
    pipeline: Any = PIPELINES[family.name].from_pretrained(family.checkpoint)
    kept = (
        {"clip_sample": False} if sampler == "ddim" else {}
    )  # as the pipeline has it of the checkpoint's own scheduler
    pipeline.scheduler = SCHEDULERS[sampler].from_config(pipeline.scheduler.config, **kept)
    pipeline.set_progress_bar_config(disable=True)
    latents = torch.from_numpy(gaussian(SEED, LATENTS, (4, HEIGHT // 8, WIDTH // 8)))[None]
    image = pipeline(
        "red cat re d",
        negative_prompt=negative_prompt,
        height=HEIGHT,
        width=WIDTH,
        latents=latents,
        num_inference_steps=STEPS,
        guidance_scale=7.5,
        output_type="np",
    ).images[0]
    return (255 * image).round()


@pytest.mark.parametrize(
    ("name", "sampler", "negative_prompt"),
    [
        ("sd15", "dpmpp_2m", None),
        ("sd21", "ddim", "cat"),
        ("sdxl", "euler", None),
        ("sdxl", "heun", "cat"),
    ],
)
def test_pictures_equal_those_of_diffusers(
    built: Callable[[str], Built],
    illustrators: Illustrators,
    name: str,
    sampler: str,
    negative_prompt: str | None,
) -> None:
    """A-002, A-007: the same weights, latents and sampler; SDXL also has zeros where there is no negative prompt."""
    expected = drawn_by_diffusers(built(name), sampler, negative_prompt)
    assert expected.std() > 10, "a picture that could differ"
    options = IllustrateOptions(
        "red cat re d",
        negative_prompt=negative_prompt or "",
        width=WIDTH,
        height=HEIGHT,
        num_inference_steps=STEPS,
        guidance_scale=7.5,
        sampler=sampler,
        seed=SEED,
    )
    (ours,) = illustrators.draw(built(name).repository, [options])
    assert psnr_db(ours, expected) > 45


def test_sixteen_at_once_equal_each_alone(built: Callable[[str], Built], illustrators: Illustrators) -> None:
    """Different steps, samplers, guidance and seeds. Products of matrices sum in another order in a larger batch, which
    moves latents by about 1e-6: a value that lies at the border of two 8-bit levels may fall to the other side."""
    samplers = ("flow_euler", "euler", "euler_a", "heun", "dpmpp_2m", "unipc", "lcm", "flow_euler")
    wanted = [
        IllustrateOptions(
            "red cat" if i % 3 else "flat red",
            sampler=samplers[i % 8],
            num_inference_steps=3 + i,
            guidance_scale=1.0 + i / 4,
            seed=i,
        )
        for i in range(16)
    ]
    together, alone = illustrators.draw_both_ways(built("starter").repository, wanted)
    for a, b in zip(together, alone, strict=True):
        difference = np.abs(a.astype(int) - b) / 255
        assert difference.max() <= 1 / 255
        assert difference.mean() < 1e-3
    assert len({picture.tobytes() for picture in together}) == 16


def psnr_db(a: np.ndarray, b: np.ndarray) -> float:
    error = np.mean((a.astype(np.float64) - b) ** 2)
    return LARGEST_PSNR_DB if error == 0 else float(10 * np.log10(255**2 / error))
