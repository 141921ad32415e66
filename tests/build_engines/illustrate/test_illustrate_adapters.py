"""LoRAs, ControlNets and image prompts through a real Triton, against diffusers' pipelines with the same weights."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from built import ADAPTED, Built, Illustrators
from diffusers.image_processor import IPAdapterMaskProcessor
from PIL import Image
from random_adapters import merge, random_lora
from test_illustrate_pictures import SCHEDULERS, psnr_db
from transformers import CLIPImageProcessor

from build_engines.illustrate.adapters import low_rank, low_rank_conv
from serve.diffusion.noise import LATENTS, gaussian
from serve.diffusion.regions import Box
from serve.ensembles.illustrator.adapters import ControlUse, LoraUse, ReferenceUse
from serve.ensembles.illustrator.illustration import IllustrateOptions
from serve.ensembles.illustrator.picture_source import InputPicture, PictureSource
from serve.ensembles.illustrator.regions import Region

pytestmark = [pytest.mark.slow, pytest.mark.triton]

PROMPT, STEPS, WIDTH, HEIGHT, SEED = "red cat re d", 6, 72, 40, 7


LEFT = Box(0.0, 0.0, 0.5, 1.0)


def options(**more: Any) -> IllustrateOptions:
    values: dict[str, Any] = {"num_inference_steps": STEPS, "guidance_scale": 6.0, "seed": SEED, "sampler": "euler"}
    return IllustrateOptions(PROMPT, **{**values, "width": WIDTH, "height": HEIGHT, **more})


CONTROL_PIPELINES = {
    "sd15": diffusers.StableDiffusionControlNetPipeline,
    "sdxl": diffusers.StableDiffusionXLControlNetPipeline,
}


def picture(seed: int, size: tuple[int, int] = (WIDTH, HEIGHT)) -> InputPicture:
    pixels = np.random.default_rng(seed).integers(0, 256, (5, 9, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST).save(file, "PNG")
    return InputPicture(f"picture{seed}", *size, file.getvalue())


def opened(one: InputPicture) -> Image.Image:
    return Image.open(io.BytesIO(one.data))


def pipeline_of(family: Built, cls: Any = None, **parts: Any) -> Any:
    xl = family.name.startswith("sdxl")
    cls = cls or (diffusers.StableDiffusionXLPipeline if xl else diffusers.StableDiffusionPipeline)
    pipeline: Any = cls.from_pretrained(family.checkpoint, **parts)
    pipeline.scheduler = SCHEDULERS["euler"].from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def drawn_by_diffusers(pipeline: Any, width: int = WIDTH, height: int = HEIGHT, **more: Any) -> np.ndarray:
    channels = pipeline.vae.config.latent_channels
    noise = torch.from_numpy(gaussian(SEED, LATENTS, (channels, height // 8, width // 8)))[None]
    values = {"width": width, "height": height, "num_inference_steps": STEPS, "guidance_scale": 6.0, "latents": noise}
    image = pipeline(PROMPT, **{**values, **more}, output_type="np").images[0]
    return (255 * image).round()


def named(data: bytes) -> str:
    return f"{hashlib.sha256(data).hexdigest()}.bin"


@pytest.mark.parametrize("value", [3e38, np.inf])
def test_factors_that_overflow_leave_rows_without_their_lora_unchanged(value: float) -> None:
    """In the product with ``down``; what is in ``up`` is bounded when a file is read."""
    gains = torch.tensor([[0.0], [1.0]])
    x = torch.full((2, 3, 4), 9.0)
    answer = low_rank(x, torch.full((1, 4), value), torch.ones(1, 5), gains)
    assert answer[0].eq(0).all()
    assert not answer[1].isfinite().any()
    conv = torch.nn.Conv2d(4, 5, 3, padding=1)
    answer = low_rank_conv(torch.full((2, 4, 6, 6), 9.0), torch.full((1, 36), value), torch.ones(1, 5), gains, conv)
    assert answer[0].eq(0).all()


@pytest.mark.parametrize("name", ADAPTED)
def test_pictures_with_two_loras_equal_those_of_diffusers(
    built: Callable[[str], Built], illustrators: Illustrators, name: str
) -> None:
    """Of three tools, with weights, one of them negative; beside them a picture without any."""
    family = built(name)
    pipeline = pipeline_of(family)
    files = [random_lora(pipeline, tool, seed) for seed, tool in enumerate(("kohya", "peft", "diffusers"))]
    objects = {named(data): data for data, _ in files}
    uses = [LoraUse(f"lora{i}", weight, named(files[i][0])) for i, weight in ((0, 0.8), (1, -0.6), (2, 0.5))]
    wanted = [options(), options(loras=tuple(uses[:2])), options(loras=(uses[2],))]
    together, alone = illustrators.draw_both_ways(family.repository, wanted, objects)
    expected = [drawn_by_diffusers(pipeline)]
    for members in ([0, 1], [2]):
        merged = pipeline_of(family)
        for i in members:
            merge(merged, files[i][1], uses[i].weight)
        expected.append(drawn_by_diffusers(merged))
    _compare(name, together, alone, expected)
    assert psnr_db(expected[0], expected[1]) < 25
    assert psnr_db(expected[0], expected[2]) < 25


@pytest.mark.parametrize("name", ADAPTED)
def test_controlled_pictures_equal_those_of_diffusers(
    built: Callable[[str], Built], illustrators: Illustrators, name: str
) -> None:
    """One ControlNet in a part of the steps, and two stacked."""
    family = built(name)
    folder = family.checkpoint.parent
    uses = [
        ControlUse("canny", picture(1), scale=0.8, start=0.0, end=0.6),
        ControlUse("tile", picture(2), scale=0.5),
    ]
    wanted = [options(controls=(uses[0],)), options(), options(controls=tuple(uses))]
    together, alone = illustrators.draw_both_ways(family.repository, wanted)
    networks = [diffusers.ControlNetModel.from_pretrained(folder / use.type) for use in uses]
    cls = CONTROL_PIPELINES[name]
    expected = [
        drawn_by_diffusers(
            pipeline_of(family, cls, controlnet=networks[0]),
            image=opened(uses[0].picture),
            controlnet_conditioning_scale=0.8,
            control_guidance_end=0.6,
        ),
        drawn_by_diffusers(pipeline_of(family)),
        drawn_by_diffusers(
            pipeline_of(family, cls, controlnet=networks),
            image=[opened(use.picture) for use in uses],
            controlnet_conditioning_scale=[0.8, 0.5],
            control_guidance_end=[0.6, 1.0],
        ),
    ]
    _compare(name, together, alone, expected)
    assert psnr_db(expected[0], expected[1]) < 30
    assert psnr_db(expected[0], expected[2]) < 30


@pytest.mark.parametrize("name", ADAPTED)
def test_pictures_with_references_equal_those_of_diffusers(
    built: Callable[[str], Built], illustrators: Illustrators, name: str
) -> None:
    """Plain, and with scales by block as InstantStyle has them."""
    family = built(name)
    reference = picture(3, (36, 28))
    wanted = [
        options(references=(ReferenceUse(reference, scale=0.7),)),
        options(references=(ReferenceUse(reference, scale=0.2, style_scale=1.1, content_scale=0.4),)),
        options(),
    ]
    together, alone = illustrators.draw_both_ways(family.repository, wanted)
    expected = []
    for scale in (0.7, {"down": {"block_2": 0.4}, "up": {"block_0": 1.1}}):
        pipeline = with_ip_adapter(family)
        _set_scales(pipeline, scale)
        expected.append(drawn_by_diffusers(pipeline, ip_adapter_image=opened(reference)))
    expected.append(drawn_by_diffusers(pipeline_of(family)))
    _compare(name, together, alone, expected)
    assert psnr_db(expected[0], expected[2]) < 30
    assert psnr_db(expected[0], expected[1]) < 40


def with_ip_adapter(family: Built) -> Any:
    """diffusers' pipeline with the IP-Adapter that the engines were built with."""
    pipeline = pipeline_of(family)
    adapter = family.checkpoint.parent / "ip_adapter"
    pipeline.load_ip_adapter(
        str(adapter), subfolder="", weight_name="ip-adapter.safetensors", image_encoder_folder="image_encoder"
    )
    side = pipeline.image_encoder.config.image_size
    size = {"shortest_edge": side}
    pipeline.feature_extractor = CLIPImageProcessor(size=size, crop_size={"height": side, "width": side})
    return pipeline


@pytest.mark.parametrize("name", ADAPTED)
def test_pictures_with_masked_references_equal_those_of_diffusers(
    built: Callable[[str], Built], illustrators: Illustrators, name: str
) -> None:
    """Two references with a mask each, which overlap, and one with a mask of its own; beside them one without."""
    family, size = built(name), (64, 64)
    pictures = [picture(3, (36, 28)), picture(5, (36, 28))]
    halves = [white_part(size, slice(32, 64)), white_part(size, slice(0, 48))]
    both = tuple(ReferenceUse(one, scale=0.7, mask=mask) for one, mask in zip(pictures, halves, strict=True))
    square: dict[str, Any] = {"width": 64, "height": 64}
    wanted = [options(references=both, **square), options(references=both[:1], **square), options(**square)]
    wanted.append(options(references=(ReferenceUse(pictures[0], scale=0.7),), **square))
    together, alone = illustrators.draw_both_ways(family.repository, wanted)
    masks = IPAdapterMaskProcessor().preprocess([opened(one) for one in halves], height=64, width=64)
    expected = []
    for count in (2, 1):
        pipeline = with_ip_adapter(family)
        pipeline.set_ip_adapter_scale([[0.7] * count])
        images = [[opened(one) for one in pictures[:count]]]
        given = {"ip_adapter_masks": [masks[:count].reshape(1, count, 64, 64)]}
        expected.append(drawn_by_diffusers(pipeline, ip_adapter_image=images, cross_attention_kwargs=given, **square))
    expected.append(drawn_by_diffusers(pipeline_of(family), **square))
    _compare(name, together[:3], alone[:3], expected)
    assert psnr_db(expected[0], expected[1]) < 35
    assert psnr_db(expected[1], expected[2]) < 35
    assert psnr_db(together[1], together[3]) < 35


def test_sixteen_mixed_drawings_at_once_equal_each_alone(
    built: Callable[[str], Built], illustrators: Illustrators
) -> None:
    """Other LoRAs, references, control pictures, masks, regions, steps and samplers in the same batches."""
    family = built("sd15")
    pipeline = pipeline_of(family)
    files = [random_lora(pipeline, tool, seed)[0] for seed, tool in enumerate(("kohya", "peft", "diffusers"))]
    objects = {named(data): data for data in files}
    uses = [LoraUse(f"lora{i}", 0.5 + i / 4, named(data)) for i, data in enumerate(files)]
    size = (64, 64)
    masked = PictureSource(picture(4, size), white_half(size), strength=0.8)
    guides: list[dict[str, Any]] = [
        {},
        {"loras": (uses[0],)},
        {"loras": (uses[1], uses[2]), "controls": (ControlUse("canny", picture(1, size), scale=0.7, start=0.3),)},
        {"references": (ReferenceUse(picture(3)), ReferenceUse(picture(5), weight=0.5)), "loras": (uses[0],)},
        {"source": masked, "controls": (ControlUse("tile", picture(2, size), "tile"),)},
        {"source": masked, "loras": (uses[2],), "references": (ReferenceUse(picture(3), style_scale=1.0),)},
        {"regions": (Region("green cat", box=LEFT),), "loras": (uses[1],)},
        {"regions": (Region("green cat", box=LEFT, loras=(uses[0],), references=(ReferenceUse(picture(5)),)),)},
        {"references": (ReferenceUse(picture(3), mask=white_half(size)), ReferenceUse(picture(5)))},
    ]
    samplers = ("euler", "ddim", "heun", "dpmpp_2m", "unipc", "euler_a")
    wanted = [
        options(
            **guides[i % len(guides)],
            sampler=samplers[i % 6],
            num_inference_steps=3 + i % 5,
            guidance_scale=1.0 + i / 4,
            seed=i,
            width=size[0],
            height=size[1],
        )
        for i in range(16)
    ]
    together, alone = illustrators.draw_both_ways(family.repository, wanted, objects)
    for a, b in zip(together, alone, strict=True):
        difference = np.abs(a.astype(int) - b)
        assert difference.max() <= 1
        assert difference.mean() < 0.25
    assert len({one.tobytes() for one in together}) == 16


def white_half(size: tuple[int, int]) -> InputPicture:
    return white_part(size, slice(size[0] // 2, None))


def white_part(size: tuple[int, int], columns: slice) -> InputPicture:
    """A mask that is white in these columns."""
    pixels = np.zeros((size[1], size[0]), np.uint8)
    pixels[:, columns] = 255
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return InputPicture(f"white {columns}", *size, file.getvalue())


def _set_scales(pipeline: Any, scale: Any) -> None:
    """A dictionary's blocks as ``set_ip_adapter_scale`` reads it, and 0.2 for all others."""
    for name, processor in pipeline.unet.attn_processors.items():
        if hasattr(processor, "scale"):
            own = scale if isinstance(scale, float) else 0.2
            if isinstance(scale, dict):
                for part, blocks in scale.items():
                    for block, value in blocks.items():
                        own = value if name.startswith(f"{part}_blocks.{block[-1]}.") else own
            processor.scale = [own]


def _compare(name: str, together: list[Any], alone: list[Any], expected: list[Any]) -> None:
    for ours, lone, theirs in zip(together, alone, expected, strict=True):
        print(f"{name}: {psnr_db(ours, theirs):.1f} dB")
        assert psnr_db(ours, theirs) > 45
        assert np.abs(ours.astype(int) - lone).max() <= 1
