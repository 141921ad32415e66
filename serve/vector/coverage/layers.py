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

import cv2
import numpy as np
import numpy.typing as npt

from serve.vector.coverage.kernel import kernel
from serve.vector.coverage.paints import Floats, PaintTable
from serve.vector.coverage.unmix import Labels, Shares

PAD = 2
TRAP = 3
"""Reach below later layers: full up to 1 px, half at 2 px, none at 3 px."""
INVISIBLE_ALPHA = 8.0
OPAQUE_ALPHA = 250.0
SHARP = 0.8
COVERED = 0.98
HIDDEN_RIGIDITY = 0.25
"""A curve may stray four times as far from a hidden stretch of contour: TRAP leaves it the room."""
MIN_STEP = 0.05
"""Contour points nearer than this to the one before are dropped, in pixels."""

Points = npt.NDArray[np.float64]


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
    """Write the coverage of paint ``k`` to ``field`` on the pixels it reaches; returns how many, listed in ``active``."""
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
                near = inside * min(1.0, max(0.0, 1.5 - 0.5 * math.hypot(dy, dx)))
                field[yy, xx] = max(field[yy, xx], near)
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


# Segments of marching squares: per case of inside corners (1 top left, 2 top right, 4 bottom right, 8 bottom left)
# pairs of cell sides (0 top, 1 right, 2 bottom, 3 left) from → to, with the inside on the left hand; -1 is none.
_SEGMENTS = np.array(
    [
        [-1, -1, -1, -1], [3, 0, -1, -1], [0, 1, -1, -1], [3, 1, -1, -1],
        [1, 2, -1, -1], [3, 0, 1, 2], [0, 2, -1, -1], [3, 2, -1, -1],
        [2, 3, -1, -1], [2, 0, -1, -1], [0, 1, 2, 3], [2, 1, -1, -1],
        [1, 3, -1, -1], [1, 0, -1, -1], [0, 3, -1, -1], [-1, -1, -1, -1],
        [3, 2, 1, 0], [0, 3, 2, 1],
    ],
    np.int8,
)  # fmt: skip
_JOINED_5, _JOINED_10 = 16, 17


@kernel
def _value(field: Floats, stamp: npt.NDArray[np.int32], first: Labels, k: int, y: int, x: int) -> float:
    """Coverage at (y, x): from ``field`` at the rim of paint ``k``, one inside it, zero elsewhere."""
    height, width = field.shape
    if y < 0 or x < 0 or y >= height or x >= width:
        return 0.0
    if stamp[y, x] == k:
        return field[y, x]
    return 1.0 if first[y, x] == k else 0.0


@kernel
def _crossing(
    field: Floats, stamp: npt.NDArray[np.int32], first: Labels, k: int, y: int, x: int, vertical: bool
) -> float:
    """Where coverage passes one half between (y, x) and its neighbour to the right, or below if ``vertical``; 0..1.

    At a sharp edge the covered length is the sum of coverages across it, which is exact for a box filter; a soft one
    is interpolated.
    """
    dy, dx = (1, 0) if vertical else (0, 1)
    a, b = _value(field, stamp, first, k, y, x), _value(field, stamp, first, k, y + dy, x + dx)
    before = _value(field, stamp, first, k, y - dy, x - dx)
    after = _value(field, stamp, first, k, y + 2 * dy, x + 2 * dx)
    linear = (0.5 - a) / (b - a)
    sharp = (abs(before - after) - SHARP) / (1 - SHARP)
    if sharp <= 0 or (before - after) * (a - b) <= 0:
        return linear
    box = a + b - 0.5 if a > b else 1.5 - a - b
    weight = min(1.0, sharp)
    return min(1.0, max(0.0, weight * box + (1 - weight) * linear))


@kernel
def _edge(side: int, at: int, width: int) -> int:
    """Number of the grid edge on a ``side`` (0 top, 1 right, 2 bottom, 3 left) of the cell at flat index ``at``."""
    if side == 0:
        return 2 * at
    if side == 1:
        return 2 * (at + 1) + 1
    if side == 2:
        return 2 * (at + width)
    return 2 * at + 1


@kernel
def _march(
    k: int,
    field: Floats,
    stamp: npt.NDArray[np.int32],
    first: Labels,
    active: npt.NDArray[np.int32],
    segments: npt.NDArray[np.int8],
    follow: npt.NDArray[np.int32],
) -> tuple[Points, npt.NDArray[np.int64]]:
    """Contours of ``field`` at one half: all points (n, 2) as (x, y) in grid pixels, and where each contour starts.

    ``follow`` (2 H W,) maps a crossed grid edge to the next one (even: to the right, odd: downwards); it must hold -1
    and does so again afterwards.
    """
    height, width = field.shape
    edges = np.empty(4 * active.shape[0] + 4, np.int32)
    n = 0
    for at in active:
        y, x = at // width, at % width
        if y + 1 >= height or x + 1 >= width:
            continue
        tl, tr = field[y, x], _value(field, stamp, first, k, y, x + 1)
        bl, br = _value(field, stamp, first, k, y + 1, x), _value(field, stamp, first, k, y + 1, x + 1)
        case = (tl >= 0.5) | (tr >= 0.5) << 1 | (br >= 0.5) << 2 | (bl >= 0.5) << 3
        if case == 5 and tl + tr + bl + br >= 2.0:
            case = _JOINED_5
        elif case == 10 and tl + tr + bl + br >= 2.0:
            case = _JOINED_10
        for s in range(0, 4, 2):
            if segments[case, s] < 0:
                continue
            edges[n] = _edge(segments[case, s], at, width)
            follow[edges[n]] = _edge(segments[case, s + 1], at, width)
            n += 1
    points = np.empty((n, 2))
    start = np.empty(n + 1, np.int64)
    contours, count = 0, 0
    for i in range(n):
        edge = edges[i]
        if follow[edge] < 0:
            continue
        start[contours] = count
        contours += 1
        while edge >= 0 and follow[edge] >= 0:
            at, vertical = edge // 2, edge % 2 == 1
            y, x = at // width, at % width
            t = _crossing(field, stamp, first, k, y, x, vertical)
            points[count, 0] = x + (0.0 if vertical else t)
            points[count, 1] = y + (t if vertical else 0.0)
            count += 1
            following = follow[edge]
            follow[edge] = -1
            edge = following
    start[contours] = count
    return points[:count], start[: contours + 1]


@kernel
def _thin(points: Points) -> Points:
    """Drop points nearer than MIN_STEP to the one kept before."""
    n = points.shape[0]
    keep = np.empty((n, 2))
    m = 0
    for i in range(n):
        if m and math.hypot(points[i, 0] - keep[m - 1, 0], points[i, 1] - keep[m - 1, 1]) < MIN_STEP:
            continue
        keep[m] = points[i]
        m += 1
    while m > 1 and math.hypot(keep[0, 0] - keep[m - 1, 0], keep[0, 1] - keep[m - 1, 1]) < MIN_STEP:
        m -= 1
    return keep[:m].copy()


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
        y, x = int(math.floor(points[i, 1] + 0.5)), int(math.floor(points[i, 0] + 0.5))
        hidden = True
        for dy in range(-1, 2):
            for dx in range(-1, 2):
                hidden = hidden and _is_covered(y + dy, x + dx, k, first, second, share, rank, opaque)
        if hidden:
            out[i, 2] = HIDDEN_RIGIDITY
    return out


@kernel
def signed_area(points: Points) -> float:
    """Shoelace area of a closed polygon (n, 2); with y downwards, holes of a contour here are positive."""
    total = 0.0
    n = points.shape[0]
    for i in range(n):
        j = i + 1 if i + 1 < n else 0
        total += points[i, 0] * points[j, 1] - points[j, 0] * points[i, 1]
    return 0.5 * total


@kernel
def _worth_drawing(
    points: Points, start: npt.NDArray[np.int64], min_area: float, most: int
) -> tuple[npt.NDArray[np.int64], Points]:
    """Contours of at least ``min_area``, at most the ``most`` largest: their indices, in order, and signed areas."""
    n = start.shape[0] - 1
    area = np.empty(n)
    kept = np.empty(n, np.int64)
    m = 0
    for i in range(n):
        area[i] = signed_area(points[start[i] : start[i + 1]])
        if start[i + 1] - start[i] >= 4 and abs(area[i]) >= min_area:
            kept[m] = i
            m += 1
    kept = kept[:m]
    if m > most:
        largest = np.argsort(-np.abs(area[kept]))[:most]
        kept = np.sort(kept[largest])
    return kept, area[kept]


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
    active, follow = np.empty(grid.first.size, np.int32), np.full(2 * grid.first.size, -1, np.int32)
    min_area = min(min_area, 0.5 * shares.first.size)
    layers = []
    for k in order:
        if not visible[k] or area[k] < min_area:
            continue
        own = grid.own[grid.start[k] : grid.start[k + 1]]
        n = _cover(k, grid.first, grid.second, grid.share, grid.rank, grid.opaque, own, stamp, field, active)
        points, start = _march(k, field, stamp, grid.first, active[:n], _SEGMENTS, follow)
        kept, areas = _worth_drawing(points, start, min_area, max_contours)
        contours = []
        for i, signed in zip(kept, areas, strict=True):
            contour = points[start[i] : start[i + 1]]
            if signed < 0 or not _hidden(contour, k, grid):
                thin = _rigidity(_thin(contour), k, grid.first, grid.second, grid.share, grid.rank, grid.opaque)
                contours.append(thin - (PAD - 0.5, PAD - 0.5, 0.0))
        if contours:
            layers.append(Layer(k, contours))
    return layers


def _grid(shares: Shares, order: list[int], opaque: npt.NDArray[np.bool_]) -> _Grid:
    first, second, share = (_pad(a) for a in (shares.first, shares.second, shares.share))
    rank = np.empty(len(order), np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    start, own = _own_pixels(first, second, len(order))
    return _Grid(first, second, share, rank, opaque.astype(np.uint8), start, own)


def _pad(plane: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    padded = np.pad(plane, PAD, mode="edge")
    empty = -1 if plane.dtype == np.int16 else 0
    for edge in (padded[0], padded[-1], padded[:, 0], padded[:, -1]):
        edge[...] = empty
    return padded
