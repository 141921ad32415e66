"""Preprocessors of control pictures: edges, lines, coarse colours and a blurred tile of any picture, by OpenCV.

Each takes and gives pixels (H, W, 3) of bytes. Edges and lines are white on black, as ControlNets were trained with.
OpenCV is loaded by the first call: gateways have the list, and only ``/controlnet/detect`` runs one there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from serve.diffusion.canvas import Bytes

NONE = "none"
CANNY_LOW, CANNY_HIGH = 100, 200
_LINE_SIGMA, _LINE_THRESHOLD = 6.0, 8
"""Of the lineart preprocessor of ControlNet's authors (``standard``)."""
_COLOUR_CELL_PX = 64
_TILE_FACTOR = 4


def canny(pixels: Bytes, low: int = CANNY_LOW, high: int = CANNY_HIGH) -> Bytes:
    import cv2

    return np.repeat(cv2.Canny(np.ascontiguousarray(pixels), low, high)[..., None], 3, axis=2)


def lineart(pixels: Bytes) -> Bytes:
    """What is darker than its surroundings: strokes, and the dark sides of edges."""
    import cv2

    smooth = cv2.GaussianBlur(pixels.astype(np.float32), (0, 0), _LINE_SIGMA)
    darker = np.min(smooth - pixels, axis=2).clip(0, 255)
    strokes = darker[darker > _LINE_THRESHOLD]
    strength = max(16.0, float(np.median(strokes))) if strokes.size else 16.0
    grey = (darker / strength * 127).clip(0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def tile(pixels: Bytes) -> Bytes:
    """The picture without its finest details, which the drawing adds again."""
    import cv2

    height, width = pixels.shape[:2]
    size = max(1, width // _TILE_FACTOR), max(1, height // _TILE_FACTOR)
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC))


def colour(pixels: Bytes) -> Bytes:
    """Flat cells of the mean colour."""
    import cv2

    height, width = pixels.shape[:2]
    size = max(1, width // _COLOUR_CELL_PX), max(1, height // _COLOUR_CELL_PX)
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_CUBIC)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST))


def inverted(pixels: Bytes) -> Bytes:
    """Of dark lines on white paper."""
    return np.invert(pixels)


PREPROCESSORS: Mapping[str, Callable[[Bytes], Bytes]] = {
    NONE: lambda pixels: pixels,
    "canny": canny,
    "lineart": lineart,
    "tile": tile,
    "colour": colour,
    "invert": inverted,
}
"""By the names that requests use; ``none`` takes the picture as it is."""


def preprocessed(pixels: Bytes, name: str, low: int | None = None, high: int | None = None) -> Bytes:
    """``low`` and ``high`` are thresholds of ``canny``."""
    if name == "canny":
        run = partial(canny, low=CANNY_LOW if low is None else low, high=CANNY_HIGH if high is None else high)
        return run(pixels)
    return PREPROCESSORS[name](pixels)
