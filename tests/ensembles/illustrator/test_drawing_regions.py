"""Drawings with regions on engines that are functions: rows of one batch, shares, masks, batch caps, requests."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from serve.diffusion.regions import Box
from serve.ensembles.illustrator.illustration import IllustrateOptions
from serve.ensembles.illustrator.illustrator import Illustrator
from serve.ensembles.illustrator.picture_source import PictureSource
from serve.ensembles.illustrator.regions import Region
from serve.ensembles.requests import IllustrateRequest, from_json
from serve.errors import InvalidRequest, ModerationBlocked
from serve.security.moderation.policy import ModerationPolicy
from serve.settings import IllustratorSettings, ModerationSettings
from tests.ensembles.drawn_family import engines, write_family
from tests.ensembles.illustrator.test_drawing_from_pictures import PICTURE, box_mask, encoded, unet_inputs
from tests.fakes import FakeEngines

LEFT, RIGHT = Box(0, 0, 0.5, 1), Box(0.5, 0, 0.5, 1)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_family(tmp_path_factory.mktemp("repository"))


def illustrator(repository: Path, fake_engines: FakeEngines | None = None) -> Illustrator:
    settings = IllustratorSettings(model_repository=repository)
    return Illustrator(settings, engines=fake_engines or engines())  # type: ignore[arg-type]


def options(*regions: Region, **more: Any) -> IllustrateOptions:
    return IllustrateOptions(**{"prompt": "flat", "seed": 4, "regions": regions, **more})


async def pixels_of(repository: Path, chosen: IllustrateOptions) -> NDArray[np.uint8]:
    return (await illustrator(repository).draw(chosen)).pictures[0].pixels


async def test_each_half_is_that_of_its_prompt(repository: Path) -> None:
    """With a denoiser that works latent by latent, a region without feather is the drawing of its prompt there."""
    regions = [
        Region("red apple", box=LEFT, weight=1.0, feather=0),
        Region("green pear", box=RIGHT, weight=1.0, feather=0),
    ]
    both = await pixels_of(repository, options(*regions))
    apple, pear = [await pixels_of(repository, options(prompt=prompt)) for prompt in ("red apple", "green pear")]
    assert np.array_equal(both[:, :32], apple[:, :32])
    assert np.array_equal(both[:, 32:], pear[:, 32:])
    assert not np.array_equal(apple, pear)


async def test_base_prompt_has_what_regions_leave(repository: Path) -> None:
    base = await pixels_of(repository, options())
    drawn = await pixels_of(repository, options(Region("red apple", box=LEFT, feather=0)))
    assert np.array_equal(drawn[:, 32:], base[:, 32:])
    whole = await pixels_of(repository, options(prompt="red apple"))
    changes = [np.abs(drawn[:, :32].astype(int) - one[:, :32]).mean() for one in (base, whole)]
    assert min(changes) > 0


async def test_regions_are_rows_of_one_batch(repository: Path) -> None:
    """One unconditional row for all regions with the same negative prompt."""
    fake_engines = engines()
    regions = [Region("red", box=LEFT), Region("green", "flat", box=RIGHT), Region("pear", box=RIGHT)]
    await illustrator(repository, fake_engines).draw(options(*regions, num_inference_steps=4))
    assert [inputs["sample"].shape[0] for inputs in unet_inputs(fake_engines)] == [6] * 4
    fake_engines = engines()
    await illustrator(repository, fake_engines).draw(options(*regions, num_inference_steps=4, guidance_scale=1.0))
    assert [inputs["sample"].shape[0] for inputs in unet_inputs(fake_engines)] == [4] * 4


async def test_more_rows_than_a_batch_holds_are_several_requests(tmp_path: Path) -> None:
    write_family(tmp_path)
    regions = [Region("red", box=LEFT), Region("green", box=RIGHT), Region("pear", box=RIGHT)]
    expected = await pixels_of(tmp_path, options(*regions, num_inference_steps=2))
    (tmp_path / "toy_unet" / "config.pbtxt").write_text('name: "toy_unet"\nmax_batch_size: 2\n')
    fake_engines = engines()
    drawn = await illustrator(tmp_path, fake_engines).draw(options(*regions, num_inference_steps=2))
    assert [inputs["sample"].shape[0] for inputs in unet_inputs(fake_engines)] == [2, 2, 1] * 2
    assert np.array_equal(drawn.pictures[0].pixels, expected)


async def test_mask_of_any_size_is_a_region(repository: Path) -> None:
    mask = encoded(box_mask(0, 0, 16, 32, (32, 32)), "mask.png")
    by_mask = await pixels_of(repository, options(Region("red apple", mask=mask, feather=0)))
    by_box = await pixels_of(repository, options(Region("red apple", box=LEFT, feather=0)))
    assert np.abs(by_mask[:, :24].astype(int) - by_box[:, :24]).max() == 0
    soft = await pixels_of(repository, options(Region("red apple", box=LEFT, feather=16)))
    assert not np.array_equal(soft, by_box)


async def test_regions_hold_in_pictures_too(repository: Path) -> None:
    source = PictureSource(PICTURE, strength=0.5)
    plain = await pixels_of(repository, options(source=source))
    drawn = await pixels_of(repository, options(Region("red apple", box=LEFT, feather=0), source=source))
    assert np.array_equal(plain[:, 32:], drawn[:, 32:])
    assert not np.array_equal(plain[:, :32], drawn[:, :32])


async def test_regions_beside_other_requests_equal_single_runs(repository: Path) -> None:
    requests = [
        options(*[Region("red", box=LEFT), Region("green pear", box=RIGHT)][: i % 3], seed=i, num_inference_steps=3 + i)
        for i in range(6)
    ]
    one = illustrator(repository)
    together = await asyncio.gather(*(one.draw(chosen) for chosen in requests))
    for chosen, drawn in zip(requests, together, strict=True):
        assert np.array_equal(await pixels_of(repository, chosen), drawn.pictures[0].pixels)


async def test_parameters_and_stored_requests_have_the_regions(repository: Path) -> None:
    mask = encoded(box_mask(0, 0, 16, 32, (32, 32)), "mask.png")
    regions = Region("red apple", box=LEFT, name="Ada"), Region("pear", "flat", mask=mask, weight=0.5, feather=2)
    drawn = await illustrator(repository).draw(options(*regions))
    assert drawn.parameters.to_json()["regions"][0]["box"] == {"left": 0, "top": 0, "width": 0.5, "height": 1}
    request = IllustrateRequest(options(*regions))
    assert request.inputs == ["mask.png"]
    stored = from_json(request.to_json())
    assert isinstance(stored, IllustrateRequest)
    assert stored.to_json() == request.to_json()
    assert stored.with_inputs({"mask.png": mask.data}).options.regions == regions
    assert "regions" not in IllustrateRequest(options()).to_json()["options"]


async def test_faults_of_a_region_name_it(repository: Path) -> None:
    empty = encoded(np.zeros((8, 8), np.uint8), "mask.png")
    cases = [
        (Region("red", mask=empty), "regions[0]"),
        (Region("red", box=Box(0.5, 0.5, 0.001, 0.001), feather=200), "regions[0]"),
        (Region("red " * 2000, box=LEFT), "regions[0].prompt"),
    ]
    for region, field in cases:
        with pytest.raises(InvalidRequest) as raised:
            await illustrator(repository).draw(options(region))
        assert raised.value.field == field


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"prompt": " "}, "prompt"),
        ({"box": None}, "box"),
        ({"mask": PICTURE}, "box"),
        ({"weight": 0}, "weight"),
        ({"weight": 2}, "weight"),
        ({"feather": -1}, "feather"),
        ({"feather": 10_000}, "feather"),
    ],
)
def test_values_out_of_range_are_refused(values: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        Region(**{"prompt": "red", "box": LEFT, **values})
    assert raised.value.field == field


def test_number_of_regions_is_bounded() -> None:
    with pytest.raises(InvalidRequest) as raised:
        options(*[Region("red", box=LEFT)] * 9)
    assert raised.value.field == "regions"


async def test_prompts_of_regions_are_moderated() -> None:
    rule = {"category": "weapons", "words": ["cannon"]}
    policy = ModerationPolicy(ModerationSettings.model_validate({"policy": "refuse", "rules": [rule]}), cast(Any, None))
    assert await policy.check(options(Region("a red apple", box=LEFT))) == []
    with pytest.raises(ModerationBlocked):
        await policy.check(options(Region("a cannon", box=LEFT)))
