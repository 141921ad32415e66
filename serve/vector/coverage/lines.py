"""Straight stretches of a contour, found as a whole before curves are fitted.

A stretch is straight if no point strays from its line by more than a band, and if it does not bow: the mean of its
middle third is level with those of its ends. Noise along a straight edge is evened out by the least-squares line, so
that the edge stays one segment. Two stretches that end at the same corner are joined where their lines cross.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from serve.vector.coverage.kernel import kernel

Points = npt.NDArray[np.float64]

SPLIT = 0.4
"""Distance from its chord from which a stretch is split, in pixels, times the noise."""
BAND = 0.18
"""Distance of a stretch's points from its line, in pixels, times the square of the noise."""
BOW = 0.06
"""Most that a straight stretch bows, in pixels, times the square of the noise."""
SHORTEST = 6.0
"""Least length of a stretch, in pixels, times the square of the noise."""
LONG, AT_ONCE = 16.0, 2.2
"""A shorter stretch, in pixels, needs a corner at one end: the contour leaves its line within so many pixels."""
BEYOND, DEPARTURE = 0.3, 6.0
"""Within this share of its length beyond its ends, the contour has to leave the line by so many bands: a piece of a
gentle curve does not."""
LEVEL = 0.3
"""A stretch whose ends differ by less than this, in pixels, is horizontal or vertical."""
GAP = 3.2
"""Most arc between two stretches that meet in a corner, in pixels."""
TIP = 0.85
"""A corner may lie beyond the contour by this share of the tip that the pixel grid rounds off, and a little more."""


@kernel
def _split(points: Points, limit: float) -> npt.NDArray[np.int64]:
    """Indices at which the closed contour ``points`` (n + 1, 3), whose last point is its first, is to be split so that
    every part is within ``limit`` of its chord (Douglas and Peucker)."""
    n = points.shape[0] - 1
    far, most = 0, -1.0
    for i in range(n):
        d = math.hypot(points[i, 0] - points[0, 0], points[i, 1] - points[0, 1])
        if d > most:
            far, most = i, d
    keep = np.zeros(n + 1, np.bool_)
    keep[0] = keep[n] = keep[far] = True
    stack = np.empty((64, 2), np.int64)
    stack[0, 0], stack[0, 1], stack[1, 0], stack[1, 1] = 0, far, far, n
    depth = 2
    while depth:
        depth -= 1
        a, b = stack[depth, 0], stack[depth, 1]
        if b - a < 2:
            continue
        dx, dy = points[b, 0] - points[a, 0], points[b, 1] - points[a, 1]
        length = math.hypot(dx, dy)
        worst, at = 0.0, a
        for i in range(a + 1, b):
            x, y = points[i, 0] - points[a, 0], points[i, 1] - points[a, 1]
            d = math.hypot(x, y) if length < 1e-9 else abs(x * dy - y * dx) / length
            d *= points[i, 2]
            if d > worst:
                worst, at = d, i
        if worst > limit and depth + 2 <= 64:
            keep[at] = True
            stack[depth, 0], stack[depth, 1] = a, at
            stack[depth + 1, 0], stack[depth + 1, 1] = at, b
            depth += 2
    return np.flatnonzero(keep)


@kernel
def _line(points: Points, a: int, b: int) -> tuple[float, float, float, float]:
    """The least-squares line of points a..b of the cyclic contour ``points`` (n, 3): a point and a unit direction."""
    n = points.shape[0]
    w = sx = sy = sxx = sxy = syy = 0.0
    for i in range(a, b + 1):
        j = i % n
        r = points[j, 2]
        x, y = points[j, 0] - points[a % n, 0], points[j, 1] - points[a % n, 1]
        w, sx, sy = w + r, sx + r * x, sy + r * y
        sxx, sxy, syy = sxx + r * x * x, sxy + r * x * y, syy + r * y * y
    mx, my = sx / w, sy / w
    turn = 0.5 * math.atan2(2 * (sxy / w - mx * my), sxx / w - mx * mx - syy / w + my * my)
    dx, dy = math.cos(turn), math.sin(turn)
    ex, ey = points[b % n, 0] - points[a % n, 0], points[b % n, 1] - points[a % n, 1]
    if dx * ex + dy * ey < 0:
        dx, dy = -dx, -dy
    return mx + points[a % n, 0], my + points[a % n, 1], dx, dy


@kernel
def _off(points: Points, i: int, line: tuple[float, float, float, float]) -> float:
    """Signed distance of point ``i`` (cyclic) from ``line``."""
    j = i % points.shape[0]
    off: float = (points[j, 0] - line[0]) * line[3] - (points[j, 1] - line[1]) * line[2]
    return off


@kernel
def _bow(points: Points, a: int, b: int, line: tuple[float, float, float, float]) -> float:
    """How much the middle third of points a..b lies beside its two ends, in pixels."""
    third = max(1, (b - a + 1) // 3)
    ends = middle = 0.0
    for i in range(third):
        ends += _off(points, a + i, line) + _off(points, b - i, line)
        middle += _off(points, a + (b - a + 1 - third) // 2 + i, line)
    bow: float = abs(middle / third - ends / (2 * third))
    return bow


@kernel
def _is_straight(points: Points, a: int, b: int, line: tuple[float, float, float, float], noise: float) -> bool:
    """Whether points a..b are long enough, bow little, and leave ``line`` by no more than the band."""
    if _length(points, a, b) < SHORTEST * noise * noise or _bow(points, a, b, line) > BOW * noise * noise:
        return False
    worst = 0.0
    for i in range(a, b + 1):
        worst = max(worst, abs(_off(points, i, line)) * points[i % points.shape[0], 2])
    if worst > BAND * noise * noise:
        return False
    length = _length(points, a, b)
    reach = max(2.5, BEYOND * length)
    if not (_departs(points, a, -1, line, noise, reach) and _departs(points, b, 1, line, noise, reach)):
        return False
    return (
        length >= LONG * noise
        or _departs(points, a, -1, line, noise, AT_ONCE)
        or _departs(points, b, 1, line, noise, AT_ONCE)
    )


@kernel
def _departs(
    points: Points, end: int, step: int, line: tuple[float, float, float, float], noise: float, reach: float
) -> bool:
    """Whether the contour leaves ``line`` within ``reach`` pixels of arc beyond its ``end``."""
    n = points.shape[0]
    arc, i = 0.0, end
    while arc < reach:
        arc += _length(points, i, i + step)
        i += step
        if abs(_off(points, i, line)) >= DEPARTURE * BAND * noise * noise:
            return True
        if abs(i - end) >= n // 2:
            break
    return False


@kernel
def _length(points: Points, a: int, b: int) -> float:
    n = points.shape[0]
    return math.hypot(points[b % n, 0] - points[a % n, 0], points[b % n, 1] - points[a % n, 1])


@kernel
def find_lines(points: Points, noise: float) -> npt.NDArray[np.float64]:
    """The straight stretches of the closed contour ``points`` (n, 3), in order and apart: (k, 6) with first and last
    index (the last may pass the end and wrap), a point of the line, and its unit direction."""
    n = points.shape[0]
    none = np.empty((0, 6))
    if n < 8:
        return none
    # begin at the point that is farthest from the middle: it is no inner point of a stretch
    mx, my = points[:, 0].mean(), points[:, 1].mean()
    first, most = 0, -1.0
    for i in range(n):
        d = math.hypot(points[i, 0] - mx, points[i, 1] - my)
        if d > most:
            first, most = i, d
    turned = np.empty((n + 1, 3))
    for i in range(n + 1):
        turned[i] = points[(first + i) % n]
    cuts = _split(turned, SPLIT * noise)
    out = np.empty((cuts.shape[0], 6))
    count = 0
    for c in range(cuts.shape[0] - 1):
        a, b = first + cuts[c], first + cuts[c + 1]
        if b - a < 4 or _length(points, a, b) < 0.75 * SHORTEST:
            continue
        trim = (b - a) // 8
        line = _line(points, a + trim, b - trim)
        low, high = (a + b) // 2, (a + b) // 2
        for _ in range(2):
            low = high = (a + b) // 2
            while (
                low - 1 > b - n and abs(_off(points, low - 1, line)) * points[(low - 1) % n, 2] <= BAND * noise * noise
            ):
                low -= 1
            while (
                high + 1 < low + n
                and abs(_off(points, high + 1, line)) * points[(high + 1) % n, 2] <= BAND * noise * noise
            ):
                high += 1
            if high - low < 4:
                break
            line = _line(points, low + 1, high - 1)
        if high - low < 4 or not _is_straight(points, low, high, line, noise):
            continue
        if count and low <= out[count - 1, 1] and high <= out[count - 1, 1]:
            continue
        out[count, 0], out[count, 1] = low, high
        out[count, 2], out[count, 3], out[count, 4], out[count, 5] = line[0], line[1], line[2], line[3]
        _level(points, out[count], noise)
        count += 1
    return _apart(points, out[:count], noise)


@kernel
def _level(points: Points, run: npt.NDArray[np.float64], noise: float) -> None:
    """Make a nearly horizontal or vertical stretch exactly that."""
    span = _length(points, int(run[0]), int(run[1]))
    if abs(run[5]) * span < LEVEL * noise:
        run[4], run[5] = (1.0 if run[4] > 0 else -1.0), 0.0
    elif abs(run[4]) * span < LEVEL * noise:
        run[4], run[5] = 0.0, (1.0 if run[5] > 0 else -1.0)


@kernel
def _apart(points: Points, runs: npt.NDArray[np.float64], noise: float) -> npt.NDArray[np.float64]:
    """``runs`` in order, those that overlap cut where they do; what is left too short goes."""
    n, k = points.shape[0], runs.shape[0]
    order = np.argsort(runs[:, 0])
    runs = runs[order]
    keep = np.ones(k, np.bool_)
    for i in range(k):
        j = (i + 1) % k
        if k == 1:
            break
        shift = n if j == 0 else 0
        over = runs[i, 1] - (runs[j, 0] + shift)
        if over >= 0:
            half = over // 2 + 1
            runs[i, 1] -= half
            runs[j, 0] += over - half + 1
    for i in range(k):
        low, high = int(runs[i, 0]), int(runs[i, 1])
        line = (runs[i, 2], runs[i, 3], runs[i, 4], runs[i, 5])
        keep[i] = high - low >= 3 and high - low < n and _is_straight(points, low, high, line, noise)
    return runs[keep]


@kernel
def crossing(
    points: Points, one: npt.NDArray[np.float64], two: npt.NDArray[np.float64], noise: float
) -> tuple[bool, float, float]:
    """Whether stretches ``one`` and ``two``, which follow each other, meet in a corner, and where."""
    n = points.shape[0]
    a, b = int(one[1]), int(two[0])
    if b < a:
        b += n
    arc = 0.0
    for i in range(a, b):
        arc += _length(points, i, i + 1)
    det = one[4] * two[5] - one[5] * two[4]
    if arc > GAP * (0.5 + 0.5 * noise) or abs(det) < 0.12:
        return False, 0.0, 0.0
    t = ((two[2] - one[2]) * two[5] - (two[3] - one[3]) * two[4]) / det
    x, y = one[2] + t * one[4], one[3] + t * one[5]
    nearest = 1e9
    for i in range(a, b + 1):
        nearest = min(nearest, math.hypot(points[i % n, 0] - x, points[i % n, 1] - y))
    half = 0.5 * (math.pi - math.acos(min(1.0, max(-1.0, one[4] * two[4] + one[5] * two[5]))))
    tip = TIP * math.sqrt(0.5 / max(0.1, math.tan(half))) + 0.15 * noise if half < 1.5 else 0.3 * noise
    return nearest <= tip, x, y
