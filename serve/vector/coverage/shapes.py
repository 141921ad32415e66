"""From contours to shapes: whole circles, ellipses and rectangles where a contour is one, curves elsewhere.

A whole shape may reach below later layers, but nothing else may show where it does. Areas without holes and rings are
shapes of their own; the rest of a layer is one shape.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from serve.vector.coverage.contours import Points
from serve.vector.coverage.curves import Segments, fit_contour
from serve.vector.coverage.grid import ORIGIN, PAD, Grid
from serve.vector.coverage.layers import Layer
from serve.vector.coverage.primitives import Primitive, find_primitive, flattened, is_within, stroke_width
from serve.vector.coverage.writer import Shape
from serve.vector.parameters import CoverageParameters

NOISY = 1.4
"""How much farther a whole shape may lie from its contour in a noisy picture than in a clean one."""

SMALL_PX, FULL_PX = 128, 256
"""Longer sides of a picture up to which bounds are the smallest, and from which they are full."""
SMALL_LINES, SMALL_WHOLES = 0.64, 0.7
"""What the bounds of straight stretches and of whole shapes are multiplied by in small pictures: a gentle curve of few
pixels bows by less than the bounds of larger ones."""


@dataclass
class _Outline:
    """One contour of a layer, and what it becomes."""

    contour: Points
    parent: int
    whole: Primitive | None = None
    dropped: bool = False


def draw_shapes(layers: list[Layer], grid: Grid, parameters: CoverageParameters, *, noisy: bool) -> list[Shape]:
    """The shapes of ``layers``, at most ``parameters.max_paths``; those of a layer follow each other."""
    spare = parameters.max_paths - len(layers)
    shapes: list[Shape] = []
    noise = NOISY if noisy else 1.0
    size = min(1.0, max(0.0, (max(grid.first.shape) - 2 * PAD - SMALL_PX) / (FULL_PX - SMALL_PX)))
    whole_noise, line_noise = (noise * (small + (1 - small) * size) for small in (SMALL_WHOLES, SMALL_LINES))
    for layer in layers:
        outlines = [_Outline(c, p) for c, p in zip(layer.contours, layer.parents, strict=True)]
        if parameters.shapes:
            _find_wholes(outlines, layer.paint, grid, parameters.tolerance, whole_noise)
        own = _shapes(layer.paint, outlines, spare, parameters, line_noise)
        spare -= max(0, len(own) - 1)
        shapes += own
    return shapes


def _find_wholes(outlines: list[_Outline], k: int, grid: Grid, tolerance: float, noise: float) -> None:
    """Set ``whole`` where a contour is one, and drop contours that lie in the hidden part of a whole shape."""
    scale = noise * max(1.0, tolerance / 0.4)
    for i, one in enumerate(outlines):
        if one.dropped or (whole := find_primitive(one.contour, scale)) is None:
            continue
        if (one.contour[:, 2] < 1).any() and not _is_hole(outlines, i):
            holes = [o.contour[:, :2] + ORIGIN for o in outlines if o.parent == i]
            if not grid.can_replace(one.contour[:, :2] + ORIGIN, flattened(whole) + ORIGIN, holes, k):
                continue
            for j, other in enumerate(outlines):
                if j != i and other.parent != i and other.whole is None and is_within(whole, other.contour):
                    other.dropped = not _is_inside_hole(outlines, j, i)
        one.whole = whole


def _is_hole(outlines: list[_Outline], i: int) -> bool:
    depth, at = 0, outlines[i].parent
    while at >= 0:
        depth, at = depth + 1, outlines[at].parent
    return depth % 2 == 1


def _is_inside_hole(outlines: list[_Outline], i: int, area: int) -> bool:
    """Whether outline ``i`` lies in a hole of ``area``."""
    at = outlines[i].parent
    while at >= 0:
        if at == area:
            return True
        at = outlines[at].parent
    return False


def _shapes(
    paint: int, outlines: list[_Outline], spare: int, parameters: CoverageParameters, noise: float
) -> list[Shape]:
    """The shapes of one layer: areas that are whole by themselves, while there are ``spare`` ones, and the rest."""
    alone: list[list[int]] = []
    for i, one in enumerate(outlines):
        if one.dropped or one.whole is None or _is_hole(outlines, i):
            continue
        holes = [j for j, other in enumerate(outlines) if other.parent == i and not other.dropped]
        inner = outlines[holes[0]].whole if len(holes) == 1 else None
        if not holes or (inner is not None and stroke_width(one.whole, inner) is not None):
            alone.append([i, *holes])
    taken = {i for members in alone for i in members}
    rest = [i for i, one in enumerate(outlines) if not one.dropped and i not in taken]
    if len(alone) - (not rest) > spare:
        most = max(0, spare)
        rest = sorted([*rest, *(i for members in alone[most:] for i in members)])
        alone = alone[:most]
    groups = [*([rest] if rest else []), *alone]
    shapes = [_shape(paint, [outlines[i] for i in group], parameters, noise) for group in groups]
    return [shape for shape in shapes if shape.outlines]


def _shape(paint: int, outlines: list[_Outline], parameters: CoverageParameters, noise: float) -> Shape:
    """Curves for every contour that is no whole; outlines that collapse to less than a triangle are dropped."""
    segments: list[Segments] = []
    wholes: list[Primitive | None] = []
    for one in outlines:
        if one.whole is not None:
            fitted = one.whole.to_segments()
        else:
            fitted = fit_contour(one.contour, parameters.tolerance, math.radians(parameters.corner_angle), noise)
            if not (len(fitted) > 2 or (len(fitted) and np.min(fitted[:, 0]) == 0)):
                continue
        segments.append(fitted)
        wholes.append(one.whole)
    return Shape(paint, segments, wholes)
