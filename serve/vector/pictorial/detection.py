"""Whether a picture is a photograph, a painting or a scan, and not a drawing of areas and gradients.

Measured on the picture reduced to 128 px, where noise is averaged away: a drawing is nearly explained by 400 regions,
and bends nowhere but at its edges. ``python -m loadtests.benchmarks.photographs --icons N`` counts icons that are taken
for photographs.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from serve.vector.compare import composite
from serve.vector.coverage.flat import SECOND_DIFFERENCE
from serve.vector.pictorial.merging import merge
from serve.vector.pictorial.weights import tree_inputs
from serve.vector.views import reduced

Rgba = npt.NDArray[np.uint8]
Rgb = npt.NDArray[np.uint8]

SIDE_PX = 128
HALFWAY = 8
"""Large pictures are first reduced to so many times SIDE_PX: a second step of an uneven factor near 1 or 2 would blur,
and what bends would depend on the picture's size."""
LEAST_SIDE_PX = 136
"""Of the longer side: in smaller pictures noise is not told from texture."""
SURE_SIDE_PX = 200
BEND, BENT_SHARE = 6, 0.15
"""Immerkaer's second difference, in 8-bit steps, from which a pixel bends, and the least share that does."""
CLEAR_UP_TO, OPAQUE_FROM = 8, 247
EDGE_SHARE = 0.06
"""Most pixels of alpha between those, over the opaque ones, of a photograph that is cut out."""
REGIONS = 400
UNEXPLAINED, UNEXPLAINED_SMALL = 0.076, 0.1
"""Least loss of SSIM (times three) that so many regions leave; under SURE_SIDE_PX the second."""


def is_pictorial(rgba: Rgba) -> bool:
    """Of straight RGBA (H, W, 4). Where it has transparency, what counts is its opaque part; what is translucent in
    more than an edge is taken for a drawing."""
    shown = _opaque_part(rgba)
    if shown is None or (side := max(shown.shape[:2])) < LEAST_SIDE_PX:
        return False
    small = cv2.bilateralFilter(_small(shown), 5, 24, 2)
    gray = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    inside = _inside(shown, gray.shape)
    bends = np.abs(cv2.filter2D(gray, cv2.CV_32F, SECOND_DIFFERENCE))[inside] > BEND
    if bends.size <= REGIONS or bends.mean() < BENT_SHARE:
        return False
    tree = merge(*tree_inputs(small), 0.0)
    left = tree.error()[: gray.size - REGIONS].sum()
    return bool(left / bends.size > (UNEXPLAINED if side >= SURE_SIDE_PX else UNEXPLAINED_SMALL))


def _opaque_part(rgba: Rgba) -> Rgba | None:
    """The box around what is opaque, if there is any, and little else is visible."""
    alpha = rgba[..., 3]
    if alpha.min() == 255:
        return rgba
    opaque = (alpha >= OPAQUE_FROM).astype(np.uint8)
    translucent = cv2.inRange(alpha, CLEAR_UP_TO + 1, OPAQUE_FROM - 1)
    if cv2.countNonZero(translucent) > EDGE_SHARE * cv2.countNonZero(opaque):
        return None
    x, y, width, height = cv2.boundingRect(opaque)
    return np.ascontiguousarray(rgba[y : y + height, x : x + width])


def _inside(rgba: Rgba, size: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Of the pixels of the picture reduced to ``size``, those away from what is clear."""
    alpha = rgba[..., 3]
    if alpha.min() == 255:
        return np.ones(size, np.bool_)
    opaque = cv2.resize((alpha >= OPAQUE_FROM).astype(np.float32), (size[1], size[0]), interpolation=cv2.INTER_AREA)
    inside = np.pad((opaque > 0.999).astype(np.uint8), 1, constant_values=1)
    found: npt.NDArray[np.bool_] = cv2.erode(inside, np.ones((3, 3), np.uint8))[1:-1, 1:-1] > 0
    return found


def _small(rgba: Rgba) -> Rgb:
    """The picture on white with a longer side of SIDE_PX, its area average."""
    rgb = composite(reduced(rgba, HALFWAY * SIDE_PX))
    height, width = rgb.shape[:2]
    scale = SIDE_PX / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small: Rgb = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    return small
