"""The values of a primitive moved by least squares towards points, and how far it lies from them."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from serve.vector.coverage.curves import Segments
from serve.vector.coverage.kernel import kernel
from serve.vector.coverage.primitives.primitive import (
    CIRCLE,
    CORNER,
    RECT,
    TURN,
    A,
    B,
    Points,
    Primitive,
    Values,
    distance,
    points_along,
)

FREE = np.array([[0, 0, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 1, 1]], np.bool_)
"""By kind, which values are fitted; a circle's second radius repeats the first."""
HUBER = 0.5
"""Distance in pixels from which a point counts less."""
SHARP_CORNER = 1.1
"""Corners of a smaller radius, in pixels, are sharp: the pixel grid rounds every corner by about as much."""
CORNER_ZONE = 1.3
"""Points so near to a sharp corner, in pixels, do not count: the pixel grid rounds it off."""
_SAMPLES = np.array([0.1, 0.3, 0.5, 0.7, 0.9])


@kernel
def _counts(kind: int, p: Values, x: float, y: float) -> bool:
    """Whether a point says something: those at a sharp corner do not."""
    if kind != RECT or p[5] >= SHARP_CORNER:
        return True
    c, s = math.cos(p[4]), math.sin(p[4])
    dx, dy = x - p[0], y - p[1]
    u, v = abs(c * dx + s * dy) - p[2], abs(c * dy - s * dx) - p[3]
    return not (abs(u) < CORNER_ZONE and abs(v) < CORNER_ZONE)


@kernel
def improve(kind: int, start: Values, points: Points, free: npt.NDArray[np.bool_], rounds: int) -> Values:
    """``start`` (6,) moved by least squares towards ``points`` (n, 3), the third column their weight, where
    ``free``."""
    p = start.copy()
    index = np.empty(6, np.int64)
    k = 0
    for i in range(6):
        if free[i]:
            index[k] = i
            k += 1
    n = points.shape[0]
    damping, cost = 1e-3, 1e18
    best = p.copy()
    for _ in range(rounds):
        normal, pull = np.zeros((k, k)), np.zeros(k)
        total = 0.0
        row = np.empty(k)
        for i in range(n):
            weight = points[i, 2]
            if weight <= 0 or not _counts(kind, p, points[i, 0], points[i, 1]):
                continue
            d = distance(kind, p, points[i, 0], points[i, 1])
            far = abs(d)
            weight *= 1.0 if far <= HUBER else HUBER / far
            total += weight * d * d
            for j in range(k):
                step = 1e-4 if index[j] == 4 else 1e-3
                keep = p[index[j]]
                p[index[j]] = keep + step
                if kind == CIRCLE:
                    p[3] = p[2]
                row[j] = (distance(kind, p, points[i, 0], points[i, 1]) - d) / step
                p[index[j]] = keep
            for j in range(k):
                pull[j] -= weight * row[j] * d
                for m in range(k):
                    normal[j, m] += weight * row[j] * row[m]
        if total < cost:
            cost = total
            best[:] = p
            damping = max(1e-5, damping * 0.3)
        else:
            damping *= 10
            p[:] = best
        for j in range(k):
            normal[j, j] += damping * normal[j, j] + 1e-6
        step_all = np.linalg.solve(normal, pull)
        for j in range(k):
            most = 0.2 if index[j] == 4 else 3.0
            p[index[j]] += min(most, max(-most, step_all[j]))
        p[2], p[3] = max(0.6, p[2]), max(0.6, p[3])
        if kind == CIRCLE:
            p[3] = p[2]
        p[5] = min(max(0.0, p[5]), min(p[2], p[3]))
    return best


@kernel
def misfit(kind: int, p: Values, points: Points) -> tuple[float, float]:
    """RMS and largest distance (of means of three points in a row) of the visible ``points`` (n, 3), in pixels."""
    n = points.shape[0]
    total, count, worst = 0.0, 0, 0.0
    before = last = 0.0
    run = 0
    for i in range(n + 2):
        j = i % n
        if points[j, 2] != 1.0 or not _counts(kind, p, points[j, 0], points[j, 1]):
            run = 0
            continue
        d = distance(kind, p, points[j, 0], points[j, 1])
        run += 1
        if i < n:
            total += d * d
            count += 1
        if run >= 3:
            worst = max(worst, abs(before + last + d) / 3)
        before, last = last, d
    return (math.sqrt(total / count), worst) if count >= 5 else (99.0, 99.0)


def moved_to(primitive: Primitive, segments: Segments) -> Primitive:
    """``primitive`` moved and resized to the moved outline ``segments``; its kind, its sharp corners and an upright
    position stay."""
    free = FREE[primitive.kind].copy()
    values = primitive.values
    free[TURN] &= values[TURN] != 0
    free[CORNER] &= 0 < values[CORNER] < min(values[A], values[B])
    moved = improve(primitive.kind, values, points_along(segments, _SAMPLES), free, 4)
    if primitive.kind == RECT and values[CORNER] >= min(values[A], values[B]):
        moved[CORNER] = min(moved[A], moved[B])
    return Primitive(primitive.kind, moved)
