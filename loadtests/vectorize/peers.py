"""Tracers of others that are programs: potrace and AutoTrace.

Both are GPL. They are called as programs and are peers to compare with: nothing that ships uses them.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from loadtests.vectorize.dataset import Picture
from serve.vector.compare import composite

SEED = 20
PALETTE = 12
"""Colours that the picture is quantised to for potrace, which knows black and white only."""


def palette_layers(rgb: npt.NDArray[np.uint8], colors: int = PALETTE) -> list[tuple[str, npt.NDArray[np.bool_]]]:
    """(hex colour, mask) per colour of a k-means palette, the largest area first."""
    pixels = rgb.reshape(-1, 3).astype(np.float32)
    count = min(colors, len(np.unique(pixels, axis=0)))
    criteria = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 20, 0.5)
    cv2.setRNGSeed(SEED)
    start = np.empty((len(pixels), 1), np.int32)
    _, labels, centres = cv2.kmeans(pixels, count, start, criteria, 1, cv2.KMEANS_PP_CENTERS)
    names = [f"#{bytes(np.rint(c).clip(0, 255).astype(np.uint8)).hex()}" for c in centres]
    masks = [labels.reshape(rgb.shape[:2]) == k for k in range(count)]
    return sorted(zip(names, masks, strict=True), key=lambda layer: -int(layer[1].sum()))


def potrace_per_color(picture: Picture) -> str:
    """Potrace on each palette colour, layers stacked from the largest area up (each holds all smaller ones too)."""
    height, width = picture.rgba.shape[:2]
    remaining = picture.rgba[..., 3] >= 128
    parts = []
    with tempfile.TemporaryDirectory() as folder:
        for color, mask in palette_layers(composite(picture.rgba)):
            parts.append(_potrace(remaining, color, Path(folder) / "layer.pbm"))
            remaining &= ~mask
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
    return f"{head}{''.join(parts)}</svg>"


def _potrace(mask: npt.NDArray[np.bool_], color: str, bitmap: Path) -> str:
    height, width = mask.shape
    bitmap.write_bytes(b"P4\n%d %d\n" % (width, height) + np.packbits(mask, axis=1).tobytes())
    command = ["potrace", "--svg", "--flat", "--output", "-", "--color", color, str(bitmap)]
    svg = subprocess.run(command, check=True, capture_output=True, timeout=30).stdout.decode()
    return svg[svg.index("<g") : svg.rindex("</g>") + 4]


def absent_program(program: str, how: str) -> Callable[[], str | None]:
    """A check that names the reason when ``program`` is not installed."""
    return lambda: None if shutil.which(program) else f"no program `{program}`: {how}"


def autotrace(picture: Picture) -> str:
    with tempfile.TemporaryDirectory() as folder:
        source, drawing = Path(folder) / "in.ppm", Path(folder) / "out.svg"
        rgb = composite(picture.rgba)
        source.write_bytes(b"P6\n%d %d\n255\n" % (rgb.shape[1], rgb.shape[0]) + rgb.tobytes())
        command = ["autotrace", "-color-count", str(PALETTE), "-output-file", str(drawing), str(source)]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
        return drawing.read_text()
