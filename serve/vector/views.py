"""Views of a picture: reduced as a whole, in tiles and in patches at its own scale.

Colours are always those on white, so that what lies under alpha 0 cannot matter.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from serve.vector.compare import composite

Rgba = npt.NDArray[np.uint8]
Gray = npt.NDArray[np.uint8]

THUMBNAIL_PX = 128
PATCH_PX = 64
_TILE_PX = 128
_TILES = 4


def reduced(rgba: Rgba, side: int) -> Rgba:
    """``rgba`` itself, or its area average with a longer side of ``side``."""
    height, width = rgba.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return rgba
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    seen = on_white(rgba)
    if scale < 0.25:  # a whole factor first: the general area average is slow
        factor = int(0.5 / scale)
        seen = cv2.resize(seen, (max(1, width // factor), max(1, height // factor)), interpolation=cv2.INTER_AREA)
    reduced: Rgba = cv2.resize(seen, size, interpolation=cv2.INTER_AREA)
    return reduced


def continued(picture: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.uint8]:
    """``picture`` (H, W) or (H, W, channels), padded with its edge pixels to at least ``side`` in both directions."""
    below, right = (max(0, side - length) for length in picture.shape[:2])
    if not (below or right):
        return picture
    return np.pad(picture, ((0, below), (0, right), *((0, 0),) * (picture.ndim - 2)), mode="edge")


def on_white(rgba: Rgba) -> Rgba:
    """Colours composited on white, alpha kept: safe to average."""
    alpha = cv2.extractChannel(rgba, 3)
    if alpha.min() == 255:
        return rgba
    seen: Rgba = cv2.merge([*cv2.split(composite(rgba)), alpha])
    return seen


def native_sample(rgba: Rgba) -> Gray:
    """Grey of up to 4 x 4 tiles of 128 px, spread evenly and aligned to JPEG's grid, as one mosaic."""
    height, width = rgba.shape[:2]
    rows, columns = _tile_starts(height), _tile_starts(width)
    strips = [
        np.hstack([composite(rgba[y : y + _TILE_PX, x : x + _TILE_PX]) for x in columns])
        for y in rows
    ]  # fmt: skip
    gray: Gray = cv2.cvtColor(np.vstack(strips), cv2.COLOR_RGB2GRAY)
    return gray


def _tile_starts(length: int) -> list[int]:
    if length <= _TILE_PX:
        return [0]
    count = min(_TILES, length // _TILE_PX)
    last = (length - _TILE_PX) // 8 * 8
    return [round(last * i / max(1, count - 1)) // 8 * 8 for i in range(count)]


def thumbnail(rgba: Rgba) -> npt.NDArray[np.uint8]:
    """Letterboxed to 128 x 128; smaller pictures are not enlarged, since their scale is informative."""
    small = on_white(reduced(rgba, THUMBNAIL_PX))
    frame = np.full((THUMBNAIL_PX, THUMBNAIL_PX, 4), (255, 255, 255, 0), np.uint8)
    top, left = (THUMBNAIL_PX - small.shape[0]) // 2, (THUMBNAIL_PX - small.shape[1]) // 2
    frame[top : top + small.shape[0], left : left + small.shape[1]] = small
    return frame


def detail(rgba: Rgba) -> npt.NDArray[np.uint8]:
    """A 2 x 2 mosaic of the 64 px cells with the most gradient energy, in reading order of their rank."""
    rgba = continued(rgba, PATCH_PX)
    rows, columns = _cells(rgba.shape[0]), _cells(rgba.shape[1])
    energy = _energy(rgba)
    cells = [(y, x) for y in rows for x in columns]
    scores = [int(energy[y : y + PATCH_PX, x : x + PATCH_PX].sum(dtype=np.int64)) for y, x in cells]
    best = sorted(range(len(cells)), key=lambda i: (-scores[i], i))[:4]
    best += best[:1] * (4 - len(best))
    patches = [on_white(rgba[y : y + PATCH_PX, x : x + PATCH_PX]) for y, x in (cells[i] for i in best)]
    return np.vstack([np.hstack(patches[:2]), np.hstack(patches[2:])])


def _cells(length: int) -> list[int]:
    """Starts of the fewest 64 px cells that cover ``length``, spread evenly."""
    count = math.ceil(length / PATCH_PX)
    return [round((length - PATCH_PX) * i / max(1, count - 1)) for i in range(count)]


def _energy(rgba: Rgba) -> npt.NDArray[np.uint8]:
    """Largest neighbour step of luma on white and of alpha, in 8-bit steps."""
    planes = [cv2.cvtColor(composite(rgba), cv2.COLOR_RGB2GRAY)]
    if rgba[..., 3].min() < 255:
        planes.append(cv2.extractChannel(rgba, 3))
    steps = [local_range(plane, 2) for plane in planes]
    return steps[0] if len(steps) == 1 else np.maximum(steps[0], steps[1])


def local_range(gray: Gray, size: int) -> Gray:
    kernel = np.ones((size, size), np.uint8)
    found: Gray = cv2.subtract(cv2.dilate(gray, kernel), cv2.erode(gray, kernel))
    return found
