"""Drawings from pictures, through a real Triton: against diffusers' image-to-image and inpainting pipelines of both
kinds, and many mixed ones at once against each alone."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from built import Built, Illustrators
from diffusers.models.autoencoders import vae as diffusers_vae
from diffusers.pipelines.stable_diffusion import pipeline_stable_diffusion_img2img, pipeline_stable_diffusion_inpaint
from diffusers.pipelines.stable_diffusion_xl import (
    pipeline_stable_diffusion_xl_img2img,
    pipeline_stable_diffusion_xl_inpaint,
)
from PIL import Image
from test_illustrate_pictures import SCHEDULERS, psnr_db

from serve.diffusion.noise import LATENTS, MASKED_POSTERIOR, POSTERIOR, gaussian
from serve.ensembles.illustrator.illustration import IllustrateOptions
from serve.ensembles.illustrator.picture_source import InputPicture, Margins, PictureSource

pytestmark = [pytest.mark.slow, pytest.mark.triton]

STEPS, WIDTH, HEIGHT, SEED = 6, 72, 40, 7
PIPELINES: dict[tuple[str, bool], Any] = {
    ("sd15", False): diffusers.StableDiffusionImg2ImgPipeline,
    ("sd15", True): diffusers.StableDiffusionInpaintPipeline,
    ("sdxl", False): diffusers.StableDiffusionXLImg2ImgPipeline,
    ("sdxl", True): diffusers.StableDiffusionXLInpaintPipeline,
    ("sd15_inpainting", True): diffusers.StableDiffusionInpaintPipeline,
    ("sdxl_inpainting", True): diffusers.StableDiffusionXLInpaintPipeline,
}
_PIPELINE_MODULES = (
    pipeline_stable_diffusion_img2img,
    pipeline_stable_diffusion_inpaint,
    pipeline_stable_diffusion_xl_img2img,
    pipeline_stable_diffusion_xl_inpaint,
)


def picture() -> np.ndarray:
    """Smooth colours and an edge, of the drawn size."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    channels = [columns * 255 / WIDTH, rows * 255 / HEIGHT, np.where(columns > 30, 220, 40)]
    return np.stack(channels, axis=-1).astype(np.uint8)


def box_mask() -> np.ndarray:
    """Aligned with latents of 8 pixels."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[8:32, 16:56] = 255
    return mask


def encoded(pixels: np.ndarray, name: str) -> InputPicture:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return InputPicture(name, pixels.shape[1], pixels.shape[0], file.getvalue())


@pytest.fixture
def our_noise(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[int]], None]:
    """diffusers draws our noise: the VAE's draws in the order given, and that of the latents."""

    def use(vae_draws: list[int]) -> None:
        remaining: Iterator[int] = iter(vae_draws)

        def of_vae(shape: Any, **_: Any) -> torch.Tensor:
            return torch.from_numpy(gaussian(SEED, next(remaining), tuple(shape)[1:]))[None]

        def of_latents(shape: Any, **_: Any) -> torch.Tensor:
            return torch.from_numpy(gaussian(SEED, LATENTS, tuple(shape)[1:]))[None]

        monkeypatch.setattr(diffusers_vae, "randn_tensor", of_vae)
        for module in _PIPELINE_MODULES:
            monkeypatch.setattr(module, "randn_tensor", of_latents)

    return use


def drawn_by_diffusers(family: Built, sampler: str, strength: float, mask: np.ndarray | None) -> np.ndarray:
    pipeline: Any = PIPELINES[family.name, mask is not None].from_pretrained(family.checkpoint)
    kept = {"clip_sample": False} if sampler == "ddim" else {}
    pipeline.scheduler = SCHEDULERS[sampler].from_config(pipeline.scheduler.config, **kept)
    pipeline.set_progress_bar_config(disable=True)
    inputs: dict[str, Any] = {} if mask is None else {"mask_image": Image.fromarray(mask)}
    size = {"height": HEIGHT, "width": WIDTH} if mask is not None else {}
    image = pipeline(
        "red cat re d",
        image=Image.fromarray(picture()),
        **inputs,
        **size,
        strength=strength,
        num_inference_steps=STEPS,
        guidance_scale=7.5,
        output_type="np",
    ).images[0]
    return (255 * image).round()


def options(source: PictureSource | None, **more: Any) -> IllustrateOptions:
    values = {"num_inference_steps": STEPS, "guidance_scale": 7.5, "seed": SEED, "source": source, **more}
    return IllustrateOptions("red cat re d", **values)


Case = tuple[str, float, bool]
"""Sampler, strength, and whether with a mask."""
CASES: dict[str, list[Case]] = {
    "sd15": [("dpmpp_2m", 0.7, False), ("ddim", 0.7, True)],
    "sdxl": [("euler", 0.5, False), ("heun", 1.0, False), ("dpmpp_2m", 1.0, True)],
    "sd15_inpainting": [("dpmpp_2m", 1.0, True)],
    "sdxl_inpainting": [("euler", 0.7, True)],
}


@pytest.mark.parametrize("name", CASES)
def test_drawings_from_pictures_equal_those_of_diffusers(
    built: Callable[[str], Built], illustrators: Illustrators, our_noise: Callable[[list[int]], None], name: str
) -> None:
    """Image-to-image, and inpainting of both kinds under the mask: what the mask keeps is the input picture, which
    diffusers passes through its VAE."""
    family, mask = built(name), box_mask()
    image, white = encoded(picture(), "picture.png"), encoded(mask, "mask.png")
    wanted = [
        options(PictureSource(image, white if masked else None, strength=strength, mask_blur=0), sampler=sampler)
        for sampler, strength, masked in CASES[name]
    ]
    drawn = illustrators.draw(family.repository, wanted)
    for (sampler, strength, masked), ours in zip(CASES[name], drawn, strict=True):
        encodes_picture = not name.endswith("inpainting") or strength < 1
        our_noise([*([POSTERIOR] if encodes_picture else []), *([MASKED_POSTERIOR] if masked else [])])
        expected = drawn_by_diffusers(family, sampler, strength, mask if masked else None)
        part = mask > 0 if masked else np.full(mask.shape, True)
        assert np.array_equal(ours[~part], picture()[~part])
        assert expected[part].std() > 10
        psnr = psnr_db(ours[part], expected[part])
        print(f"{name} {sampler} strength {strength} {'mask' if masked else ''}: {psnr:.1f} dB")
        assert psnr > 45, (sampler, strength, masked)


def test_sixteen_mixed_drawings_at_once_equal_each_alone(
    built: Callable[[str], Built], illustrators: Illustrators
) -> None:
    """With and without picture, mask and margins; other steps, samplers, guidance and seeds. A larger batch sums in
    another order, which may move a value at the border of two 8-bit levels to the other side."""
    image, mask = encoded(picture(), "picture.png"), encoded(box_mask(), "mask.png")
    sources = [
        None,
        PictureSource(image, strength=0.5),
        PictureSource(image, mask, strength=0.8),
        PictureSource(image, mask, mask_crop=True, mask_crop_padding=4),
        PictureSource(image, outpaint=Margins(left=8)),
    ]
    samplers = ("flow_euler", "euler", "euler_a", "heun", "dpmpp_2m", "unipc", "lcm", "flow_euler")
    wanted = [
        options(
            sources[i % 5],
            sampler=samplers[i % 8],
            num_inference_steps=3 + i % 6,
            guidance_scale=1.0 + i / 4,
            seed=i,
            width=64,
            height=64,
        )
        for i in range(16)
    ]
    together, alone = illustrators.draw_both_ways(built("starter").repository, wanted)
    for a, b in zip(together, alone, strict=True):
        difference = np.abs(a.astype(int) - b) / 255
        assert difference.max() <= 1 / 255
        assert difference.mean() < 1e-3
    assert len({drawn.tobytes() for drawn in together}) == 16
