"""Corners of a contour: where it turns sharply, and where the lines beside such a place meet."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from serve.vector.coverage.kernel import kernel

Points = npt.NDArray[np.float64]

CORNER_REACH = 2.2
"""Arc length over which directions are compared to find a corner, in pixels."""
CORNER_WINDOW = 1.5
SHARPEN_FROM, SHARPEN_TO, SHARPEN_MOST, SHARPEN_RMS = 0.9, 3.2, 1.6, 0.25
"""A corner is the crossing of lines fitted to the contour this far away from it, and moves at most so far."""
ROUNDED = 0.8
"""Points nearer to a corner than this are rounded off by the pixel grid and are dropped."""


@kernel
def _turning(points: Points, reach: float) -> Points:
    """Angle between the directions before and after each point of a closed contour, in radians."""
    n = points.shape[0]
    angle = np.empty(n)
    for i in range(n):
        side = np.zeros((2, 2))
        for s in range(2):
            step = 1 if s == 0 else -1
            arc, j = 0.0, i
            while arc < reach:
                k = (j + step) % n
                arc += math.hypot(points[k, 0] - points[j, 0], points[k, 1] - points[j, 1])
                side[s, 0] += points[k, 0] - points[i, 0]
                side[s, 1] += points[k, 1] - points[i, 1]
                j = k
                if j == i:
                    break
        ax, ay, bx, by = side[0, 0], side[0, 1], -side[1, 0], -side[1, 1]
        angle[i] = abs(math.atan2(bx * ay - by * ax, bx * ax + by * ay))
    return angle


@kernel
def find_corners(points: Points, threshold: float) -> npt.NDArray[np.int64]:
    """Points where the contour turns by ``threshold`` radians or more, the sharpest within CORNER_WINDOW of arc."""
    n = points.shape[0]
    total = 0.0
    for i in range(n):
        j = (i + 1) % n
        total += math.hypot(points[j, 0] - points[i, 0], points[j, 1] - points[i, 1])
    angle = _turning(points, min(CORNER_REACH, total / 6))
    found = np.empty(n, np.int64)
    m = 0
    for i in range(n):
        sharpest = angle[i] >= threshold and points[i, 2] == 1.0
        for step in (1, -1):
            arc, j = 0.0, i
            while sharpest and arc < CORNER_WINDOW:
                k = (j + step) % n
                arc += math.hypot(points[k, 0] - points[j, 0], points[k, 1] - points[j, 1])
                j = k
                if j == i:
                    break
                if angle[j] > angle[i] or (step == -1 and angle[j] == angle[i]):
                    sharpest = False
        if sharpest:
            found[m] = i
            m += 1
    return found[:m]


@kernel
def _line_beside(points: Points, corner: int, step: int, most: int) -> tuple[float, float, float, float, float]:
    """Line through the contour on one side of ``corner``: a point, a direction, and the RMS distance (99: none)."""
    n = points.shape[0]
    sx = sy = sxx = sxy = syy = arc = 0.0
    count, j = 0, corner
    for _ in range(most):
        k = (j + step) % n
        arc += math.hypot(points[k, 0] - points[j, 0], points[k, 1] - points[j, 1])
        j = k
        if arc > SHARPEN_TO:
            break
        if arc >= SHARPEN_FROM:
            x, y = points[k, 0] - points[corner, 0], points[k, 1] - points[corner, 1]
            sx, sy, sxx, sxy, syy = sx + x, sy + y, sxx + x * x, sxy + x * y, syy + y * y
            count += 1
    if count < 2:
        return 0.0, 0.0, 0.0, 0.0, 99.0
    mx, my = sx / count, sy / count
    cxx, cxy, cyy = sxx / count - mx * mx, sxy / count - mx * my, syy / count - my * my
    angle = 0.5 * math.atan2(2 * cxy, cxx - cyy)
    dx, dy = math.cos(angle), math.sin(angle)
    rms = math.sqrt(max(0.0, cxx * dy * dy - 2 * cxy * dx * dy + cyy * dx * dx))
    return mx + points[corner, 0], my + points[corner, 1], dx, dy, rms


@kernel
def sharpen(points: Points, corners: npt.NDArray[np.int64]) -> Points:
    """Move each corner to where the lines beside it cross, undoing the pixel grid's rounding."""
    n, m = points.shape[0], corners.shape[0]
    moved = points.copy()
    for c in range(m):
        i = corners[c]
        after = (corners[(c + 1) % m] - i) % n if m > 1 else n // 2
        before = (i - corners[c - 1]) % n if m > 1 else n // 2
        ax, ay, adx, ady, a_rms = _line_beside(points, i, -1, max(3, before - 1))
        bx, by, bdx, bdy, b_rms = _line_beside(points, i, 1, max(3, after - 1))
        det = adx * bdy - ady * bdx
        if max(a_rms, b_rms) > SHARPEN_RMS or abs(det) < 0.2:
            continue
        t = ((bx - ax) * bdy - (by - ay) * bdx) / det
        x, y = ax + t * adx, ay + t * ady
        if math.hypot(x - points[i, 0], y - points[i, 1]) <= SHARPEN_MOST:
            moved[i, 0], moved[i, 1] = x, y
    return moved


@kernel
def mark_rounded(points: Points, corner: npt.NDArray[np.bool_], out: npt.NDArray[np.bool_]) -> None:
    """Set ``out`` (n,) at the points within ROUNDED of a ``corner`` (n,)."""
    n = points.shape[0]
    for c in np.flatnonzero(corner):
        for step in (1, -1):
            arc, j = 0.0, c
            while True:
                k = (j + step) % n
                arc += math.hypot(points[k, 0] - points[j, 0], points[k, 1] - points[j, 1])
                j = k
                if arc > ROUNDED or corner[k]:
                    break
                out[k] = True


@kernel
def drop_rounded(points: Points, corners: npt.NDArray[np.int64]) -> tuple[Points, npt.NDArray[np.int64]]:
    """The contour without the points within ROUNDED of a corner, and the corners' new indices."""
    n = points.shape[0]
    corner, rounded = np.zeros(n, np.bool_), np.zeros(n, np.bool_)
    corner[corners] = True
    mark_rounded(points, corner, rounded)
    keep = ~rounded
    index = np.cumsum(keep) - 1
    return points[keep], index[corners]
