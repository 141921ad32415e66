"""Which outlines of a drawing's shapes are strokes: each area with its holes, where a stroke is shorter."""

from __future__ import annotations

from collections.abc import Container, Sequence

import cv2
import numpy as np
import numpy.typing as npt

from serve.vector.coverage.curves import Segments
from serve.vector.coverage.ordering.repeats import Found, Place
from serve.vector.coverage.refine import flatten
from serve.vector.coverage.strokes.fitting import find_stroke
from serve.vector.coverage.writer import Shape

MOST_TRIED, MOST_TRIED_AT_ONCE = 12, 2
"""Areas of a drawing that are looked at closely: refined, and traced at once or for a trial."""
MIN_STRAIGHT = 0.65
"""Least share of lines in the outline of an area that is looked at in a drawing that is not refined: a trial is to be
fast."""
MOST_OUTLINES, MOST_HOLES = 400, 40
Floats = npt.NDArray[np.float64]


def find_strokes(
    shapes: Sequence[Shape], taken: Container[Place], decimals: int, spare: int, *, noisy: bool, refined: bool
) -> dict[Place, Found]:
    """By the place of an area's outline, the strokes among the areas of ``shapes`` that are shorter as such and not
    ``taken``; of compound shapes up to ``spare``. ``refined``: whether the shapes are."""
    found: dict[Place, Found] = {}
    tried, most = 0, MOST_TRIED if refined else MOST_TRIED_AT_ONCE
    for i, shape in enumerate(shapes):
        if len(shape.outlines) > MOST_OUTLINES:
            continue
        for j, holes in _areas(shape):
            members = (j, *holes)
            if tried == most or len(holes) > MOST_HOLES:
                break
            if shape.wholes[j] is not None or any((i, k) in taken for k in members):
                continue
            rest = len(members) < len(shape.outlines)
            if rest and spare <= 0:
                continue
            outlines = [shape.outlines[k] for k in members]
            if not refined and (holes or _straight_share(outlines[0]) < MIN_STRAIGHT):
                continue
            stroke, looked_at = find_stroke(outlines, decimals, noisy=noisy)
            tried += looked_at
            if stroke is not None:
                found[i, j] = Found(stroke, holes)
                spare -= rest
    return found


def _straight_share(outline: Segments) -> float:
    points = outline[:, 1:].reshape(-1, 4, 2)
    lengths = np.sqrt(np.square(np.diff(points, axis=1)).sum(axis=2)).sum(axis=1)
    return float(lengths[outline[:, 0] == 1].sum() / max(1e-9, float(lengths.sum())))


def _areas(shape: Shape) -> list[tuple[int, tuple[int, ...]]]:
    """The outlines of ``shape`` that bound an area from outside, each with its holes."""
    if len(shape.outlines) == 1:
        return [(0, ())]
    polygons = [flatten(outline, 10) for outline in shape.outlines]
    boxes = np.array([[*polygon.min(axis=0), *polygon.max(axis=0)] for polygon in polygons])
    within: list[list[int]] = [[] for _ in polygons]  # by outline, those that it lies in
    for j, (box, polygon) in enumerate(zip(boxes, polygons, strict=True)):
        inside = (boxes[:, :2] >= box[:2]).all(axis=1) & (boxes[:, 2:] <= box[2:]).all(axis=1)
        for k in np.flatnonzero(inside):
            x, y = polygons[k][0]
            if k != j and cv2.pointPolygonTest(polygon.astype(np.float32), (float(x), float(y)), False) >= 0:
                within[k].append(j)
    outer = [j for j, around in enumerate(within) if len(around) % 2 == 0]
    return [
        (j, tuple(k for k, around in enumerate(within) if j in around and len(around) == len(within[j]) + 1))
        for j in outer
    ]
