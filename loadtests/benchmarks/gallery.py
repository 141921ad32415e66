"""Contact sheets for the eye: the input, stock VTracer and ours side by side, drawn at 4x.

``python -m loadtests.benchmarks.gallery --icons noto:pizza,logos:firefox --condition jpeg70 --out sheet.png``

Columns come from ``--methods``; under each picture stand SSIM against the clean target, bytes and milliseconds.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from build_engines.data import Icon
from loadtests.vectorize.dataset import Picture, held_out, named, prepare
from loadtests.vectorize.methods import Method
from loadtests.vectorize.registry import choose
from serve.vector.compare import render

ZOOM = 4
MARGIN_PX = 12
CAPTION_PX = 40
INK, PAPER = (32, 32, 36), (255, 255, 255)
Crop = tuple[float, float, float, float]


def checkered(rgba: npt.NDArray[np.uint8]) -> Image.Image:
    """``rgba`` on a light chequerboard, so that transparency can be seen."""
    height, width = rgba.shape[:2]
    rows, columns = np.indices((height, width)) // 16
    board = np.where((rows + columns) % 2 == 0, 255, 232).astype(np.uint8)
    ground = Image.fromarray(np.dstack([board] * 3), "RGB").convert("RGBA")
    return Image.alpha_composite(ground, Image.fromarray(rgba, "RGBA"))


def cut(image: Image.Image, crop: Crop) -> Image.Image:
    """The part of ``image`` between fractions (left, top, right, bottom) of its sides."""
    left, top, right, bottom = crop
    return image.crop(
        (round(left * image.width), round(top * image.height), round(right * image.width), round(bottom * image.height))
    )


def enlarge(picture: Picture) -> Image.Image:
    """The input's own pixels, 4x, as hard squares."""
    shown = checkered(picture.rgba)
    return shown.resize((picture.width * ZOOM, picture.height * ZOOM), Image.Resampling.NEAREST)


def panel(shown: Image.Image, caption: str, detail: str) -> Image.Image:
    """``shown`` over two lines of text."""
    sheet = Image.new("RGB", (shown.width, shown.height + CAPTION_PX), PAPER)
    sheet.paste(shown.convert("RGB"))
    draw = ImageDraw.Draw(sheet)
    draw.text((2, shown.height + 4), caption, INK, ImageFont.load_default(15))
    draw.text((2, shown.height + 22), detail, (110, 110, 116), ImageFont.load_default(12))
    return sheet


def row(picture: Picture, methods: Sequence[Method], crop: Crop) -> Image.Image:
    """One icon: its input and every method's result."""
    label = f"{picture.width}x{picture.height}, {picture.condition}"
    panels = [panel(cut(enlarge(picture), crop), "input", label)]
    for method in methods:
        traced = method.trace(picture)
        similarity = picture.goal.fidelity(traced.svg).ssim
        drawn = checkered(render(traced.svg, picture.width * ZOOM, picture.height * ZOOM))
        detail = f"SSIM {similarity:.4f} · {len(traced.svg.encode()) / 1024:.1f} KB · {traced.ms:.0f} ms"
        panels.append(panel(cut(drawn, crop), method.title, detail))
    return beside(panels)


def beside(panels: Sequence[Image.Image]) -> Image.Image:
    width = sum(p.width for p in panels) + MARGIN_PX * (len(panels) + 1)
    sheet = Image.new("RGB", (width, max(p.height for p in panels) + MARGIN_PX), PAPER)
    at = MARGIN_PX
    for part in panels:
        sheet.paste(part, (at, MARGIN_PX))
        at += part.width + MARGIN_PX
    return sheet


def below(rows: Sequence[Image.Image]) -> Image.Image:
    sheet = Image.new("RGB", (max(r.width for r in rows), sum(r.height for r in rows)), PAPER)
    at = 0
    for part in rows:
        sheet.paste(part, (0, at))
        at += part.height
    return sheet


def own(path: Path) -> Icon:
    """A drawing of one's own as an icon: an SVG file with a ``viewBox``."""
    found = re.search(r'<svg[^>]*viewBox="([^"]*)"[^>]*>(.*)</svg>', path.read_text(), re.DOTALL)
    if found is None:
        raise ValueError(f"{path}: no <svg> with a viewBox")
    left, top, width, height = (float(v) for v in found[1].split())
    return Icon("own", path.stem, found[2], (left, top, width, height))


def sheet(pictures: Sequence[Picture], methods: Sequence[Method], crop: Crop = (0, 0, 1, 1)) -> Image.Image:
    """One row per picture, one column for the input and for each method."""
    for method in methods:
        if reason := method.missing():
            raise SystemExit(f"{method.name}: {reason}")
        method.open()
    try:
        return below([row(picture, methods, crop) for picture in pictures])
    finally:
        for method in methods:
            method.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--icons", default="", help="set:name, comma-separated; default the test split's first")
    parser.add_argument("--svg", type=Path, nargs="*", default=[], help="SVG files of your own instead of icons")
    parser.add_argument("--count", type=int, default=6, help="icons of the test split when none is named")
    parser.add_argument("--methods", default="vtracer_pp2,coverage", help="columns, comma-separated")
    parser.add_argument("--condition", default="clean", help="see loadtests.benchmarks.vectorize")
    parser.add_argument("--size", type=int, help="long side in pixels; default by the icon's name")
    parser.add_argument("--crop", default="0,0,1,1", help="left,top,right,bottom as fractions of the picture")
    parser.add_argument("--out", type=Path, required=True, help="PNG to write")
    arguments = parser.parse_args()
    try:
        icons = [own(path) for path in arguments.svg]
        icons += named(arguments.icons.split(",")) if arguments.icons else []
        icons = icons or held_out(arguments.count)
    except ValueError as error:
        parser.error(str(error))
    pictures = [prepare(icon, arguments.condition, arguments.size) for icon in icons]
    left, top, right, bottom = (float(v) for v in arguments.crop.split(","))
    picture = sheet(pictures, choose(arguments.methods.split(",")), (left, top, right, bottom))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    picture.save(arguments.out, optimize=True)
    print(f"{arguments.out}: {picture.width}x{picture.height}, {len(pictures)} icons")


if __name__ == "__main__":
    main()
