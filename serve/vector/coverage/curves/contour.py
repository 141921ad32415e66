"""A contour as segments: its corners and straight stretches first, then curves between them."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from serve.vector.coverage.corners import drop_rounded, find_corners, mark_rounded, sharpen
from serve.vector.coverage.curves.cubic import Points, direction, longest_cubic, longest_line, tangent
from serve.vector.coverage.kernel import kernel
from serve.vector.coverage.lines import crossing, find_lines

Segments = npt.NDArray[np.float64]
LINE_SHARE = 0.6
"""Tolerance of a line over that of a curve."""
MIN_LINE = 6.0
"""A line of at least this length, in pixels, is preferred to a cubic that reaches not much further."""
SMOOTH_JOIN = math.cos(math.radians(24))
"""Cosine of the turn up to which a curve goes on smoothly from a line."""


@kernel
def _emit(out: Segments, n: int, line: bool, curve: Points) -> None:
    out[n, 0] = 1.0 if line else 0.0
    for i in range(4):
        out[n, 1 + 2 * i], out[n, 2 + 2 * i] = curve[i, 0], curve[i, 1]


@kernel
def _fit_run(points: Points, tolerance: float, smooth: bool, start: Points, end: Points, out: Segments, n: int) -> int:
    """Greedily the longest line or cubic from the start of ``points`` (m, 2); returns the new count of segments.

    ``smooth``: first and last point are the same, with no corner there. ``start``, ``end`` (2,): directions that the
    curve has at its ends, or zeros.
    """
    high = points.shape[0] - 1
    curve = np.empty((4, 2))
    t1, closing = start.copy(), end.copy()
    known = smooth or t1[0] != 0 or t1[1] != 0
    if smooth:
        ax, ay = direction(points, 0, 1, 0, high)
        bx, by = direction(points, high, -1, 0, high)
        length = math.hypot(ax - bx, ay - by)
        t1[0], t1[1] = ((ax - bx) / length, (ay - by) / length) if length > 1e-9 else (ax, ay)
        closing[:] = t1
    i = 0
    while i < high:
        if not known:
            t1[0], t1[1] = direction(points, i, 1, i, high)
        line = longest_line(points, i, high, tolerance * LINE_SHARE)
        cubic = longest_cubic(points, i, high, tolerance, t1, closing, curve)
        dx, dy = points[line, 0] - points[i, 0], points[line, 1] - points[i, 1]
        length = math.hypot(dx, dy)
        if line >= cubic or (length >= MIN_LINE and line - i >= LINE_SHARE * (cubic - i)):
            for k in range(4):
                curve[k, 0], curve[k, 1] = points[i, 0] + dx * k / 3, points[i, 1] + dy * k / 3
            _emit(out, n, True, curve)
            if length > 1e-9:
                t1[0], t1[1] = dx / length, dy / length
            i = line
        else:
            _emit(out, n, False, curve)
            t1[0], t1[1] = tangent(points, cubic, 0, high)
            i = cubic
        known = True
        n += 1
    return n


@kernel
def fit_open(points: Points, tolerance: float, smooth: bool) -> Segments:
    """Segments (n, 9) along ``points`` (m, 3), as `fit_contour`, from the first to the last; ``smooth``: these are the
    same, with no corner there."""
    out, free = np.empty((points.shape[0] + 4, 9)), np.zeros(2)
    return out[: _fit_run(points, tolerance, smooth, free, free, out, 0)].copy()


@kernel
def fit_contour(points: Points, tolerance: float, corner_angle: float, noise: float) -> Segments:
    """Segments (n, 9) of the closed contour ``points`` (m, 3), which they leave by at most about ``tolerance``.

    The third column is rigidity: the tolerance is divided by it.

    tolerance in pixels; corner_angle in radians; noise 1 for a clean picture.
    """
    corners = find_corners(points, corner_angle)
    lines = find_lines(points, noise)
    if lines.shape[0] > 0:
        return _fit_with_lines(points, lines, corners, tolerance, noise)
    if corners.shape[0] > 0:
        points = sharpen(points, corners)
        points, corners = drop_rounded(points, corners)
    n, m = points.shape[0], corners.shape[0]
    out = np.empty((n + 4, 9))
    first = corners[0] if m else 0
    turned = np.empty((n + 1, 3))
    for i in range(n + 1):
        turned[i] = points[(first + i) % n]
    free = np.zeros(2)
    if m == 0:
        return out[: _fit_run(turned, tolerance, True, free, free, out, 0)].copy()
    count = 0
    for c in range(m):
        a, b = corners[c] - first, corners[c + 1] - first if c + 1 < m else n
        if b > a:
            count = _fit_run(turned[a : b + 1], tolerance, False, free, free, out, count)
    return out[:count].copy()


@kernel
def _fit_with_lines(
    points: Points, lines: Points, corners: npt.NDArray[np.int64], tolerance: float, noise: float
) -> Segments:
    """As `fit_contour`: the straight stretches ``lines`` (k, 6), joined where they cross, and curves between them."""
    n, k = points.shape[0], lines.shape[0]
    sharp = sharpen(points, corners) if corners.shape[0] else points
    is_corner, rounded = np.zeros(n, np.bool_), np.zeros(n, np.bool_)
    is_corner[corners] = True
    if corners.shape[0]:
        mark_rounded(sharp, is_corner, rounded)
    ends = np.empty((k, 4))
    joined = np.zeros(k, np.bool_)
    for i in range(k):
        j = (i + 1) % k
        meets, x, y = crossing(points, lines[i], lines[j], noise) if k > 1 else (False, 0.0, 0.0)
        joined[i] = meets
        if meets:
            ends[i, 2], ends[i, 3], ends[j, 0], ends[j, 1] = x, y, x, y
        else:
            ends[i, 2], ends[i, 3] = _foot(points, int(lines[i, 1]), lines[i])
            ends[j, 0], ends[j, 1] = _foot(points, int(lines[j, 0]), lines[j])
    out = np.empty((n + 2 * k + 4, 9))
    curve = np.empty((4, 2))
    count = 0
    for i in range(k):
        j = (i + 1) % k
        for t in range(4):
            curve[t, 0] = ends[i, 0] + (ends[i, 2] - ends[i, 0]) * t / 3
            curve[t, 1] = ends[i, 1] + (ends[i, 3] - ends[i, 1]) * t / 3
        _emit(out, count, True, curve)
        count += 1
        if joined[i]:
            continue
        a, b = int(lines[i, 1]), int(lines[j, 0])
        while b <= a:
            b += n
        gap, marks = np.empty((b - a + 1, 3)), np.zeros(b - a + 1, np.bool_)
        m = 0
        for t in range(a, b + 1):
            p = t % n
            if t != a and t != b and rounded[p]:
                continue
            gap[m], marks[m] = sharp[p], is_corner[p]
            m += 1
        gap[0, 0], gap[0, 1] = ends[i, 2], ends[i, 3]
        gap[m - 1, 0], gap[m - 1, 1] = ends[j, 0], ends[j, 1]
        marks[0], marks[m - 1] = False, True
        count = _fit_gap(gap[:m], marks[:m], lines[i], lines[j], tolerance, out, count)
    return out[:count].copy()


@kernel
def _fit_gap(
    gap: Points, marks: npt.NDArray[np.bool_], before: Points, after: Points, tolerance: float, out: Segments, n: int
) -> int:
    """Curves along ``gap`` (m, 3) between two lines, smooth at its ends where it goes on in a line's direction;
    ``marks``: the corners in it."""
    m = gap.shape[0]
    free = np.zeros(2)
    last = 0
    for t in range(1, m):
        if not marks[t]:
            continue
        start, end = free, free
        if last == 0:
            x, y = direction(gap, 0, 1, 0, t)
            if x * before[4] + y * before[5] > SMOOTH_JOIN:
                start = np.array([before[4], before[5]])
        if t == m - 1:
            x, y = direction(gap, t, -1, last, t)
            if -x * after[4] - y * after[5] > SMOOTH_JOIN:
                end = np.array([after[4], after[5]])
        n = _fit_run(gap[last : t + 1], tolerance, False, start, end, out, n)
        last = t
    return n


@kernel
def _foot(points: Points, i: int, line: Points) -> tuple[float, float]:
    """Point ``i`` (cyclic) of the contour, moved onto ``line`` (6,)."""
    p = i % points.shape[0]
    t = (points[p, 0] - line[2]) * line[4] + (points[p, 1] - line[3]) * line[5]
    return line[2] + t * line[4], line[3] + t * line[5]
