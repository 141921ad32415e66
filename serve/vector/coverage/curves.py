"""Curves: a closed contour of points becomes corners, straight lines and cubic Béziers within a tolerance.

A segment is a row of nine numbers: 1 for a line or 0 for a cubic, then its four control points; a line's inner two
lie at its thirds.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from serve.vector.coverage.corners import drop_rounded, find_corners, mark_rounded, sharpen
from serve.vector.coverage.kernel import kernel
from serve.vector.coverage.lines import crossing, find_lines

Points = npt.NDArray[np.float64]
Segments = npt.NDArray[np.float64]

TANGENT_REACH = 2.5
LINE_SHARE = 0.6
"""Tolerance of a line over that of a curve."""
MIN_LINE = 6.0
"""A line of at least this length, in pixels, is preferred to a cubic that reaches not much further."""
NEWTON_ROUNDS = 4
SMOOTH_JOIN = math.cos(math.radians(24))
"""Cosine of the turn up to which a curve goes on smoothly from a line."""


@kernel
def _fit_cubic(points: Points, t1: Points, t2: Points, out: Points) -> float:
    """Least-squares cubic through the ends of ``points`` (n, 3) with end directions t1, t2; largest squared distance
    times squared rigidity.

    Philip J. Schneider, "An algorithm for automatically fitting digitized curves", Graphics Gems, 1990.
    """
    n = points.shape[0]
    u = np.empty(n)
    u[0] = 0.0
    for i in range(1, n):
        u[i] = u[i - 1] + math.hypot(points[i, 0] - points[i - 1, 0], points[i, 1] - points[i - 1, 1])
    length = u[n - 1]
    if length <= 1e-9:
        for k in range(4):
            out[k, 0], out[k, 1] = points[0, 0], points[0, 1]
        return 0.0
    for i in range(n):
        u[i] /= length
    p0x, p0y, p3x, p3y = points[0, 0], points[0, 1], points[n - 1, 0], points[n - 1, 1]
    best = 1e18
    for _ in range(NEWTON_ROUNDS):
        c00 = c01 = c11 = r0 = r1 = 0.0
        for i in range(n):
            t = u[i]
            v = 1 - t
            b1, b2 = 3 * v * v * t, 3 * v * t * t
            b0, b3 = v * v * v + b1, t * t * t + b2
            ax, ay, bx, by = t1[0] * b1, t1[1] * b1, t2[0] * b2, t2[1] * b2
            c00 += ax * ax + ay * ay
            c01 += ax * bx + ay * by
            c11 += bx * bx + by * by
            dx, dy = points[i, 0] - p0x * b0 - p3x * b3, points[i, 1] - p0y * b0 - p3y * b3
            r0 += ax * dx + ay * dy
            r1 += bx * dx + by * dy
        det = c00 * c11 - c01 * c01
        left = right = 0.0
        if abs(det) > 1e-12:
            left, right = (r0 * c11 - r1 * c01) / det, (c00 * r1 - c01 * r0) / det
        if min(left, right) < 1e-3 * length or max(left, right) > 3 * length:
            left = right = length / 3
        p1x, p1y, p2x, p2y = p0x + t1[0] * left, p0y + t1[1] * left, p3x + t2[0] * right, p3y + t2[1] * right
        worst = 0.0
        for i in range(n):
            t = u[i]
            v = 1 - t
            bx = v * v * v * p0x + 3 * v * v * t * p1x + 3 * v * t * t * p2x + t * t * t * p3x - points[i, 0]
            by = v * v * v * p0y + 3 * v * v * t * p1y + 3 * v * t * t * p2y + t * t * t * p3y - points[i, 1]
            worst = max(worst, (bx * bx + by * by) * points[i, 2] * points[i, 2])
            dx = 3 * (v * v * (p1x - p0x) + 2 * v * t * (p2x - p1x) + t * t * (p3x - p2x))
            dy = 3 * (v * v * (p1y - p0y) + 2 * v * t * (p2y - p1y) + t * t * (p3y - p2y))
            ddx = 6 * (v * (p2x - 2 * p1x + p0x) + t * (p3x - 2 * p2x + p1x))
            ddy = 6 * (v * (p2y - 2 * p1y + p0y) + t * (p3y - 2 * p2y + p1y))
            slope = dx * dx + dy * dy + bx * ddx + by * ddy
            if abs(slope) > 1e-12:
                u[i] = min(1.0, max(0.0, t - (bx * dx + by * dy) / slope))
        u[0], u[n - 1] = 0.0, 1.0
        if worst < best:
            best = worst
            out[0, 0], out[0, 1], out[1, 0], out[1, 1] = p0x, p0y, p1x, p1y
            out[2, 0], out[2, 1], out[3, 0], out[3, 1] = p2x, p2y, p3x, p3y
    return best


@kernel
def _line_error(points: Points) -> float:
    """Largest distance, times rigidity, of ``points`` (n, 3) from the chord of its ends."""
    n = points.shape[0]
    dx, dy = points[n - 1, 0] - points[0, 0], points[n - 1, 1] - points[0, 1]
    length = math.hypot(dx, dy)
    worst = 0.0
    for i in range(n):
        x, y = points[i, 0] - points[0, 0], points[i, 1] - points[0, 1]
        distance = math.hypot(x, y) if length < 1e-9 else abs(x * dy - y * dx) / length
        worst = max(worst, distance * points[i, 2])
    return worst


@kernel
def _direction(points: Points, i: int, step: int, low: int, high: int) -> tuple[float, float]:
    """Unit direction from point ``i`` over TANGENT_REACH of arc, forwards or backwards, within [low, high]."""
    sx = sy = arc = 0.0
    j = i
    while low <= j + step <= high and arc < TANGENT_REACH:
        k = j + step
        arc += math.hypot(points[k, 0] - points[j, 0], points[k, 1] - points[j, 1])
        sx += points[k, 0] - points[i, 0]
        sy += points[k, 1] - points[i, 1]
        j = k
    length = math.hypot(sx, sy)
    if length < 1e-9:
        return 0.0, 0.0
    return sx / length, sy / length


@kernel
def _tangent(points: Points, i: int, low: int, high: int) -> tuple[float, float]:
    """Unit tangent at an inner point, from both sides."""
    ax, ay = _direction(points, i, 1, low, high)
    bx, by = _direction(points, i, -1, low, high)
    x, y = ax - bx, ay - by
    length = math.hypot(x, y)
    if length < 1e-9:
        return ax, ay
    return x / length, y / length


@kernel
def _longest_line(points: Points, i: int, high: int, tolerance: float) -> int:
    """Last index up to which a line from ``i`` stays within ``tolerance``: doubling, then halving."""
    good, step = i + 1, 1
    while good + step <= high and _line_error(points[i : good + step + 1]) <= tolerance:
        good += step
        step *= 2
    while step >= 1:
        if good + step <= high and _line_error(points[i : good + step + 1]) <= tolerance:
            good += step
        step //= 2
    return good


@kernel
def _longest_cubic(
    points: Points, i: int, high: int, tolerance: float, t1: Points, closing: Points, curve: Points
) -> int:
    """Last index that one cubic from ``i`` reaches within ``tolerance``; writes it to ``curve`` (4, 2).

    t1 (2,): start direction. closing (2,): end direction where the contour closes smoothly, else zeros.
    """
    t2, trial = np.empty(2), np.empty((4, 2))
    good, bad, step = i + 1, high + 1, 8
    for c in range(2):
        curve[0, c], curve[3, c] = points[i, c], points[i + 1, c]
        curve[1, c] = points[i, c] + (points[i + 1, c] - points[i, c]) / 3
        curve[2, c] = points[i, c] + (points[i + 1, c] - points[i, c]) * 2 / 3
    k = min(i + step, high)
    while True:
        if k == high and closing[0] == 0 and closing[1] == 0:
            t2[0], t2[1] = _direction(points, high, -1, i, high)
        elif k == high:
            t2[0], t2[1] = -closing[0], -closing[1]
        else:
            x, y = _tangent(points, k, 0, high)
            t2[0], t2[1] = -x, -y
        if k > i + 1 and _fit_cubic(points[i : k + 1], t1, t2, trial) <= tolerance * tolerance:
            good = k
            curve[:] = trial
            step *= 2
            k = min(good + step, high) if bad > high else (good + bad) // 2
        else:
            bad = k
            k = (good + bad) // 2
        if good >= high or bad - good <= 1 or k <= good:
            return good


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
        ax, ay = _direction(points, 0, 1, 0, high)
        bx, by = _direction(points, high, -1, 0, high)
        length = math.hypot(ax - bx, ay - by)
        t1[0], t1[1] = ((ax - bx) / length, (ay - by) / length) if length > 1e-9 else (ax, ay)
        closing[:] = t1
    i = 0
    while i < high:
        if not known:
            t1[0], t1[1] = _direction(points, i, 1, i, high)
        line = _longest_line(points, i, high, tolerance * LINE_SHARE)
        cubic = _longest_cubic(points, i, high, tolerance, t1, closing, curve)
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
            t1[0], t1[1] = _tangent(points, cubic, 0, high)
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
            x, y = _direction(gap, 0, 1, 0, t)
            if x * before[4] + y * before[5] > SMOOTH_JOIN:
                start = np.array([before[4], before[5]])
        if t == m - 1:
            x, y = _direction(gap, t, -1, last, t)
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
