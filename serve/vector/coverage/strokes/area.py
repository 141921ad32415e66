"""An area as edges, rays cast through it, and whether it is about as wide everywhere as a stroke is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serve.vector.coverage.curves import Segments
from serve.vector.coverage.kernel import kernel
from serve.vector.coverage.refine import flatten

Floats = npt.NDArray[np.float64]

MIN_WIDTH_PX, MIN_LENGTH = 1.5, 2.5
"""The least width, and the least length in widths."""
FLATTEN = 20
PROBES = 96
CONTROLS = 0.85
"""How much shorter than asked for an outline through control points may be, whose area is a little larger."""
WIDEST = 1.55
"""Most that the width is of twice the area over the perimeter: a stroke of the least length has 1.4."""
WIDTH_SHARE, WIDTH_PX = 0.06, 0.3
"""By how much widths along one stroke differ, as a share and in pixels."""
MIN_ALIKE = 0.6
"""Least share of the outline across which the area is as wide as the stroke; the rest are caps, corners, branches."""


@dataclass(frozen=True)
class Area:
    """``edges`` (m, 4): the outlines' edges, x and y of both ends, with the area to their right where y grows
    downwards; ``probes`` (PROBES, 2): points at equal distances along them; ``size``: in square pixels; ``length``: of
    all outlines, in pixels; ``width``: that of the stroke that it may be."""

    edges: Floats
    probes: Floats
    size: float
    length: float
    width: float

    @property
    def corners(self) -> tuple[Floats, Floats]:
        return self.edges[:, :2].min(axis=0), self.edges[:, :2].max(axis=0)


def area_of(outlines: Sequence[Segments], noise: float) -> Area | None:
    """The area within the first of ``outlines`` and outside the others, its holes; None if it is no stroke."""
    if not _may_be(outlines):
        return None
    polygons = [flatten(outline, FLATTEN) for outline in outlines]
    edges, area = [], 0.0
    for i, polygon in enumerate(polygons):
        signed = _signed_area(polygon)
        if (signed > 0) != (i == 0):  # the first with the area on one side, its holes with it on the same
            polygon = polygon[::-1]
        area += abs(signed) * (1 if i == 0 else -1)
        edges.append(np.concatenate([polygon, np.roll(polygon, -1, axis=0)], axis=1))
    joined = np.concatenate(edges)
    steps = np.hypot(joined[:, 2] - joined[:, 0], joined[:, 3] - joined[:, 1])
    joined, steps = joined[steps > 1e-9], steps[steps > 1e-9]
    length = float(steps.sum())
    if area <= 0 or length <= 0:
        return None
    thin = 2 * area / length
    if thin < 0.7 * MIN_WIDTH_PX or length < 2 * (MIN_LENGTH + 1) * thin:
        return None
    points, inwards = _probes(joined, steps, PROBES)
    across = cast(joined, points, inwards)
    likely = across[across < WIDEST * thin]
    if len(likely) < MIN_ALIKE * PROBES:
        return None
    width = float(np.median(likely))
    alike = abs(across - width) < allowed(width, noise)
    if width < MIN_WIDTH_PX or alike.mean() < MIN_ALIKE:
        return None
    return Area(joined, points, area, length, float(np.median(across[alike])))


def _may_be(outlines: Sequence[Segments]) -> bool:
    """Whether the outlines through the control points, which are longer, enclose little for their length."""
    area = length = 0.0
    for i, outline in enumerate(outlines):
        points = outline[:, 1:7].reshape(-1, 2)
        area += abs(_signed_area(points)) * (1 if i == 0 else -1)
        steps = np.roll(points, -1, axis=0) - points
        length += float(np.sqrt(np.square(steps).sum(axis=1)).sum())
    thin = 2 * max(0.0, area) / max(1e-9, length)
    return length > 2 * (MIN_LENGTH + 1) * thin * CONTROLS


def allowed(width: float, noise: float) -> float:
    """By how many pixels the width may differ along a stroke."""
    return WIDTH_SHARE * width + WIDTH_PX * noise


def _signed_area(polygon: Floats) -> float:
    x, y = (polygon - polygon[0]).T
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum()) / 2


def _probes(edges: Floats, steps: Floats, count: int) -> tuple[Floats, Floats]:
    """``count`` points at equal distances along the edges, and the unit vectors into the area there."""
    ends = steps.cumsum()
    at = (np.arange(count) + 0.5) * ends[-1] / count
    edge = np.searchsorted(ends, at)
    share = (1 - (ends[edge] - at) / steps[edge])[:, None]
    direction = (edges[edge, 2:] - edges[edge, :2]) / steps[edge][:, None]
    inwards = np.stack([-direction[:, 1], direction[:, 0]], axis=1)
    points = edges[edge, :2] + share * (edges[edge, 2:] - edges[edge, :2]) + 1e-4 * inwards
    return np.ascontiguousarray(points), np.ascontiguousarray(inwards)


@kernel
def cast(edges: Floats, points: Floats, directions: Floats) -> Floats:
    """How far from ``points`` (n, 2) the nearest edge lies in unit ``directions`` (n, 2); infinite with none."""
    n, m = points.shape[0], edges.shape[0]
    out = np.empty(n)
    for i in range(n):
        x, y, dx, dy = points[i, 0], points[i, 1], directions[i, 0], directions[i, 1]
        nearest = math.inf
        before = dx * (edges[0, 1] - y) - dy * (edges[0, 0] - x)
        for j in range(m):
            ax, ay = edges[j, 0] - x, edges[j, 1] - y
            bx, by = edges[j, 2] - x, edges[j, 3] - y
            before = dx * ay - dy * ax
            after = dx * by - dy * bx
            if (before > 0) == (after > 0):
                continue
            share = before / (before - after)
            t = dx * (ax + share * (bx - ax)) + dy * (ay + share * (by - ay))
            if 0 <= t < nearest:
                nearest = t
        out[i] = nearest
    return out


@kernel
def distances(points: Floats, starts: Floats, ends: Floats) -> Floats:
    """How far ``points`` (n, 2) lie from the nearest of the straight stretches from ``starts`` to ``ends`` (m, 2)."""
    out = np.empty(points.shape[0])
    for i in range(points.shape[0]):
        nearest = math.inf
        for j in range(starts.shape[0]):
            dx, dy = ends[j, 0] - starts[j, 0], ends[j, 1] - starts[j, 1]
            x, y = points[i, 0] - starts[j, 0], points[i, 1] - starts[j, 1]
            share = min(1.0, max(0.0, (x * dx + y * dy) / max(1e-12, dx * dx + dy * dy)))
            x, y = x - share * dx, y - share * dy
            nearest = min(nearest, x * x + y * y)
        out[i] = math.sqrt(nearest)
    return out
