"""Contours: marching squares over a coverage field, at one half, with sub-pixel positions.

A field is known on the pixels that carry the paint's stamp; other pixels are full inside the paint and empty outside.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from serve.vector.coverage.kernel import kernel
from serve.vector.coverage.paints import Floats
from serve.vector.coverage.unmix import Labels

Points = npt.NDArray[np.float64]

SHARP = 0.8
"""Drop of coverage, over four pixels, from which an edge counts as sharp."""
EDGE = 0.02
"""Least distance of a thin line's edge from the pixel centres on its two sides, in pixels."""
JOINED = 1.2
"""Sum of four pixels' coverage from which two that touch at a corner are one area."""
MIN_STEP = 0.05
"""Contour points nearer than this to the one before are dropped, in pixels."""


# Segments of marching squares: per case of inside corners (1 top left, 2 top right, 4 bottom right, 8 bottom left)
# pairs of cell sides (0 top, 1 right, 2 bottom, 3 left) from → to, with the inside on the left hand; -1 is none.
SEGMENTS = np.array(
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
def _is_inside(
    inside: npt.NDArray[np.uint8], stamp: npt.NDArray[np.int32], first: Labels, k: int, y: int, x: int
) -> bool:
    """Whether (y, x), a pixel of the grid, is inside paint ``k``."""
    if stamp[y, x] == k:
        return bool(inside[y, x] != 0)
    return bool(first[y, x] == k)


@kernel
def _crossing(
    field: Floats,
    stamp: npt.NDArray[np.int32],
    first: Labels,
    inside: npt.NDArray[np.uint8],
    k: int,
    y: int,
    x: int,
    vertical: bool,
) -> float:
    """Where coverage passes one half between (y, x) and its neighbour to the right, or below if ``vertical``; 0..1.

    At a sharp edge the covered length is the sum of coverages across it, which is exact for a box filter; a soft one
    is interpolated. A line or gap of a single pixel is as wide as the coverages across it add up to.
    """
    dy, dx = (1, 0) if vertical else (0, 1)
    forward = _is_inside(inside, stamp, first, k, y, x)
    if not forward:
        y, x, dy, dx = y + dy, x + dx, -dy, -dx
    behind = value_at(field, stamp, first, k, y - dy, x - dx)
    inner = value_at(field, stamp, first, k, y, x)
    outer = value_at(field, stamp, first, k, y + dy, x + dx)
    beyond = value_at(field, stamp, first, k, y + 2 * dy, x + 2 * dx)
    height, width = field.shape
    by, bx, oy, ox = y - dy, x - dx, y + 2 * dy, x + 2 * dx
    line = by < 0 or bx < 0 or by >= height or bx >= width or not _is_inside(inside, stamp, first, k, by, bx)
    gap = oy >= 0 and ox >= 0 and oy < height and ox < width and _is_inside(inside, stamp, first, k, oy, ox)
    at = 0.0
    if line or gap:
        if line:
            covered = behind + inner + outer
            at += 0.5 * covered + (outer - behind) / max(covered, 1e-6)
        if gap:
            bare = 3.0 - inner - outer - beyond
            at += 1.0 - 0.5 * bare + (inner - beyond) / max(bare, 1e-6)
        if line and gap:
            at *= 0.5
    else:
        at = (inner - 0.5) / (inner - outer) if inner > outer else 0.0
        sharp = min(1.0, (behind - beyond - SHARP) / (1 - SHARP))
        if sharp > 0:
            at = sharp * (inner + outer - 0.5) + (1 - sharp) * at
    at = min(1 - EDGE, max(EDGE, at)) if line or gap else min(1.0, max(0.0, at))
    return at if forward else 1.0 - at


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
def march(
    k: int,
    field: Floats,
    stamp: npt.NDArray[np.int32],
    first: Labels,
    inside: npt.NDArray[np.uint8],
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
        tl = _is_inside(inside, stamp, first, k, y, x)
        tr = _is_inside(inside, stamp, first, k, y, x + 1)
        bl = _is_inside(inside, stamp, first, k, y + 1, x)
        br = _is_inside(inside, stamp, first, k, y + 1, x + 1)
        case = tl | tr << 1 | br << 2 | bl << 3
        if case == 5 or case == 10:
            covered = (
                field[y, x]
                + value_at(field, stamp, first, k, y, x + 1)
                + value_at(field, stamp, first, k, y + 1, x)
                + value_at(field, stamp, first, k, y + 1, x + 1)
            )
            if covered >= JOINED:
                case = _JOINED_5 if case == 5 else _JOINED_10
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
            t = _crossing(field, stamp, first, inside, k, y, x, vertical)
            points[count, 0] = x + (0.0 if vertical else t)
            points[count, 1] = y + (t if vertical else 0.0)
            count += 1
            following = follow[edge]
            follow[edge] = -1
            edge = following
    start[contours] = count
    return points[:count], start[: contours + 1]


@kernel
def thin(points: Points) -> Points:
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
def signed_area(points: Points) -> float:
    """Shoelace area of a closed polygon (n, 2); with y downwards, holes of a contour here are positive."""
    total = 0.0
    n = points.shape[0]
    for i in range(n):
        j = i + 1 if i + 1 < n else 0
        total += points[i, 0] * points[j, 1] - points[j, 0] * points[i, 1]
    return 0.5 * total


@kernel
def worth_drawing(
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
    """Whether a thin line (of what is uncovered, if ``gap``) runs through (y, x), seen across it.

    A stroke or gap so narrow that few of its pixels, or none, are covered by half would be lost by a contour at one
    half. Here the ridge of a thin line counts as inside, and the valley of a thin gap as outside, whatever the
    coverage; the edges are then placed so that a line is as wide as the coverage across it.
    """
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
