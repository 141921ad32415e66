"""Dithering is told from noise: by it, drawings are judged as they are."""

from __future__ import annotations

import io
from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from serve.vector.features import degradation, extract
from serve.vector.restore import is_dithered

Rgb = npt.NDArray[np.uint8]
BAYER = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]]) / 16 - 15 / 32


def drawing(side: int) -> Rgb:
    rgb = np.full((side, side, 3), (240, 225, 200), np.uint8)
    cv2.circle(rgb, (side // 2, side // 2), side // 3, (190, 60, 90), -1, cv2.LINE_AA)
    cv2.rectangle(rgb, (side // 3, side // 3), (side // 2, side // 2), (70, 110, 170), -1)
    return rgb


def ordered(rgb: Rgb, levels: int = 6) -> Rgb:
    step, (height, width) = 255 / (levels - 1), rgb.shape[:2]
    threshold = np.tile(BAYER, (height // 4 + 1, width // 4 + 1))[:height, :width, None]
    return np.clip(np.round(rgb / step + threshold) * step, 0, 255).astype(np.uint8)


def diffused(rgb: Rgb) -> Rgb:
    """Floyd and Steinberg's, to the 216 colours of the web."""
    reduced = Image.fromarray(rgb).convert("P", palette=Image.Palette.WEB, dither=Image.Dither.FLOYDSTEINBERG)
    return np.asarray(reduced.convert("RGB"))


def jpeg(rgb: Rgb, quality: int = 60) -> Rgb:
    out = io.BytesIO()
    Image.fromarray(rgb).save(out, "JPEG", quality=quality)
    return np.asarray(Image.open(out))


def gray_jpeg(rgb: Rgb) -> Rgb:
    return cv2.cvtColor(cv2.cvtColor(jpeg(rgb), cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


def noise(rgb: Rgb) -> Rgb:
    return np.clip(rgb + np.random.default_rng(0).normal(0, 15, rgb.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("side", [64, 200, 350])
@pytest.mark.parametrize(
    ("degrade", "dithered"), [(ordered, True), (diffused, True), (jpeg, False), (gray_jpeg, False), (noise, False)]
)
def test_few_colours_far_apart_are_dithering(degrade: Callable[[Rgb], Rgb], dithered: bool, side: int) -> None:
    rgba = np.dstack([degrade(drawing(side)), np.full((side, side), 255, np.uint8)])
    assert degradation(extract(rgba)) == "noisy"
    assert is_dithered(rgba) is dithered


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1)])
def test_the_smallest_pictures(shape: tuple[int, int]) -> None:
    assert not is_dithered(np.full((*shape, 4), 255, np.uint8))
