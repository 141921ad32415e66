"""``python -m loadtests.benchmarks.style_transfer``: how long style transfer takes, through the Illustrator and its own
Triton, and with ``--sheet FILE`` what every style of the site makes of a picture."""

from __future__ import annotations

import argparse
import asyncio
import io
import statistics
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from loadtests.vectorize.table import markdown
from serve.api.restyling.styles import site_styles
from serve.ensembles.illustrator.illustration import IllustrateOptions
from serve.ensembles.illustrator.illustrator import Illustrator
from serve.ensembles.illustrator.picture_source import InputPicture, PictureSource
from serve.ensembles.restyler.restyle import Restyle, StyleUse
from serve.ensembles.restyler.style_files import StyleFile
from serve.settings import Settings
from serve.state.objects.names import name_of

SIDES_PX = (256, 512, 1024, 2048)
SHEET_PX = 256
Pixels = npt.NDArray[np.uint8]


def picture(pixels: Pixels) -> InputPicture:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    data = file.getvalue()
    return InputPicture(name_of(data, "image/png"), pixels.shape[1], pixels.shape[0], data)


def use_of(style: StyleFile) -> StyleUse:
    with Image.open(io.BytesIO(style.data)) as image:
        size = image.size
    return StyleUse(InputPicture(name_of(style.data, "image/webp"), *size, style.data), name=style.entry.name)


def drawn(side_px: int) -> Pixels:
    """A sky, a sun and hills."""
    ys, xs = np.mgrid[:side_px, :side_px].astype(np.float32) / side_px
    made = np.stack([0.9 - 0.5 * ys, 0.75 - 0.2 * ys, 0.6 + 0.3 * ys], -1)
    made[(xs - 0.7) ** 2 + (ys - 0.3) ** 2 < 0.015] = (1.0, 0.9, 0.5)
    for i, colour in enumerate(((0.35, 0.55, 0.45), (0.2, 0.4, 0.3), (0.1, 0.2, 0.18))):
        made[ys > 0.5 + 0.15 * i + 0.06 * np.sin(xs * (5 + 3 * i) + i)] = colour
    return np.asarray(made * 255, np.uint8)


def options(pixels: Pixels, use: StyleUse) -> IllustrateOptions:
    return IllustrateOptions("", seed=0, source=PictureSource(picture(pixels)), restyle=Restyle((use,)), draws=False)


async def measure(illustrator: Illustrator, styles: Mapping[str, StyleFile], rounds: int) -> None:
    uses = [use_of(style) for style in styles.values()]
    rows = []
    for side in SIDES_PX:
        pixels, times = drawn(side), []
        for i in range(rounds + 1):
            began = time.perf_counter()
            await illustrator.draw(options(pixels, uses[i % len(uses)]))
            times.append(time.perf_counter() - began)
        rows.append([f"{side} x {side}", f"{statistics.median(times[1:]):.2f}", f"{max(times[1:]):.2f}"])
    print(markdown(["pixels", "median s", "longest s"], rows))


async def sheet(illustrator: Illustrator, styles: Mapping[str, StyleFile], source: Path | None, path: Path) -> None:
    if source is None:
        pixels = drawn(SHEET_PX)
    else:
        with Image.open(source) as image:
            pixels = np.asarray(image.convert("RGB").resize((SHEET_PX, SHEET_PX)))
    cells = []
    for style in styles.values():
        with Image.open(io.BytesIO(style.data)) as image:
            original = np.asarray(image.convert("RGB").resize((SHEET_PX, SHEET_PX)))
        made = (await illustrator.draw(options(pixels, use_of(style)))).pictures[0].pixels
        cells.append(np.concatenate([original, made], axis=1))
    cells += [np.zeros_like(cells[0])] * (-len(cells) % 3)
    rows = [np.concatenate(cells[i : i + 3], axis=1) for i in range(0, len(cells), 3)]
    Image.fromarray(np.concatenate(rows)).save(path)
    print(f"wrote {path}")


async def run(arguments: argparse.Namespace) -> None:
    settings = Settings()
    illustrator = Illustrator(settings.illustrator)
    await illustrator.start()
    try:
        styles = site_styles(settings)
        if arguments.sheet is not None:
            await sheet(illustrator, styles, arguments.source, arguments.sheet)
        if arguments.rounds:
            await measure(illustrator, styles, arguments.rounds)
    finally:
        await illustrator.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sheet", type=Path)
    parser.add_argument("--source", type=Path, help="of the sheet: a picture")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
