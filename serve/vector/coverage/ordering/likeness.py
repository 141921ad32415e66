"""No order against the likeness: a shape that the picture contradicts stays as it was found."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from serve.vector.compare import render
from serve.vector.coverage.curves import Segments
from serve.vector.coverage.flat import FloatImage, premultiply
from serve.vector.coverage.paints import PaintTable
from serve.vector.coverage.refine import flatten
from serve.vector.coverage.writer import Shape, to_svg

ALLOWED = 6.0
"""Squared error in 8-bit steps that a change may add for each pixel of the outline: what an edge of full contrast adds
that lies 0.01 px off, or one of little contrast at 0.05 px."""
STROKE_OFF_PX = 0.08
"""As far as this the sides of a stroke may lie off that takes the place of an outline, on average."""
LEAST_CONTRAST = 400.0
REACH_PX = 2
Floats = npt.NDArray[np.float32]


def as_like(
    before: Sequence[Shape], after: Sequence[Shape], paints: PaintTable, target: FloatImage, decimals: int
) -> list[Shape]:
    """``after`` with those of ``before`` in place of shapes that are less like ``target`` (H, W, 4), premultiplied.

    Shape i of one is shape i of the other.
    """
    boxes = {
        i: _box(one, other, target.shape)
        for i, (one, other) in enumerate(zip(before, after, strict=True))
        if one is not other
    }
    if not boxes:
        return list(after)
    sides = np.array([box[:4] for box in boxes.values()])
    left, top = map(int, sides[:, :2].min(axis=0))
    right, bottom = map(int, sides[:, 2:].max(axis=0))
    if left >= right or top >= bottom:
        return list(after)
    wanted = target[top:bottom, left:right]
    errors = [_error(shapes, paints, wanted, (left, top), target.shape, decimals) for shapes in (before, after)]
    table = cv2.integral(errors[1] - errors[0], sdepth=cv2.CV_64F)
    result = list(after)
    for (i, (*_, length)), side in zip(boxes.items(), sides, strict=True):
        x0, y0, x1, y1 = side - (left, top, left, top)
        allowed = ALLOWED
        if after[i].stroke is not None:
            contrast = _contrast(paints.colors[after[i].paint, 0], wanted[y0:y1, x0:x1])
            allowed = max(allowed, STROKE_OFF_PX**2 * contrast)
        if table[y1, x1] - table[y0, x1] - table[y1, x0] + table[y0, x0] > allowed * length:
            result[i] = before[i]
    return result


def _contrast(colour: Floats, around: FloatImage) -> float:
    """Squared distance of ``colour`` (4,) to what lies beside it in the picture, in 8-bit steps."""
    apart = np.square(around - colour).sum(axis=2)
    other = apart[apart > LEAST_CONTRAST]
    return float(np.median(other)) if len(other) else 0.0


def _error(
    shapes: Sequence[Shape],
    paints: PaintTable,
    wanted: FloatImage,
    corner: tuple[int, int],
    size: tuple[int, ...],
    decimals: int,
) -> Floats:
    """Squared difference to ``wanted`` (h, w, 4), the part of the picture at ``corner``, summed over the channels."""
    (height, width), whole = wanted.shape[:2], (size[1], size[0])
    low = np.array(corner) - REACH_PX
    high = low + 2 * REACH_PX + (width, height)
    shown = [shape for shape in shapes if any(_meets(outline, low, high) for outline in shape.outlines)]
    svg = to_svg(shown, paints, whole, whole, decimals)
    svg = svg.replace(f'viewBox="0 0 {whole[0]} {whole[1]}"', f'viewBox="{corner[0]} {corner[1]} {width} {height}"', 1)
    return np.asarray(np.square(premultiply(render(svg, width, height)) - wanted).sum(axis=2), np.float32)


def _meets(outline: Segments, low: npt.NDArray[np.int64], high: npt.NDArray[np.int64]) -> bool:
    """Whether the box of the control points of ``outline`` meets that from ``low`` to ``high``, both (x, y)."""
    x, y = outline[:, 1::2], outline[:, 2::2]
    return bool(x.min() < high[0] and x.max() > low[0] and y.min() < high[1] and y.max() > low[1])


def _box(one: Shape, other: Shape, size: tuple[int, ...]) -> tuple[int, int, int, int, float]:
    """Left, top, right and bottom pixel around the outlines that differ, and the length of these."""
    pairs = list(zip(one.outlines, other.outlines, strict=True))
    redrawn = [pair for pair in pairs if other.stroke is not None or not np.array_equal(*pair)]
    polygons = [flatten(part, 10) for pair in redrawn for part in pair]
    if not polygons:
        return 0, 0, 0, 0, 0.0
    points = np.concatenate(polygons)
    left, top = np.floor(points.min(axis=0)).astype(int) - REACH_PX
    right, bottom = np.ceil(points.max(axis=0)).astype(int) + REACH_PX
    length = sum(cv2.arcLength(polygon.astype(np.float32), True) for polygon in polygons) / 2
    height, width = size[:2]
    return (
        min(max(0, int(left)), width), min(max(0, int(top)), height),
        min(max(0, int(right)), width), min(max(0, int(bottom)), height), length,
    )  # fmt: skip
