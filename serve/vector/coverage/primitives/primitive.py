"""A primitive: its values, the signed distance to its outline, the outline as segments and as a polygon."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serve.vector.coverage.curves import Segments
from serve.vector.coverage.kernel import kernel

Points = npt.NDArray[np.float64]
Values = npt.NDArray[np.float64]
NONE, CIRCLE, ELLIPSE, RECT = 0, 1, 2, 3
"""Kinds of `Primitive`."""
CX, CY, A, B, TURN, CORNER = range(6)
ARC_HANDLE = 0.5522847498
_FINE = np.arange(0, 1, 1 / 12)


@dataclass(frozen=True)
class Primitive:
    """``values`` (6,): centre x, y; half sides or radii a, b; turn in radians; radius of the corners; in pixels."""

    kind: int
    values: Values

    def to_segments(self) -> Segments:
        return outline(self.kind, self.values)


@kernel
def distance(kind: int, p: Values, x: float, y: float) -> float:
    """Signed distance in pixels from (x, y) to the outline, negative inside; an ellipse's is right to first order."""
    c, s = math.cos(p[4]), math.sin(p[4])
    dx, dy = x - p[0], y - p[1]
    u, v = c * dx + s * dy, c * dy - s * dx
    if kind == CIRCLE:
        radius: float = p[2]
        return math.hypot(u, v) - radius
    if kind == ELLIPSE:
        f = math.hypot(u / p[2], v / p[3])
        g = math.hypot(u / (p[2] * p[2]), v / (p[3] * p[3]))
        near: float = f * (f - 1) / max(g, 1e-9) if f > 0.3 else (f - 1) * min(p[2], p[3])
        return near
    r: float = min(p[5], p[2], p[3])
    qx, qy = abs(u) - p[2] + r, abs(v) - p[3] + r
    d: float = math.hypot(max(qx, 0.0), max(qy, 0.0)) + min(max(qx, qy), 0.0) - r
    return d


@kernel
def outline(kind: int, p: Values) -> Segments:
    """The outline as segments (n, 9): four cubics, or lines with a cubic for each rounded corner."""
    c, s = math.cos(p[4]), math.sin(p[4])
    a, b = p[2], p[3]
    rx, ry = (a, b) if kind != RECT else (p[5], p[5])
    ix, iy = a - rx, b - ry
    out = np.empty((8, 9))
    n = 0
    su, sv = np.array([1.0, -1.0, -1.0, 1.0]), np.array([1.0, 1.0, -1.0, -1.0])
    q = np.empty((4, 2))
    for i in range(4):
        j = (i + 1) % 4
        # a corner, from the side that the walk comes in on: even corners come along v, odd ones along u
        cu, cv = su[i] * ix, sv[i] * iy
        if i % 2 == 0:
            q[0, 0], q[0, 1] = cu + su[i] * rx, cv
            q[1, 0], q[1, 1] = cu + su[i] * rx, cv + sv[i] * ry * ARC_HANDLE
            q[2, 0], q[2, 1] = cu + su[i] * rx * ARC_HANDLE, cv + sv[i] * ry
            q[3, 0], q[3, 1] = cu, cv + sv[i] * ry
            next_u, next_v = su[j] * ix, sv[j] * iy + sv[j] * ry
        else:
            q[0, 0], q[0, 1] = cu, cv + sv[i] * ry
            q[1, 0], q[1, 1] = cu + su[i] * rx * ARC_HANDLE, cv + sv[i] * ry
            q[2, 0], q[2, 1] = cu + su[i] * rx, cv + sv[i] * ry * ARC_HANDLE
            q[3, 0], q[3, 1] = cu + su[i] * rx, cv
            next_u, next_v = su[j] * ix + su[j] * rx, sv[j] * iy
        if rx > 1e-6:
            out[n, 0] = 0.0
            for k in range(4):
                out[n, 1 + 2 * k] = p[0] + c * q[k, 0] - s * q[k, 1]
                out[n, 2 + 2 * k] = p[1] + s * q[k, 0] + c * q[k, 1]
            n += 1
        du, dv = next_u - q[3, 0], next_v - q[3, 1]
        if math.hypot(du, dv) > 1e-6:
            out[n, 0] = 1.0
            for k in range(4):
                u, v = q[3, 0] + du * k / 3, q[3, 1] + dv * k / 3
                out[n, 1 + 2 * k], out[n, 2 + 2 * k] = p[0] + c * u - s * v, p[1] + s * u + c * v
            n += 1
    return out[:n].copy()


@kernel
def points_along(segments: Segments, samples: npt.NDArray[np.float64]) -> Points:
    """Points (n, 3) at the curve parameters ``samples`` of every segment, each of weight 1."""
    n, m = segments.shape[0], samples.shape[0]
    points = np.ones((n * m, 3))
    for i in range(n):
        for k in range(m):
            t = samples[k]
            v = 1 - t
            for axis in range(2):
                points[i * m + k, axis] = (
                    v * v * v * segments[i, 1 + axis] + 3 * v * v * t * segments[i, 3 + axis]
                    + 3 * v * t * t * segments[i, 5 + axis] + t * t * t * segments[i, 7 + axis]
                )  # fmt: skip
    return points


@kernel
def _farthest_out(kind: int, p: Values, points: Points) -> float:
    worst = -1e18
    for i in range(points.shape[0]):
        worst = max(worst, distance(kind, p, points[i, 0], points[i, 1]))
    return worst


def is_within(primitive: Primitive, contour: Points) -> bool:
    """Whether ``contour`` (n, 3) lies inside, up to half a pixel."""
    return bool(_farthest_out(primitive.kind, primitive.values, contour) < 0.5)


def flattened(primitive: Primitive) -> npt.NDArray[np.float64]:
    """The outline as a polygon (n, 2)."""
    return points_along(primitive.to_segments(), _FINE)[:, :2]
