"""Layers: which paint lies on which, how far each reaches below the next, and the contours of what it covers.

Paints are stacked from the largest area up. A layer's coverage is its own share plus, within ``TRAP`` pixels of it,
what later opaque layers cover, so that no gap shows between neighbours (trapping, in print). Transparent paint is
never drawn, and translucent paints come first and reach below nothing translucent.

All work happens on the padded grid of `grid`.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from serve.vector.coverage.contours import SEGMENTS, Points, classify, march, thin, worth_drawing
from serve.vector.coverage.grid import ORIGIN, Grid, padded, rigidity
from serve.vector.coverage.kernel import kernel
from serve.vector.coverage.paints import Floats, PaintTable
from serve.vector.coverage.unmix import Labels, Shares

TRAP = 4
"""Reach below later layers: full up to 2 px, half at 3 px, none at 4 px."""
_AWAY = np.arange(-TRAP, TRAP + 1)
REACH = np.clip(2.0 - 0.5 * np.hypot(_AWAY[:, None], _AWAY), 0.0, 1.0).astype(np.float32)
INVISIBLE_ALPHA = 8.0
OPAQUE_ALPHA = 250.0


@dataclass(frozen=True)
class Layer:
    """One paint and the closed contours that bound what it covers (even-odd).

    A contour is (n, 3): x and y in pixels, and the rigidity with which a curve has to follow it there, 1 where it
    shows and less where later layers hide it. ``parents``: by contour, the index of the one around it, or -1; a hole's
    is an area, and an island's a hole.
    """

    paint: int
    contours: list[Points]
    parents: list[int]


@kernel
def _areas(first: Labels, second: Labels, share: Floats, k: int) -> npt.NDArray[np.float64]:
    """Covered area of each of ``k`` paints, in pixels."""
    area = np.zeros(k)
    height, width = first.shape
    for y in range(height):
        for x in range(width):
            area[first[y, x]] += share[y, x]
            if second[y, x] >= 0:
                area[second[y, x]] += 1 - share[y, x]
    return area


@kernel
def _cover(
    k: int,
    first: Labels,
    second: Labels,
    share: Floats,
    rank: npt.NDArray[np.int32],
    opaque: npt.NDArray[np.uint8],
    own: npt.NDArray[np.int32],
    stamp: npt.NDArray[np.int32],
    field: Floats,
    active: npt.NDArray[np.int32],
) -> int:
    """Write the coverage of paint ``k`` to ``field`` on the pixels it reaches, list them in ``active``; how many."""
    height, width = first.shape
    n = 0
    for at in own:
        y, x = at // width, at % width
        inside = share[y, x] if first[y, x] == k else 1 - share[y, x]
        if stamp[y, x] != k:
            stamp[y, x] = k
            field[y, x] = inside
            active[n] = at
            n += 1
        else:
            field[y, x] = max(field[y, x], inside)
        if inside < 0.02:
            continue
        for dy in range(-TRAP, TRAP + 1):
            for dx in range(-TRAP, TRAP + 1):
                yy, xx = y + dy, x + dx
                if yy < 0 or xx < 0 or yy >= height or xx >= width:
                    continue
                if stamp[yy, xx] != k:
                    stamp[yy, xx] = k
                    field[yy, xx] = 0.0
                    active[n] = yy * width + xx
                    n += 1
                field[yy, xx] = max(field[yy, xx], inside * REACH[TRAP + dy, TRAP + dx])
    for i in range(n):
        y, x = active[i] // width, active[i] % width
        mine = later = 0.0
        a, b = first[y, x], second[y, x]
        if a == k:
            mine += share[y, x]
        elif a >= 0 and rank[a] > rank[k] and opaque[a]:
            later += share[y, x]
        if b == k:
            mine += 1 - share[y, x]
        elif b >= 0 and rank[b] > rank[k] and opaque[b]:
            later += 1 - share[y, x]
        field[y, x] = min(1.0, mine + later * field[y, x])
    return n


def stack(shares: Shares, paints: PaintTable, min_area: float, max_contours: int) -> tuple[list[Layer], Grid]:
    """The layers from the bottom up, of at most ``max_contours`` contours each, and the grid that tells what shows.

    Contours of less than ``min_area`` square pixels are dropped.
    """
    area = _areas(shares.first, shares.second, shares.share, len(paints))
    visible = paints.peak_alpha() >= INVISIBLE_ALPHA
    opaque = paints.alpha() >= OPAQUE_ALPHA
    order = sorted(range(len(paints)), key=lambda k: (visible[k], opaque[k], -area[k]))
    grid = padded(shares, order, opaque)
    shape = grid.first.shape
    stamp, field = np.full(shape, -1, np.int32), np.zeros(shape, np.float32)
    inside = np.zeros(shape, np.uint8)
    active, follow = np.empty(grid.first.size, np.int32), np.full(2 * grid.first.size, -1, np.int32)
    min_area = min(min_area, 0.5 * shares.first.size)
    layers = []
    for k in order:
        if not visible[k] or area[k] < min_area:
            continue
        own = grid.own[grid.start[k] : grid.start[k + 1]]
        n = _cover(k, grid.first, grid.second, grid.share, grid.rank, grid.opaque, own, stamp, field, active)
        classify(k, field, stamp, grid.first, active[:n], inside)
        points, start = march(k, field, stamp, grid.first, inside, active[:n], SEGMENTS, follow)
        kept, areas = worth_drawing(points, start, min_area, max_contours)
        contours, parents = _without_hidden([points[start[i] : start[i + 1]] for i in kept], areas, k, grid)
        if contours:
            outlines = [
                rigidity(thin(c), k, grid.first, grid.second, grid.share, grid.rank, grid.opaque)
                - (ORIGIN, ORIGIN, 0.0)
                for c in contours
            ]
            layers.append(Layer(k, outlines, parents))
    return layers, grid


def _without_hidden(
    contours: list[Points], areas: npt.NDArray[np.float64], k: int, grid: Grid
) -> tuple[list[Points], list[int]]:
    """The contours of paint ``k`` and their parents, without holes that later layers cover: such a hole goes with the
    islands in it, and the islands' own holes become holes of the area around."""
    parents = _parents(contours, areas)
    dropped = [False] * len(contours)
    for i in np.argsort(-np.abs(areas)):  # from the outside in
        if areas[i] < 0:
            continue
        islands = [j for j, parent in enumerate(parents) if parent == i]
        if not grid.is_hidden([contours[i], *(contours[j] for j in islands)], k):
            continue
        dropped[i] = True
        for island in islands:
            dropped[island] = True
            parents = [parents[i] if parent == island else parent for parent in parents]
    index = np.cumsum([not gone for gone in dropped]) - 1
    kept = [i for i, gone in enumerate(dropped) if not gone]
    return [contours[i] for i in kept], [int(index[parents[i]]) if parents[i] >= 0 else -1 for i in kept]


def _parents(contours: list[Points], areas: npt.NDArray[np.float64]) -> list[int]:
    """By contour, the index of the one that it lies directly in, or -1."""
    parents = [-1] * len(contours)
    if len(contours) < 2 or not (areas > 0).any():
        return parents
    low, high = np.array([c.min(0) for c in contours]), np.array([c.max(0) for c in contours])
    polygons: dict[int, npt.NDArray[np.float32]] = {}
    for i, contour in enumerate(contours):
        around = (low <= low[i]).all(1) & (high >= high[i]).all(1) & ((areas > 0) != (areas[i] > 0))
        x, y = map(float, contour[0])
        for j in sorted(np.flatnonzero(around), key=lambda j: abs(areas[j])):
            if abs(areas[j]) <= abs(areas[i]):
                continue
            if j not in polygons:
                polygons[j] = contours[j].astype(np.float32)
            if cv2.pointPolygonTest(polygons[j], (x, y), False) > 0:
                parents[i] = int(j)
                break
    return parents
