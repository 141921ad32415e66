"""Drawings from pictures on engines that are functions: strength, masks, crops, margins, inpainting checkpoints."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from serve.diffusion.canvas import Canvas, grown
from serve.ensembles.illustrator.growth import MAX_PASSES, split_margins
from serve.ensembles.illustrator.illustration import IllustrateOptions, Illustration
from serve.ensembles.illustrator.illustrator import Illustrator
from serve.ensembles.illustrator.picture_source import InputPicture, Margins, PictureSource
from serve.ensembles.illustrator.service import Checkpoint, Preview, Progress, StreamOptions
from serve.ensembles.requests import IllustrateRequest, from_json
from serve.errors import AtelierError, InvalidRequest, UnsupportedOperation
from serve.settings import IllustratorSettings
from tests.ensembles.drawn_family import FAMILY, engines, write_family
from tests.fakes import FakeEngines

SIDE = 64
BLOCKS = np.random.default_rng(3).integers(10, 245, (8, 8, 3)).astype(np.uint8)
PIXELS = BLOCKS.repeat(8, axis=0).repeat(8, axis=1)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_family(tmp_path_factory.mktemp("repository"))


@pytest.fixture(scope="module")
def inpainting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_family(tmp_path_factory.mktemp("inpainting"), {**FAMILY, "inpainting": True})


def illustrator(repository: Path, fake_engines: FakeEngines | None = None) -> Illustrator:
    settings = IllustratorSettings(model_repository=repository)
    return Illustrator(settings, engines=fake_engines or engines())  # type: ignore[arg-type]


def encoded(pixels: NDArray[np.uint8], name: str = "picture.png") -> InputPicture:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return InputPicture(name, pixels.shape[1], pixels.shape[0], file.getvalue())


def box_mask(left: int, top: int, right: int, bottom: int, size: tuple[int, int] = (SIDE, SIDE)) -> NDArray[np.uint8]:
    mask = np.zeros((size[1], size[0]), np.uint8)
    mask[top:bottom, left:right] = 255
    return mask


PICTURE, MASK = encoded(PIXELS), box_mask(16, 16, 48, 40)


def options(source: PictureSource | None, **more: Any) -> IllustrateOptions:
    return IllustrateOptions(**{"prompt": "red apple", "seed": 4, "source": source, **more})


def masked(**more: Any) -> PictureSource:
    return PictureSource(**{"image": PICTURE, "mask": encoded(MASK, "mask.png"), "mask_blur": 0, **more})


def unet_inputs(fake_engines: FakeEngines) -> list[Mapping[str, NDArray[Any]]]:
    return [inputs for engine, inputs in fake_engines.calls if engine == "toy_unet"]


async def pixels_of(repository: Path, chosen: IllustrateOptions) -> NDArray[np.uint8]:
    return (await illustrator(repository).draw(chosen)).pictures[0].pixels


async def test_strength_is_the_share_of_steps(repository: Path) -> None:
    fake_engines = engines()
    drawn = await illustrator(repository, fake_engines).draw(
        options(PictureSource(PICTURE, strength=0.5), num_inference_steps=8)
    )
    assert drawn.evaluations == len(unet_inputs(fake_engines)) == 4
    assert drawn.parameters.num_inference_steps == 8
    assert drawn.parameters.source is not None
    assert drawn.parameters.source["strength"] == 0.5
    assert drawn.model_versions["toy_vae_encoder"] == "7"


async def test_low_strength_keeps_the_picture_and_high_strength_does_not(repository: Path) -> None:
    differences = []
    for strength in (0.05, 0.5, 1.0):
        drawn = await pixels_of(repository, options(PictureSource(PICTURE, strength=strength), num_inference_steps=20))
        differences.append(np.abs(drawn.astype(int) - PIXELS).mean())
    assert differences[0] < 15
    assert differences[0] < differences[1] < differences[2]


async def test_default_size_is_that_of_the_picture(repository: Path) -> None:
    wide = encoded(np.ascontiguousarray(PIXELS[:41]))
    drawn = await illustrator(repository).draw(options(PictureSource(wide)))
    assert (drawn.parameters.width, drawn.parameters.height) == (64, 40)
    assert drawn.pictures[0].pixels.shape == (40, 64, 3)


async def test_what_the_mask_keeps_is_unchanged(repository: Path) -> None:
    drawn = await pixels_of(repository, options(masked()))
    assert np.array_equal(drawn[MASK == 0], PIXELS[MASK == 0])
    assert np.abs(drawn[MASK > 0].astype(int) - PIXELS[MASK > 0]).mean() > 10


async def test_seam_is_feathered(repository: Path) -> None:
    sharp, soft = [await pixels_of(repository, options(masked(mask_blur=blur))) for blur in (0, 4)]
    outside = np.abs(soft.astype(int) - PIXELS)[MASK == 0]
    assert outside.max() > 0
    far = np.s_[:4, :4]
    assert np.array_equal(soft[far], PIXELS[far])
    assert np.array_equal(sharp[MASK == 0], PIXELS[MASK == 0])


async def test_grey_of_a_mask_is_a_strength(repository: Path) -> None:
    """Half of the steps where the mask is half, as image-to-image of that strength has it there."""
    grey = np.full((SIDE, SIDE), 127, np.uint8)
    grey[:8] = 0
    changes = []
    for mask in (box_mask(0, 8, 64, 64), grey):
        fake_engines = engines()
        source = masked(mask=encoded(mask))
        await illustrator(repository, fake_engines).draw(options(source, num_inference_steps=10, sampler="euler"))
        samples = [inputs["sample"][0] for inputs in unet_inputs(fake_engines)]
        changes.append(samples)
    assert not np.allclose(changes[0][4], changes[1][4])
    # Until the fifth of ten evaluations the second is the picture with noise: the same noise at each level.
    first, fourth = changes[1][1], changes[1][4]
    assert np.corrcoef(first[:, 2:].ravel(), fourth[:, 2:].ravel())[0, 1] > 0.5


async def test_masked_part_is_drawn_at_full_resolution_and_pasted_back(repository: Path) -> None:
    large = PIXELS.repeat(5, axis=0).repeat(5, axis=1)
    mask = box_mask(80, 80, 144, 144, (320, 320))
    source = PictureSource(encoded(large), encoded(mask), mask_blur=0, mask_crop=True, mask_crop_padding=0)
    fake_engines = engines()
    drawn = await illustrator(repository, fake_engines).draw(options(source, width=64, height=64))
    assert unet_inputs(fake_engines)[0]["sample"].shape == (2, 3, 8, 8)
    result = drawn.pictures[0].pixels
    assert result.shape == (320, 320, 3)
    assert np.array_equal(result[mask == 0], large[mask == 0])
    assert not np.array_equal(result[mask > 0], large[mask > 0])


@pytest.mark.parametrize("margins", [Margins(left=24), Margins(top=8, right=16), Margins(8, 8, 8, 8)])
async def test_outpainting_keeps_the_picture_and_has_the_size_of_both(repository: Path, margins: Margins) -> None:
    source = PictureSource(PICTURE, outpaint=margins, mask_blur=0)
    drawn = await pixels_of(repository, options(source))
    width, height = 64 + margins.left + margins.right, 64 + margins.top + margins.bottom
    assert drawn.shape == (height, width, 3)
    kept = drawn[margins.top : margins.top + 64, margins.left : margins.left + 64]
    assert np.array_equal(kept, PIXELS)
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) > 64


async def test_large_margins_are_drawn_in_passes(repository: Path) -> None:
    """B-033: each pass grows a side by half at most; the picture stays, the seam aside; progress counts all passes."""
    margins = Margins(left=120, right=40, bottom=32)
    fake_engines = engines()
    chosen = options(PictureSource(PICTURE, outpaint=margins, mask_blur=2), num_inference_steps=5, preview_every=2)
    stream = illustrator(repository, fake_engines).stream(chosen, StreamOptions(progress_s=1e-9))
    items = [item async for item in stream]
    drawn = items[-1]
    assert isinstance(drawn, Illustration)
    pixels = drawn.pictures[0].pixels
    assert pixels.shape == (96, 224, 3)
    assert np.array_equal(pixels[:56, 128:176], PIXELS[:56, 8:56])
    sizes = [inputs["sample"].shape[2:] for inputs in unet_inputs(fake_engines)]
    assert sizes == [(12, 12)] * 5 + [(12, 18)] * 5 + [(12, 27)] * 5 + [(12, 28)] * 5
    assert drawn.evaluations == 20
    steps = [(item.step, item.steps) for item in items if isinstance(item, Progress)]
    assert steps[-1] == (20, 20)
    assert steps == sorted(steps)
    previews = [item for item in items if isinstance(item, Preview)]
    assert [(one.step, one.steps) for one in previews] == [(5 * i + k, 20) for i in range(4) for k in (2, 4)]
    for one, undrawn in zip(previews[::2], (96, 60, 6, 0), strict=True):
        white = (one.pixels == 255).all((0, 2))
        assert abs(one.pixels.shape[1] - 224) <= 2
        assert (int(white.argmin()), one.pixels.shape[0]) == (undrawn, 96)
    source = drawn.parameters.source
    assert source is not None
    assert source["outpaint"] == {"left": 120, "top": 0, "right": 40, "bottom": 32}
    assert (drawn.parameters.width, drawn.parameters.height) == (224, 96)
    again = (await illustrator(repository).draw(chosen)).pictures[0].pixels
    assert np.array_equal(pixels, again)


@pytest.mark.parametrize("size", [(64, 64), (8, 1000), (1, 1)])
@pytest.mark.parametrize("margins", [Margins(left=2000, right=1), Margins(1, 2, 3, 4), Margins(top=700, bottom=700)])
def test_passes_add_up_to_the_margins(size: tuple[int, int], margins: Margins) -> None:
    passes = split_margins(margins, size)
    assert 1 <= len(passes) <= MAX_PASSES + 1
    sums = {side: sum(getattr(one, side) for one in passes) for side in ("left", "top", "right", "bottom")}
    assert Margins(**sums) == margins


async def test_fills_under_a_mask_change_the_start(repository: Path) -> None:
    drawn = [
        await pixels_of(repository, options(masked(mask_fill=fill, strength=0.6)))
        for fill in ("original", "surroundings", "noise", "empty")
    ]
    assert len({pixels.tobytes() for pixels in drawn}) == 4
    assert all(np.array_equal(pixels[MASK == 0], PIXELS[MASK == 0]) for pixels in drawn)


async def test_inpainting_checkpoint_takes_mask_and_hidden_picture(inpainting: Path) -> None:
    fake_engines = engines()
    drawn = await illustrator(inpainting, fake_engines).draw(options(masked()))
    sample = unet_inputs(fake_engines)[0]["sample"]
    assert sample.shape == (2, 7, 8, 8)
    assert np.array_equal(sample[0, 3], (MASK[::8, ::8] > 0).astype(np.float32))
    hidden = [inputs["image"][0] for engine, inputs in fake_engines.calls if engine == "toy_vae_encoder"][1]
    assert (hidden[MASK > 0] == 128).all()
    assert np.array_equal(hidden[MASK == 0], PIXELS[MASK == 0])
    assert np.array_equal(drawn.pictures[0].pixels[MASK == 0], PIXELS[MASK == 0])


async def test_inpainting_checkpoint_draws_a_prompt_alone(inpainting: Path) -> None:
    fake_engines = engines()
    drawn = await illustrator(inpainting, fake_engines).draw(options(None))
    assert (unet_inputs(fake_engines)[0]["sample"][:, 3] == 1).all()
    assert drawn.pictures[0].pixels.shape == (64, 64, 3)


def mixed_requests() -> list[IllustrateOptions]:
    """With and without picture, mask and margins; other steps, samplers, guidance and seeds."""
    sources = [
        None,
        PictureSource(PICTURE, strength=0.4),
        masked(strength=0.8),
        masked(mask_crop=True, mask_blur=2),
        PictureSource(PICTURE, outpaint=Margins(left=16)),
    ]
    samplers = ("ddim", "euler", "euler_a", "heun", "dpmpp_2m", "unipc", "lcm", "dpmpp_2m_karras")
    return [
        options(
            sources[i % 5],
            seed=50 + i,
            sampler=samplers[i % 8],
            num_inference_steps=4 + i,
            guidance_scale=1.0 + i / 2,
            width=64,
            height=64,
        )
        for i in range(16)
    ]


@pytest.mark.parametrize("kind", ["repository", "inpainting"])
async def test_sixteen_mixed_requests_equal_their_single_runs(kind: str, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(kind)
    one = illustrator(folder)
    together = await asyncio.gather(*(one.draw(chosen) for chosen in mixed_requests()))
    for chosen, drawn in zip(mixed_requests(), together, strict=True):
        assert np.array_equal(await pixels_of(folder, chosen), drawn.pictures[0].pixels)


@pytest.mark.parametrize("number", range(5))
async def test_resumed_picture_equals_the_uninterrupted_one(repository: Path, number: int) -> None:
    chosen = mixed_requests()[number]
    items = [item async for item in illustrator(repository).stream(chosen, StreamOptions(checkpoint_every=1))]
    checkpoints = [item for item in items if isinstance(item, Checkpoint)]
    middle = checkpoints[len(checkpoints) // 2]
    fake_engines = engines()
    resumed = [item async for item in illustrator(repository, fake_engines).stream(chosen, resume=[middle])]
    assert isinstance(items[-1], Illustration)
    assert isinstance(resumed[-1], Illustration)
    assert np.array_equal(items[-1].pictures[0].pixels, resumed[-1].pictures[0].pixels)
    assert len(unet_inputs(fake_engines)) == items[-1].evaluations - middle.step


async def test_checkpoint_of_another_picture_is_not_used(repository: Path) -> None:
    chosen = options(PictureSource(PICTURE))
    items = [item async for item in illustrator(repository).stream(chosen, StreamOptions(checkpoint_every=1))]
    (checkpoint,) = [item for item in items if isinstance(item, Checkpoint)][:1] or [None]
    assert checkpoint is not None
    other = options(PictureSource(replace(PICTURE, name="other.png")))
    fake_engines = engines()
    drawn = [item async for item in illustrator(repository, fake_engines).stream(other, resume=[checkpoint])][-1]
    assert isinstance(drawn, Illustration)
    assert len(unet_inputs(fake_engines)) == drawn.evaluations


async def test_empty_prompt_is_enough_with_a_picture(repository: Path) -> None:
    assert (await pixels_of(repository, options(PictureSource(PICTURE), prompt=""))).shape == (64, 64, 3)
    with pytest.raises(InvalidRequest):
        options(None, prompt="")


BAD: list[tuple[dict[str, Any], str]] = [
    ({"strength": 0}, "strength"),
    ({"strength": 2}, "strength"),
    ({"strength": float("nan")}, "strength"),
    ({"fit": "best"}, "fit"),
    ({"mask_fill": "red"}, "mask_fill"),
    ({"mask_blur": -1}, "mask_blur"),
    ({"mask_blur": 10_000}, "mask_blur"),
    ({"mask_crop_padding": 5000}, "mask_crop_padding"),
    ({"mask": None, "mask_crop": True}, "mask_crop"),
]


@pytest.mark.parametrize(("values", "field"), BAD, ids=repr)
def test_values_out_of_range_are_refused(values: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        masked(**values)
    assert raised.value.field == field


def test_margins_out_of_range_are_refused() -> None:
    for margin in (-1, 100_000, True):
        with pytest.raises(InvalidRequest) as raised:
            Margins(right=margin)
        assert raised.value.field == "outpaint.right"


def test_picture_with_margins_has_a_largest_side() -> None:
    large = replace(PICTURE, width=4000)
    with pytest.raises(InvalidRequest) as raised:
        PictureSource(large, outpaint=Margins(left=100))
    assert raised.value.field == "outpaint"


def test_alpha_of_the_input_is_kept_where_the_drawing_has_alpha() -> None:
    base = np.dstack([PIXELS, np.zeros((SIDE, SIDE), np.uint8)])
    seam = box_mask(0, 0, 32, 64)
    canvas = Canvas(PIXELS, None, base, seam, (0, 0, SIDE, SIDE))
    drawn = np.full((SIDE, SIDE, 4), 255, np.uint8)
    result = canvas.finished(drawn)
    assert (result[:, :32] == 255).all()
    assert np.array_equal(result[:, 32:], base[:, 32:])
    assert canvas.finished(drawn[..., :3]).shape == (SIDE, SIDE, 3)


def test_mask_is_grown_by_pixels_on_all_sides() -> None:
    for px in (0, 1, 3, 8, 300):
        expected = np.zeros((SIDE, SIDE), np.uint8)
        expected[max(0, 20 - px) : 30 + px, max(0, 10 - px) : 12 + px] = 255
        assert np.array_equal(grown(box_mask(10, 20, 12, 30), px), expected)


FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"image": replace(PICTURE, data=b"no picture")}, "image"),
    ({"image": replace(PICTURE, data=PICTURE.data[:200])}, "image"),
    ({"mask": encoded(np.zeros((SIDE, SIDE), np.uint8))}, "mask"),
    ({"mask": encoded(np.zeros((32, 32), np.uint8))}, "mask"),
]


@pytest.mark.parametrize(("values", "field"), FAULTS, ids=range(len(FAULTS)))
async def test_bad_pictures_are_refused_and_others_go_on(repository: Path, values: dict[str, Any], field: str) -> None:
    one = illustrator(repository)
    good, bad = await asyncio.gather(
        one.draw(options(masked())), one.draw(options(masked(**values))), return_exceptions=True
    )
    assert isinstance(bad, AtelierError)
    assert bad.field == field
    assert 400 <= bad.status < 500
    assert isinstance(good, Illustration)
    assert np.array_equal(good.pictures[0].pixels, await pixels_of(repository, options(masked())))


async def test_family_without_an_encoder_refuses_pictures(tmp_path: Path) -> None:
    folder = write_family(tmp_path)
    (folder / "toy_vae_encoder" / "manifest.json").unlink()
    (folder / "toy_vae_encoder").rmdir()
    with pytest.raises(UnsupportedOperation) as raised:
        await illustrator(folder).draw(options(PictureSource(PICTURE)))
    assert raised.value.field == "image"
    assert (await pixels_of(folder, options(None))).shape == (64, 64, 3)


def test_stored_request_names_its_pictures() -> None:
    request = IllustrateRequest(options(masked(strength=0.5, mask_fill="noise")))
    document = request.to_json()
    again = from_json(document)
    assert isinstance(again, IllustrateRequest)
    assert again.to_json() == document
    assert list(again.inputs) == ["picture.png", "mask.png"]
    assert again.options.source is not None
    assert again.options.source.image.data == b""
    loaded = again.with_inputs({"picture.png": b"a", "mask.png": b"b"}).options.source
    assert loaded is not None
    assert [picture.data for picture in loaded.pictures] == [b"a", b"b"]
    assert "source" not in IllustrateRequest(options(None)).to_json()["options"]
    assert list(IllustrateRequest(options(None)).inputs) == []
