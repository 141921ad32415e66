"""Thin lines and gaps: strokes so narrow that few of their pixels, or none, are covered by half.

A contour at one half loses them. Here the ridge of a thin line counts as inside, and the valley of a thin gap as
outside, whatever the coverage; `contours` then places the edges so that a line is as wide as the coverage across it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from serve.vector.coverage.kernel import kernel
from serve.vector.coverage.paints import Floats
from serve.vector.coverage.unmix import Labels

MIN_PEAK = 0.2
"""Least coverage of a pixel on the ridge of a line."""
MIN_WIDTH = 0.35
"""Least sum of coverage across a line, in pixels."""


@kernel
def value_at(field: Floats, stamp: npt.NDArray[np.int32], first: Labels, k: int, y: int, x: int) -> float:
    """Coverage at (y, x): from ``field`` at the rim of paint ``k``, one inside it, zero elsewhere."""
    height, width = field.shape
    if y < 0 or x < 0 or y >= height or x >= width:
        return 0.0
    if stamp[y, x] == k:
        value: float = field[y, x]
        return value
    return 1.0 if first[y, x] == k else 0.0


@kernel
def _is_ridge(
    field: Floats, stamp: npt.NDArray[np.int32], first: Labels, k: int, y: int, x: int, vertical: bool, gap: bool
) -> bool:
    """Whether a thin line (of what is uncovered, if ``gap``) runs through (y, x), seen across it."""
    dy, dx = (1, 0) if vertical else (0, 1)
    m, a, b = (
        value_at(field, stamp, first, k, y, x),
        value_at(field, stamp, first, k, y - dy, x - dx),
        value_at(field, stamp, first, k, y + dy, x + dx),
    )
    if gap:
        m, a, b = 1 - m, 1 - a, 1 - b
    if m < MIN_PEAK or a + m + b < MIN_WIDTH or m <= a or m < b or a >= 0.5 or b >= 0.5:
        return False
    for side in (-1, 1):
        yy, xx = y + side * dx, x + side * dy
        ahead = value_at(field, stamp, first, k, yy, xx)
        left = value_at(field, stamp, first, k, yy - dy, xx - dx)
        right = value_at(field, stamp, first, k, yy + dy, xx + dx)
        if gap:
            ahead, left, right = 1 - ahead, 1 - left, 1 - right
        if ahead >= 0.5 and (left >= 0.5 or right >= 0.5):
            return False
    return True


@kernel
def classify(
    k: int,
    field: Floats,
    stamp: npt.NDArray[np.int32],
    first: Labels,
    active: npt.NDArray[np.int32],
    inside: npt.NDArray[np.uint8],
) -> None:
    """Write 1 to ``inside`` for every pixel of ``active`` that is covered by half or on a thin line, not in a thin gap;
    else 0."""
    width = field.shape[1]
    for at in active:
        y, x = at // width, at % width
        value = field[y, x]
        covered = value >= 0.5
        inside[y, x] = covered
        if 0.0 < value < 1.0 and (
            _is_ridge(field, stamp, first, k, y, x, False, covered)
            or _is_ridge(field, stamp, first, k, y, x, True, covered)
        ):
            inside[y, x] = not covered
