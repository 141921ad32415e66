"""Contact sheets of the starter family's adapters, drawn by its engines: what each of them does to the same seeds."""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from build_engines.mini import pictures
from build_engines.mini.adapters.styles import STYLES
from build_engines.mini.drawing import sheet
from build_engines.mini.pictures import Pictures, Rgb
from serve.diffusion.controls import canny
from serve.ensembles.illustrator.adapters import ControlUse, LoraUse, ReferenceUse
from serve.ensembles.illustrator.illustration import IllustrateOptions
from serve.ensembles.illustrator.illustrator import Illustrator
from serve.ensembles.illustrator.picture_source import InputPicture
from serve.settings import IllustratorSettings

SHOWN = ("umbrella", "cat-face", "hamburger", "guitar", "house", "rocket")
FLAT = "fluent-emoji-flat"
SAME = ("umbrella, flat", "cat face, flat", "hamburger, flat", "guitar, flat", "house, flat", "rocket, flat")
OTHER = ("red heart, flat", "panda, flat", "green apple, flat", "blue fish, flat", "castle, flat", "carrot, flat")
PLAIN = ("cat face, flat", "bus, flat", "fish, flat", "apple, flat", "backpack, flat", "balloon, noto")
STYLED = ("red apple, flat", "umbrella, flat", "cat face, flat", "red heart, flat", "blue bus, noto", "panda, flat")
REFERENCE_SCALE = 1.6
Row = tuple[Sequence[Rgb], Sequence[str]]


def write_sheets(repository: Path, mini: Path, loras: Path, folder: Path) -> list[Path]:
    """Writes three WebP files to ``folder``. ``mini``: where the icons are rendered to; ``loras``: their files."""
    rows = asyncio.run(_rows(repository, pictures.load(mini), loras))
    made = []
    for name, lines in rows.items():
        drawn = [picture for row, _ in lines for picture in row]
        titles = [title for _, row in lines for title in row]
        made.append(folder / f"mini_{name}.webp")
        Image.fromarray(sheet(drawn, titles, len(SHOWN))).save(made[-1], quality=82, method=6)
    return made


async def _rows(repository: Path, icons: Pictures, loras: Path) -> dict[str, list[Row]]:
    async def fetch(name: str) -> bytes:
        return await asyncio.to_thread((loras / name).read_bytes)

    illustrator = Illustrator(IllustratorSettings(model_repository=repository, families=("mini",)), fetch=fetch)
    await illustrator.start()

    async def row(prompts: Sequence[str], more: Sequence[dict[str, Any]], say: str = "") -> Row:
        wanted = [
            IllustrateOptions(prompt, seed=seed, **each)
            for seed, (prompt, each) in enumerate(zip(prompts, more, strict=True))
        ]
        drawn = await asyncio.gather(*map(illustrator.draw, wanted))
        return [one.pictures[0].pixels[..., :3] for one in drawn], [f"{prompt}{say}" for prompt in prompts]

    nothing: list[dict[str, Any]] = [{}] * len(SHOWN)
    found = [icons.pixels[_index(icons, name)] for name in SHOWN]
    controls = [{"controls": (ControlUse("canny", _picture(one), "canny"),)} for one in found]
    whole = [{"references": (ReferenceUse(_picture(one), scale=REFERENCE_SCALE),)} for one in found]
    left = [{"references": (ReferenceUse(_picture(one), scale=REFERENCE_SCALE, mask=_left_half()),)} for one in found]
    styles = {name: LoraUse(name, 1.0, f"{name}.safetensors") for name in STYLES}
    try:
        return {
            "canny": [
                ([canny(one) for one in found], ["control picture"] * len(found)),
                await row(SAME, nothing),
                await row(SAME, controls),
                await row(OTHER, controls),
            ],
            "references": [
                (found, ["reference"] * len(found)),
                await row(PLAIN, nothing),
                await row(PLAIN, whole),
                await row(PLAIN, left, ", left"),
            ],
            "loras": [
                await row(STYLED, nothing),
                *[await row(STYLED, [{"loras": (use,)}] * len(SHOWN)) for use in styles.values()],
                await row(SAME, [{"loras": (styles["riso"],), **one} for one in controls]),
            ],
        }
    finally:
        await illustrator.close()


def _index(icons: Pictures, name: str) -> int:
    return next(i for i, entry in enumerate(icons.entries) if (entry.name, entry.set) == (name, FLAT))


def _picture(pixels: Rgb) -> InputPicture:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return InputPicture(hashlib.sha256(pixels.tobytes()).hexdigest(), pixels.shape[1], pixels.shape[0], file.getvalue())


def _left_half() -> InputPicture:
    mask = np.zeros((64, 64, 3), np.uint8)
    mask[:, :32] = 255
    return _picture(mask)
