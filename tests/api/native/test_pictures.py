"""Pictures as files: formats, their metadata, and encoding that does not block the event loop."""

from __future__ import annotations

import base64
import dataclasses

import numpy as np
import pytest
from drawn_pictures import infotext, opened, record
from illustrator_standin import IllustratorStandIn
from standin import StandIn

from serve.ensembles.illustrator import provenance
from serve.ensembles.illustrator.encoding import Encoding, encode_all, encode_preview
from serve.ensembles.illustrator.illustration import IllustrateOptions, Illustration
from serve.errors import InvalidRequest


async def drawn(**more: object) -> Illustration:
    return await IllustratorStandIn().draw(IllustrateOptions("a (red:1.2) apple", seed=7, **more))  # type: ignore[arg-type]


async def files(illustration: Illustration, encoding: Encoding) -> list[bytes]:
    return await encode_all(illustration, encoding, StandIn())


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
async def test_pictures_contain_their_metadata(kind: str) -> None:
    options = {"negative_prompt": "täxt", "sampler": "DPM++ 2M Karras", "guidance_rescale": 0.5, "n": 2}
    illustration = await drawn(**options)
    for index, data in enumerate(await files(illustration, Encoding(kind))):
        image = opened(base64.b64encode(data).decode())
        assert image.format == kind.upper()
        np.testing.assert_allclose(
            np.asarray(image), illustration.pictures[index].pixels, atol=0 if kind == "png" else 60
        )
        lines = (infotext(image) or "").split("\n")
        assert lines[:2] == ["a (red:1.2) apple", "Negative prompt: täxt"]
        assert lines[2].startswith(
            f"Steps: 8, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 3, Seed: {7 + index}, Size: 64x64, "
        )
        assert "CFG rescale: 0.5, Model: mini, Version: atelier " in lines[2]
        metadata = record(image)
        assert metadata is not None
        assert metadata["software"].startswith("atelier ")
        assert metadata["model_versions"] == {"mini_unet": "1"}
        made = dataclasses.replace(illustration.parameters, seed=7 + index)
        parameters = made.to_json()
        assert "source" not in parameters
        assert {name: metadata[name] for name in parameters} == parameters


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
async def test_metadata_can_be_omitted(kind: str) -> None:
    (data,) = await files(await drawn(), Encoding(kind, metadata=False))
    image = opened(base64.b64encode(data).decode())
    assert infotext(image) is None
    assert record(image) is None
    assert b"apple" not in data


async def test_infotext_without_negative_prompt_has_no_such_line() -> None:
    text = provenance.infotext((await drawn()).parameters)
    assert text.count("\n") == 1
    assert "Sampler: Euler, Schedule type: Automatic, CFG scale" in text


@pytest.mark.parametrize("characters", [9_000, 16_000, 31_000])
async def test_exif_size_is_limited(characters: int) -> None:
    """The JSON of a long non-ASCII prompt is dropped first; the rest stays complete."""
    prompt = "é" * characters
    illustration = await IllustratorStandIn().draw(IllustrateOptions(prompt, negative_prompt=prompt[:12_000]))
    (data,) = await files(illustration, Encoding("jpeg"))
    image = opened(base64.b64encode(data).decode())
    text, metadata = infotext(image), record(image)
    assert (text is None, metadata is None) == (characters > 20_000, True)
    assert text is None or text.startswith(prompt)


@pytest.mark.parametrize("kind", ["jpeg", "webp"])
async def test_quality_sets_the_file_size(kind: str) -> None:
    illustration = await drawn(width=128, height=128)
    sizes = [len((await files(illustration, Encoding(kind, quality)))[0]) for quality in (0, 1, 60, 100)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[2] < sizes[3]


async def test_svg_comes_from_the_vectorizer() -> None:
    svgs = await files(await drawn(n=2), Encoding("svg"))
    assert len(set(svgs)) == 2
    assert all(svg.startswith(b"<svg") and b"</svg>" in svg for svg in svgs)


async def test_preview_has_the_size_of_its_picture() -> None:
    pixels = (await drawn()).pictures[0].pixels[::4, ::4]
    image = opened(base64.b64encode(await encode_preview(pixels, (96, 64), Encoding("webp"))).decode())
    assert image.size == (96, 64)
    assert infotext(image) is None


GROUND_CASES = [
    ("png", "auto", (255, 255, 255)), ("png", "opaque", (255, 255, 255)), ("png", "#204060", (32, 64, 96)),
    ("png", "transparent", None), ("webp", "transparent", None), ("jpeg", "transparent", (255, 255, 255)),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "background", "ground"), GROUND_CASES)
async def test_background_of_pictures_with_alpha(
    kind: str, background: str, ground: tuple[int, int, int] | None
) -> None:
    illustration = await drawn()
    pixels = np.dstack([illustration.pictures[0].pixels, np.zeros((64, 64), np.uint8)])
    pixels[16:48, 16:48, 3] = 255
    transparent = dataclasses.replace(
        illustration, pictures=[dataclasses.replace(illustration.pictures[0], pixels=pixels)]
    )
    (data,) = await files(transparent, Encoding(kind, background=background))
    image = opened(base64.b64encode(data).decode())
    assert image.mode == ("RGBA" if ground is None else "RGB")
    corner = np.asarray(image)[0, 0]
    if ground is None:
        assert corner[3] == 0
    else:
        np.testing.assert_allclose(corner, ground, atol=3)


def test_svg_of_a_picture_with_alpha_has_no_ground() -> None:
    assert Encoding("svg").keeps_alpha
    assert not Encoding("svg", background="opaque").keeps_alpha


def test_unknown_background_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="#rrggbb"):
        Encoding(background="pink")
