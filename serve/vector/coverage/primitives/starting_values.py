"""Values that a fit starts from, out of a contour's moments, its extent, or its algebraic distance to a circle."""

from __future__ import annotations

import math

import numpy as np

from serve.vector.coverage.kernel import kernel
from serve.vector.coverage.primitives.primitive import Points, Values


@kernel
def by_moments(points: Points) -> Values:
    """The ellipse of the closed polygon's area, centre and second moments, as six values."""
    n = points.shape[0]
    x0, y0 = points[0, 0], points[0, 1]
    area = mx = my = mxx = mxy = myy = 0.0
    for i in range(n):
        j = i + 1 if i + 1 < n else 0
        ax, ay, bx, by = points[i, 0] - x0, points[i, 1] - y0, points[j, 0] - x0, points[j, 1] - y0
        w = ax * by - bx * ay
        area += w / 2
        mx += w * (ax + bx) / 6
        my += w * (ay + by) / 6
        mxx += w * (ax * ax + ax * bx + bx * bx) / 12
        myy += w * (ay * ay + ay * by + by * by) / 12
        mxy += w * (ax * by + 2 * ax * ay + 2 * bx * by + bx * ay) / 24
    p = np.zeros(6)
    if abs(area) < 1e-9:
        return p
    mx, my = mx / area, my / area
    cxx, cyy, cxy = mxx / area - mx * mx, myy / area - my * my, mxy / area - mx * my
    p[0], p[1] = mx + x0, my + y0
    p[4] = 0.5 * math.atan2(2 * cxy, cxx - cyy)
    middle, half = (cxx + cyy) / 2, math.hypot((cxx - cyy) / 2, cxy)
    p[2], p[3] = 2 * math.sqrt(max(1e-6, middle + half)), 2 * math.sqrt(max(1e-6, middle - half))
    return p


@kernel
def by_extent(points: Points, turn: float, seen_only: bool) -> Values:
    """The rectangle of ``points`` (n, 3) at ``turn``, as six values."""
    c, s = math.cos(turn), math.sin(turn)
    low_u = low_v = 1e18
    high_u = high_v = -1e18
    for i in range(points.shape[0]):
        if seen_only and points[i, 2] != 1.0:
            continue
        u, v = c * points[i, 0] + s * points[i, 1], c * points[i, 1] - s * points[i, 0]
        low_u, high_u, low_v, high_v = min(low_u, u), max(high_u, u), min(low_v, v), max(high_v, v)
    p = np.zeros(6)
    u, v = (low_u + high_u) / 2, (low_v + high_v) / 2
    p[0], p[1] = c * u - s * v, s * u + c * v
    p[2], p[3], p[4] = max(0.6, (high_u - low_u) / 2), max(0.6, (high_v - low_v) / 2), turn
    return p


@kernel
def tightest_turn(points: Points) -> float:
    """The turn, in steps of 3 degrees, of the smallest rectangle around ``points``."""
    best, least = 0.0, 1e18
    for i in range(30):
        p = by_extent(points, i * math.pi / 60, False)
        if p[2] * p[3] < least * 0.999:
            best, least = i * math.pi / 60, p[2] * p[3]
    return best


@kernel
def nearest_circle(points: Points) -> Values:
    """The circle of least algebraic distance (Kåsa) to the visible ``points`` (n, 3), as six values."""
    n = 0
    mx = my = 0.0
    for i in range(points.shape[0]):
        if points[i, 2] == 1.0:
            mx, my, n = mx + points[i, 0], my + points[i, 1], n + 1
    p = np.zeros(6)
    if n < 5:
        return p
    mx, my = mx / n, my / n
    suu = suv = svv = su = sv = sz = 0.0
    for i in range(points.shape[0]):
        if points[i, 2] == 1.0:
            u, v = points[i, 0] - mx, points[i, 1] - my
            z = u * u + v * v
            suu, suv, svv, su, sv, sz = suu + u * u, suv + u * v, svv + v * v, su + u * z, sv + v * z, sz + z
    det = suu * svv - suv * suv
    if det < 1e-9 * (suu + svv) ** 2:
        return p
    x, y = 0.5 * (su * svv - sv * suv) / det, 0.5 * (sv * suu - su * suv) / det
    p[0], p[1] = mx + x, my + y
    p[2] = p[3] = math.sqrt(max(0.0, sz / n + x * x + y * y))
    return p
