"""Edits of a stored picture over HTTP (C-140)."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_pictures import infotext
from PIL import Image
from stateful_door import Door, is_problem, opened
from test_doors_results import drawing, picture

from serve.api.library.editing import EditRequest, edited
from serve.ensembles.illustrator.provenance import is_marked


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with opened(tmp_path) as door:
        yield door


def ramp(height: int = 4, width: int = 6) -> np.ndarray[Any, Any]:
    """Opaque pixels that all differ."""
    pixels = np.arange(height * width * 4, dtype=np.uint8).reshape(height, width, 4)
    pixels[..., 3] = 255
    return pixels


async def test_edit_is_stored_as_a_generation_of_its_own(door: Door) -> None:
    (name,) = await door.draw(await picture())
    body = {"crop": {"left": 8, "top": 4, "width": 60, "height": 40}, "rotate": 90, "width": 80}
    answer = await door.client.post(f"/v1/results/{name}/edit", json=body)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert (made["kind"], made["prompt"], made["status"]) == ("edit", "red apple, flat", "completed")
    assert made["parameters"] == {"kind": "edit", "result_id": name, "options": body}
    (result,) = made["results"]
    assert (result["metadata"]["width"], result["metadata"]["height"], result["metadata"]["seed"]) == (80, 120, 7)
    file = (await door.client.get(f"/v1/results/{result['id']}")).content
    assert Image.open(io.BytesIO(file)).size == (80, 120)
    assert (infotext(Image.open(io.BytesIO(file))) or "").startswith("red apple, flat")
    assert is_marked(file)
    listed = (await door.client.get("/v1/generations", params={"kind": "edit"})).json()["generations"]
    assert [one["id"] for one in listed] == [made["id"]]
    assert Image.open(io.BytesIO((await door.client.get(f"/v1/results/{name}")).content)).size == (128, 64)


async def test_format_may_change(door: Door) -> None:
    (name,) = await door.draw(await picture())
    made = (await door.client.post(f"/v1/results/{name}/edit", json={"rotate": 10, "format": "jpeg"})).json()
    assert made["results"][0]["metadata"]["media_type"] == "image/jpeg"


def test_crop_turn_and_flip_move_pixels() -> None:
    pixels = ramp()
    cropped = edited(pixels, EditRequest(crop={"left": 1, "top": 2, "width": 3, "height": 2}))  # type: ignore[arg-type]
    assert np.array_equal(cropped, pixels[2:4, 1:4])
    assert np.array_equal(edited(pixels, EditRequest(rotate=90)), np.rot90(pixels, -1))
    assert np.array_equal(edited(pixels, EditRequest(rotate=-90)), np.rot90(pixels))
    assert np.array_equal(edited(pixels, EditRequest(rotate=180)), pixels[::-1, ::-1])
    assert np.array_equal(edited(pixels, EditRequest(flip_horizontal=True)), pixels[:, ::-1])
    assert np.array_equal(edited(pixels, EditRequest(flip_vertical=True)), pixels[::-1])


def test_free_turn_grows_the_picture_with_transparent_corners() -> None:
    turned = edited(np.full((20, 40, 4), 255, np.uint8), EditRequest(rotate=45))
    assert turned.shape[0] > 40
    assert turned[0, 0, 3] == 0
    assert turned[turned.shape[0] // 2, turned.shape[1] // 2].tolist() == [255] * 4


def test_resize_keeps_the_proportions_and_does_not_mix_in_hidden_colours() -> None:
    pixels = np.zeros((8, 16, 4), np.uint8)
    pixels[:, :8] = (255, 0, 0, 255)
    pixels[:, 8:] = (0, 255, 0, 0)  # transparent green
    small = edited(pixels, EditRequest(height=4))
    assert small.shape == (4, 8, 4)
    visible = small[small[..., 3] > 0]
    assert visible[:, 1].max() <= 2


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"brightness": 0.5}, (100, 50, 25)),
        ({"contrast": 0}, (128, 128, 128)),
        ({"saturation": 0}, (119, 119, 119)),  # 0.213 * 200 + 0.715 * 100 + 0.072 * 50
        ({"brightness": 4.0}, (255, 255, 200)),
    ],
)
def test_colours_follow_the_css_filters(body: dict[str, float], expected: tuple[int, int, int]) -> None:
    pixels = np.full((1, 1, 4), (200, 100, 50, 77), np.uint8)
    assert np.allclose(edited(pixels, EditRequest(**body))[0, 0], (*expected, 77), atol=1)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, None),
        ({"rotate": 360}, None),
        ({"brightness": 1}, None),
        ({"crop": {"left": 100, "top": 0, "width": 60, "height": 10}}, "crop"),
        ({"crop": {"left": 0, "top": 0, "width": 0, "height": 10}}, "crop.width"),
        ({"crop": {"left": 0, "top": 0, "width": 10}}, "crop.height"),
        ({"rotate": "NaN"}, "rotate"),
        ({"width": 100_000}, "width"),
        ({"height": 3_000}, "height"),
        ({"saturation": -1}, "saturation"),
        ({"contrast": 1e9}, "contrast"),
        ({"format": "svg"}, "format"),
        ({"sharpen": 2}, "sharpen"),
    ],
)
async def test_bad_edits_are_refused_by_name(door: Door, body: dict[str, Any], field: str | None) -> None:
    (name,) = await door.draw(await picture())
    answer = await door.client.post(f"/v1/results/{name}/edit", json=body)
    assert is_problem(answer, 422 if answer.status_code == 422 else 400, field), answer.text


async def test_drawings_and_unknown_pictures_are_refused(door: Door) -> None:
    (name,) = await door.draw(drawing())
    assert is_problem(await door.client.post(f"/v1/results/{name}/edit", json={"rotate": 90}), 400, "result_id")
    assert (await door.client.post(f"/v1/results/{'0' * 32}/edit", json={"rotate": 90})).status_code == 404
