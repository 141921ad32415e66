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
REGIONS = 400
UNEXPLAINED, UNEXPLAINED_SMALL = 0.076, 0.1
"""Least loss of SSIM (times three) that so many regions leave; under SURE_SIDE_PX the second."""


def is_pictorial(rgba: Rgba) -> bool:
    """Of straight RGBA (H, W, 4). What has transparency is taken for a drawing."""
    side = max(rgba.shape[:2])
    if side < LEAST_SIDE_PX or rgba[..., 3].min() < 255:
        return False
    small = cv2.bilateralFilter(_small(rgba), 5, 24, 2)
    gray = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    if np.mean(np.abs(cv2.filter2D(gray, cv2.CV_32F, SECOND_DIFFERENCE)) > BEND) < BENT_SHARE:
        return False
    tree = merge(*tree_inputs(small), 0.0)
    left = tree.error()[: gray.size - REGIONS].sum() if gray.size > REGIONS else 0.0
    return bool(left / gray.size > (UNEXPLAINED if side >= SURE_SIDE_PX else UNEXPLAINED_SMALL))


def _small(rgba: Rgba) -> Rgb:
    """The picture on white with a longer side of SIDE_PX, its area average."""
    rgb = composite(reduced(rgba, HALFWAY * SIDE_PX))
    height, width = rgb.shape[:2]
    scale = SIDE_PX / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small: Rgb = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    return small
