"""The photographs and scans that scikit-image's wheel carries, from PyPI, at any size."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image

from loadtests.vectorize.measure import ROOT

Rgba = npt.NDArray[np.uint8]
PACKAGE = "scikit-image==0.26.0"
FOLDER = ROOT / "var" / "photographs"
NAMES = (
    "astronaut.png", "chelsea.png", "coffee.png", "camera.png", "rocket.jpg", "motorcycle_left.png", "retina.jpg",
    "coins.png", "ihc.png", "hubble_deep_field.jpg", "page.png", "gravel.png",
)  # fmt: skip
WIDEST_DOWNLOAD_S = 600


@cache
def _wheel() -> zipfile.ZipFile:
    """Downloaded with pip, without what it depends on, when it is not there yet."""
    if not list(FOLDER.glob("scikit_image-*.whl")):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
        subprocess.run([*command, "--dest", str(FOLDER), PACKAGE], check=True, timeout=WIDEST_DOWNLOAD_S)
    return zipfile.ZipFile(next(FOLDER.glob("scikit_image-*.whl")))


def photograph(name: str, side_px: int) -> Rgba:
    """Shape (H, W, 4), opaque, the longer side scaled to ``side_px``: area average down, Lanczos up."""
    with _wheel().open(f"skimage/data/{name}") as file:
        picture = Image.open(io.BytesIO(file.read())).convert("RGB")
    scale = side_px / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    kind = Image.Resampling.LANCZOS if scale > 1 else Image.Resampling.BOX
    return np.array(picture.resize(size, kind).convert("RGBA"))
