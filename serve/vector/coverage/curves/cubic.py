"""One line or one cubic along a run of points: its least-squares fit, its directions, and how far it reaches."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from serve.vector.coverage.kernel import kernel

Points = npt.NDArray[np.float64]
TANGENT_REACH = 2.5
NEWTON_ROUNDS = 4


@kernel
def fit_cubic(points: Points, t1: Points, t2: Points, out: Points) -> float:
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
def line_error(points: Points) -> float:
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
def direction(points: Points, i: int, step: int, low: int, high: int) -> tuple[float, float]:
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
def tangent(points: Points, i: int, low: int, high: int) -> tuple[float, float]:
    """Unit tangent at an inner point, from both sides."""
    ax, ay = direction(points, i, 1, low, high)
    bx, by = direction(points, i, -1, low, high)
    x, y = ax - bx, ay - by
    length = math.hypot(x, y)
    if length < 1e-9:
        return ax, ay
    return x / length, y / length


@kernel
def longest_line(points: Points, i: int, high: int, tolerance: float) -> int:
    """Last index up to which a line from ``i`` stays within ``tolerance``: doubling, then halving."""
    good, step = i + 1, 1
    while good + step <= high and line_error(points[i : good + step + 1]) <= tolerance:
        good += step
        step *= 2
    while step >= 1:
        if good + step <= high and line_error(points[i : good + step + 1]) <= tolerance:
            good += step
        step //= 2
    return good


@kernel
def longest_cubic(
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
            t2[0], t2[1] = direction(points, high, -1, i, high)
        elif k == high:
            t2[0], t2[1] = -closing[0], -closing[1]
        else:
            x, y = tangent(points, k, 0, high)
            t2[0], t2[1] = -x, -y
        if k > i + 1 and fit_cubic(points[i : k + 1], t1, t2, trial) <= tolerance * tolerance:
            good = k
            curve[:] = trial
            step *= 2
            k = min(good + step, high) if bad > high else (good + bad) // 2
        else:
            bad = k
            k = (good + bad) // 2
        if good >= high or bad - good <= 1 or k <= good:
            return good
