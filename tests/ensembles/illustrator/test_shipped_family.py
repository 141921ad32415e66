"""The families that ship: committed files equal built ones, and pictures match their prompts (D-042, B-072)."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from serve.diffusion.family import families_in, load, manifest_of
from serve.diffusion.lora import parse_lora
from serve.ensembles.illustrator.adapters import ControlUse, LoraUse, ReferenceUse
from serve.ensembles.illustrator.illustration import IllustrateOptions, Pixels
from serve.ensembles.illustrator.illustrator import Illustrator
from serve.ensembles.illustrator.picture_source import InputPicture
from serve.settings import IllustratorSettings

ROOT = Path(__file__).parents[3]
REPOSITORY = ROOT / "model_repository"
LARGEST_BYTES = 45 * 10**6
"""Of all engines of a family."""
LICENSES = {"Apache-2.0", "MIT", "CC-BY-4.0"}
SHOWN = ("sunflower", 7)
"""What `make run` draws, and README shows."""
HEARTS = {"red": 0, "green": 1, "blue": 2}
"""The channel of each colour."""


def manifests(family: str) -> dict[str, Any]:
    found = {path.parent.name: json.loads(path.read_text()) for path in REPOSITORY.glob(f"{family}_*/manifest.json")}
    assert {"unet", "text_encoder", "vae_decoder", "vae_encoder"} <= {name.removeprefix(f"{family}_") for name in found}
    return found


def draw(*requests: tuple[str, int], model: str | None = None) -> list[Pixels]:
    async def all_of_them() -> list[Pixels]:
        illustrator = Illustrator(IllustratorSettings(model_repository=REPOSITORY))
        await illustrator.start()
        try:
            drawn = [illustrator.draw(IllustrateOptions(prompt, seed=seed, model=model)) for prompt, seed in requests]
            return [made.pictures[0].pixels for made in await asyncio.gather(*drawn)]
        finally:
            await illustrator.close()

    return asyncio.run(all_of_them())


def test_pictogram_is_the_default_of_the_families_that_ship() -> None:
    assert families_in(REPOSITORY) == ("pictogram", "mini")
    families = {name: load(manifest_of(REPOSITORY, name)) for name in families_in(REPOSITORY)}
    assert {name: (one.defaults.size, one.alpha) for name, one in families.items()} == {
        "pictogram": ((128, 128), True),
        "mini": ((64, 64), False),
    }


def test_a_sites_own_families_come_before_those_that_ship(tmp_path: Path) -> None:
    for name in ("mini", "pictogram", "sd15", "anime"):
        manifest_of(tmp_path, name).parent.mkdir()
        manifest_of(tmp_path, name).write_text("{}")
    assert families_in(tmp_path) == ("anime", "sd15", "pictogram", "mini")


@pytest.mark.parametrize("family", ["pictogram", "mini"])
def test_manifests_match_the_files_and_state_their_sources(family: str) -> None:
    for name, manifest in manifests(family).items():
        for file, facts in manifest["files"].items():
            assert hashlib.sha256((REPOSITORY / name / "1" / file).read_bytes()).hexdigest() == facts["sha256"]
        data = manifest["origin"]["data"]
        assert {s["license"] for s in data.get("sets", data.get("sources"))} <= LICENSES
        assert manifest["origin"]["command"].startswith("python -m build_engines train mini")
        assert not Path(manifest["source"]).is_absolute()
    assert sum(manifest["bytes"] for manifest in manifests(family).values()) < LARGEST_BYTES


@pytest.mark.triton
def test_pictures_match_the_readme_and_their_prompts() -> None:
    prompts = [(f"{colour} heart, flat", 3) for colour in HEARTS]
    shown, *hearts = draw(SHOWN, *prompts)
    committed = np.asarray(Image.open(ROOT / "docs" / "media" / "drawing.png"), np.float64)
    assert np.mean((over_white(shown) - over_white(committed)) ** 2) < 65  # 30 dB: processors differ in rounding
    for heart, channel in zip([*hearts, *draw(*prompts, model="mini")], [*HEARTS.values()] * 2, strict=True):
        white = over_white(heart)
        visible = white.min(axis=2) < 128
        ink = white[visible].mean(axis=0)
        assert visible.mean() > 0.15
        assert ink.argmax() == channel
        assert ink[channel] > 1.3 * np.delete(ink, channel).max()
    assert all(heart[0, 0, 3] < 16 < heart[64, 64, 3] for heart in hearts)


def over_white(pixels: Any) -> Any:
    alpha = pixels[..., 3:] / 255 if pixels.shape[2] == 4 else 1.0
    return pixels[..., :3] * alpha + 255 * (1 - alpha)


WEIGHTS = ROOT / "build_engines" / "mini" / "weights"


def test_adapters_state_their_sources() -> None:
    adapters = json.loads((WEIGHTS / "adapters.json").read_text())
    assert {one["name"] for one in adapters} == {"canny", "ip", "blueprint", "riso"}
    for one in adapters:
        assert {each["license"] for each in one["data"]} <= {"Apache-2.0", "MIT"}
        if one["file"].endswith(".safetensors"):
            assert hashlib.sha256((WEIGHTS / one["file"]).read_bytes()).hexdigest() == one["sha256"]
    family = load(manifest_of(REPOSITORY, "mini"))
    assert list(family.controls) == ["canny"]
    assert family.image_prompt is not None
    for name in ("blueprint", "riso"):
        parse_lora((WEIGHTS / "loras" / f"{name}.safetensors").read_bytes(), family.adapters, "mini")


def png(pixels: Pixels) -> InputPicture:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return InputPicture(hashlib.sha256(file.getvalue()).hexdigest(), 64, 64, file.getvalue())


@pytest.mark.triton
def test_adapters_of_the_family_do_what_they_are_for() -> None:
    """A LoRA gives the ground its colour, edges give the shape, a reference its colour where its mask is white."""
    rows, columns = np.mgrid[:64, :64]
    inside = (rows > 8) & (rows < 56) & (np.abs(columns - 32) < (rows - 8) / 2)  # a triangle
    triangle = np.where(inside[..., None], np.uint8(60), np.uint8(255)).repeat(3, 2)
    orange = np.full((64, 64, 3), 255, np.uint8)
    orange[10:54, 10:54] = (250, 150, 20)
    left = np.zeros((64, 64, 3), np.uint8)
    left[:, :32] = 255
    lora = LoraUse("blueprint", 1.0, "blueprint.safetensors")
    wanted: list[dict[str, Any]] = [
        {"model": "mini"},  # which the others are drawn by without a word
        {"loras": (lora,)},
        {"controls": (ControlUse("canny", png(triangle), "canny", scale=1.2),)},
        {"references": (ReferenceUse(png(orange), scale=1.6),)},
        {"references": (ReferenceUse(png(orange), scale=1.6, mask=png(left)),)},
    ]

    async def fetch(name: str) -> bytes:
        return await asyncio.to_thread((WEIGHTS / "loras" / name).read_bytes)

    async def all_of_them() -> list[Pixels]:
        illustrator = Illustrator(IllustratorSettings(model_repository=REPOSITORY), fetch=fetch)
        await illustrator.start()
        try:
            options = [IllustrateOptions("green apple, flat", seed=3, **each) for each in wanted]
            return [made.pictures[0].pixels for made in await asyncio.gather(*map(illustrator.draw, options))]
        finally:
            await illustrator.close()

    plain, blue, shaped, coloured, half = (one.astype(int) for one in asyncio.run(all_of_them()))
    red, _, ink = blue.mean(axis=(0, 1))
    assert ink > red + 60, blue[0, 0]
    assert plain[0, 0].min() > 230
    overlaps = [
        np.sum(drawn & inside) / np.sum(drawn | inside) for drawn in (one.min(2) < 200 for one in (plain, shaped))
    ]
    change = [np.abs(one - plain).mean(axis=(0, 2)) for one in (coloured, half)]
    assert overlaps[1] > overlaps[0] + 0.08, overlaps
    assert change[0].mean() > 3, change
    assert change[1][:32].mean() > 1.5 * change[1][32:].mean(), change
