"""Layers: which paint lies on which, how far each reaches below the next, and the contours of what it covers.

Paints are stacked from the largest area up. A layer's coverage is its own share plus, within ``TRAP`` pixels of it,
what later opaque layers cover, so that no gap shows between neighbours (trapping, in print). Transparent paint is
never drawn, and translucent paints come first and reach below nothing translucent.

All work happens on a grid padded by two pixels: one repeats the picture's edge, the outermost is empty, so that every
contour closes and shapes at the edge run one pixel past it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from serve.vector.coverage.contours import SEGMENTS, Points, classify, march, thin, worth_drawing
from serve.vector.coverage.kernel import kernel
from serve.vector.coverage.paints import Floats, PaintTable
from serve.vector.coverage.unmix import Labels, Shares

Scalar = TypeVar("Scalar", bound=np.generic)

PAD = 2
TRAP = 4
"""Reach below later layers: full up to 2 px, half at 3 px, none at 4 px."""
_AWAY = np.arange(-TRAP, TRAP + 1)
REACH = np.clip(2.0 - 0.5 * np.hypot(_AWAY[:, None], _AWAY), 0.0, 1.0).astype(np.float32)
INVISIBLE_ALPHA = 8.0
OPAQUE_ALPHA = 250.0
COVERED = 0.98
HIDDEN_RIGIDITY = 0.15
"""A curve may stray six times as far from a hidden stretch of contour: TRAP leaves it the room."""


@dataclass(frozen=True)
class Layer:
    """One paint and the closed contours that bound what it covers (even-odd).

    A contour is (n, 3): x and y in pixels, and the rigidity with which a curve has to follow it there, 1 where it
    shows and HIDDEN_RIGIDITY where later layers hide it.
    """

    paint: int
    contours: list[Points]


@dataclass(frozen=True)
class _Grid:
    """Padded shares, the rank of each paint in the stack, and each paint's own pixels."""

    first: Labels
    second: Labels
    share: Floats
    rank: npt.NDArray[np.int32]
    opaque: npt.NDArray[np.uint8]
    start: npt.NDArray[np.int64]
    own: npt.NDArray[np.int32]


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
def _own_pixels(first: Labels, second: Labels, k: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """Pixels at the rim of each paint, as runs of flat indices: start (k + 1,) and indices.

    A pixel well inside an area (it and its eight neighbours are that paint alone) is left out: nothing happens there.
    """
    height, width = first.shape
    rim = np.ones((height, width), np.bool_)
    start = np.zeros(k + 1, np.int64)
    for y in range(height):
        for x in range(width):
            label = first[y, x]
            if label >= 0 and second[y, x] < 0 and _surrounded(first, second, label, y, x):
                rim[y, x] = False
                continue
            if label >= 0:
                start[label + 1] += 1
            if second[y, x] >= 0:
                start[second[y, x] + 1] += 1
    for i in range(k):
        start[i + 1] += start[i]
    fill = start[:-1].copy()
    own = np.empty(start[k], np.int32)
    for y in range(height):
        for x in range(width):
            if not rim[y, x]:
                continue
            for label in (first[y, x], second[y, x]):
                if label >= 0:
                    own[fill[label]] = y * width + x
                    fill[label] += 1
    return start, own


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


@kernel
def _surrounded(first: Labels, second: Labels, k: int, y: int, x: int) -> bool:
    """Whether (y, x) and its eight neighbours are all paint ``k`` alone."""
    height, width = first.shape
    if y < 1 or x < 1 or y >= height - 1 or x >= width - 1:
        return False
    for dy in range(-1, 2):
        for dx in range(-1, 2):
            if first[y + dy, x + dx] != k or second[y + dy, x + dx] >= 0:
                return False
    return True


@kernel
def _is_covered(
    y: int,
    x: int,
    k: int,
    first: Labels,
    second: Labels,
    share: Floats,
    rank: npt.NDArray[np.int32],
    opaque: npt.NDArray[np.uint8],
) -> bool:
    """Whether layers after ``k`` cover pixel (y, x) of the grid."""
    if y < 0 or x < 0 or y >= first.shape[0] or x >= first.shape[1]:
        return False
    later = 0.0
    a, b = first[y, x], second[y, x]
    if a >= 0 and rank[a] > rank[k] and opaque[a]:
        later += share[y, x]
    if b >= 0 and rank[b] > rank[k] and opaque[b]:
        later += 1 - share[y, x]
    return later >= COVERED


@kernel
def _rigidity(
    points: Points,
    k: int,
    first: Labels,
    second: Labels,
    share: Floats,
    rank: npt.NDArray[np.int32],
    opaque: npt.NDArray[np.uint8],
) -> Points:
    """``points`` (n, 2) of a contour of paint ``k``, in grid pixels, with their rigidity: (n, 3)."""
    n = points.shape[0]
    out = np.ones((n, 3))
    for i in range(n):
        out[i, 0], out[i, 1] = points[i, 0], points[i, 1]
        y, x = math.floor(points[i, 1] + 0.5), math.floor(points[i, 0] + 0.5)
        hidden = True
        for dy in range(-1, 2):
            for dx in range(-1, 2):
                hidden = hidden and _is_covered(y + dy, x + dx, k, first, second, share, rank, opaque)
        if hidden:
            out[i, 2] = HIDDEN_RIGIDITY
    return out


@kernel
def _uncovered(
    mask: npt.NDArray[np.uint8],
    y0: int,
    x0: int,
    k: int,
    first: Labels,
    second: Labels,
    share: Floats,
    rank: npt.NDArray[np.int32],
    opaque: npt.NDArray[np.uint8],
) -> tuple[float, int]:
    """Area of ``mask``, laid at (y0, x0), that layers after ``k`` leave open; and the area of the mask."""
    area, shown = 0, 0.0
    for dy in range(mask.shape[0]):
        for dx in range(mask.shape[1]):
            if mask[dy, dx] == 0:
                continue
            area += 1
            y, x = y0 + dy, x0 + dx
            a, b = first[y, x], second[y, x]
            if a >= 0 and not (rank[a] > rank[k] and opaque[a]):
                shown += share[y, x]
            if b >= 0 and not (rank[b] > rank[k] and opaque[b]):
                shown += 1 - share[y, x]
    return shown, area


def _hidden(hole: Points, k: int, grid: _Grid) -> bool:
    """Whether later layers cover ``hole`` (n, 2), in grid pixels, all over, so that it need not be cut."""
    low = np.maximum(np.floor(hole.min(0)).astype(int) - 1, 0)
    high = np.minimum(np.ceil(hole.max(0)).astype(int) + 2, grid.first.shape[::-1])
    mask = np.zeros((high[1] - low[1], high[0] - low[0]), np.uint8)
    cv2.fillPoly(mask, [np.round((hole - low) * 16).astype(np.int32)], 1, shift=4)
    shown, area = _uncovered(mask, low[1], low[0], k, grid.first, grid.second, grid.share, grid.rank, grid.opaque)
    return area > 0 and shown <= 0.5 + 0.03 * area


def stack(shares: Shares, paints: PaintTable, min_area: float, max_contours: int) -> list[Layer]:
    """The layers from the bottom up, of at most ``max_contours`` contours each.

    Contours of less than ``min_area`` square pixels are dropped.
    """
    area = _areas(shares.first, shares.second, shares.share, len(paints))
    visible = paints.peak_alpha() >= INVISIBLE_ALPHA
    opaque = paints.alpha() >= OPAQUE_ALPHA
    order = sorted(range(len(paints)), key=lambda k: (visible[k], opaque[k], -area[k]))
    grid = _grid(shares, order, opaque)
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
        contours = []
        for i, signed in zip(kept, areas, strict=True):
            contour = points[start[i] : start[i + 1]]
            if signed < 0 or not _hidden(contour, k, grid):
                outline = _rigidity(thin(contour), k, grid.first, grid.second, grid.share, grid.rank, grid.opaque)
                contours.append(outline - (PAD - 0.5, PAD - 0.5, 0.0))
        if contours:
            layers.append(Layer(k, contours))
    return layers


def _grid(shares: Shares, order: list[int], opaque: npt.NDArray[np.bool_]) -> _Grid:
    first, second, share = _pad(shares.first), _pad(shares.second), _pad(shares.share)
    rank = np.empty(len(order), np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    start, own = _own_pixels(first, second, len(order))
    return _Grid(first, second, share, rank, opaque.astype(np.uint8), start, own)


def _pad(plane: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
    padded: npt.NDArray[Scalar] = np.pad(plane, PAD, mode="edge")
    empty = -1 if plane.dtype == np.int16 else 0
    for edge in (padded[0], padded[-1], padded[:, 0], padded[:, -1]):
        edge[...] = empty
    return padded
