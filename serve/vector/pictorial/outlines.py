"""Outlines of labelled areas: along the edges between pixels, reduced to the corners that matter."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from serve.vector.coverage.kernel import kernel

Ints = npt.NDArray[np.int32]
Bytes = npt.NDArray[np.uint8]


@kernel
def outlines(labels: Ints) -> tuple[Ints, Ints, Ints]:
    """(points (n, 2), starts (k + 1,), owners (k,)): every outline of the areas of ``labels`` (H, W; -1 is none), as
    middles of the pixel edges that it follows, (x, y) in half pixels. Outer ones run clockwise, holes the other way.
    """
    height, width = labels.shape
    seen = np.zeros((height, width), np.uint8)  # by its upper edge
    points = np.empty((1024, 2), np.int32)
    starts, owners = np.empty(256, np.int32), np.empty(256, np.int32)
    used = count = 0
    dx, dy = np.array([1, 0, -1, 0]), np.array([0, 1, 0, -1])
    for y in range(height):
        for x in range(width):
            own = labels[y, x]
            if own < 0 or seen[y, x] or (y > 0 and labels[y - 1, x] == own):
                continue
            if count + 1 >= starts.size:
                starts = np.concatenate((starts, np.empty_like(starts)))
                owners = np.concatenate((owners, np.empty_like(owners)))
            starts[count], owners[count] = used, own
            px, py, way = x, y, 0  # the area lies to the right of the way, which is along the upper edge of (px, py)
            while True:
                if way == 0:
                    if seen[py, px]:
                        break
                    seen[py, px] = 1
                if used == points.shape[0]:
                    points = np.concatenate((points, np.empty_like(points)))
                points[used, 0] = 2 * px + 1 + dy[way]
                points[used, 1] = 2 * py + 1 - dx[way]
                used += 1
                ax, ay = px + dx[way], py + dy[way]  # ahead
                lx, ly = ax + dy[way], ay - dx[way]  # ahead to the left
                inside = 0 <= ax < width and 0 <= ay < height and labels[ay, ax] == own
                if not inside:
                    way = (way + 1) % 4  # turn right around the pixel's corner
                elif 0 <= lx < width and 0 <= ly < height and labels[ly, lx] == own:
                    px, py, way = lx, ly, (way + 3) % 4
                else:
                    px, py = ax, ay
            count += 1
    starts[count] = used
    return points[:used].copy(), starts[: count + 1].copy(), owners[:count].copy()


@kernel
def _keep_thin(points: Ints, keep: Bytes, far: int) -> None:
    """Keep the points of an outline farthest to each side of the chord from 0 to ``far``, of several the first and the
    last: without them a line one pixel wide would lose its area, or half of it."""
    ux, uy = points[far, 0] - points[0, 0], points[far, 1] - points[0, 1]
    for sign in (1, -1):
        most, start, end = 0, -1, -1
        for m in range(len(points)):
            side = sign * (ux * (points[m, 1] - points[0, 1]) - uy * (points[m, 0] - points[0, 0]))
            if side > most:
                most, start = side, m
            if side == most:
                end = m
        if start >= 0:
            keep[start] = keep[end] = 1


@kernel
def simplified(points: Ints, starts: Ints, tolerance: float) -> tuple[Ints, Ints]:
    """(points, starts) of the closed polygons with the fewest corners that stray no farther than ``tolerance`` half
    pixels (Douglas and Peucker, from the two points farthest apart); thin ones keep their
    width."""
    keep = np.zeros(len(points), np.uint8)
    stack = np.empty((len(points) + 2, 2), np.int32)
    for k in range(starts.size - 1):
        first, last = starts[k], starts[k + 1]
        n = last - first
        far, best = 0, -1.0
        for i in range(n):
            d = (points[first + i, 0] - points[first, 0]) ** 2 + (points[first + i, 1] - points[first, 1]) ** 2
            if d > best:
                far, best = i, d
        keep[first] = keep[first + far] = 1
        stack[0, 0], stack[0, 1], stack[1, 0], stack[1, 1] = 0, far, far, n
        top = 2
        while top:
            top -= 1
            i, j = stack[top]
            p, q = points[first + i], points[first + j % n]
            ux, uy = q[0] - p[0], q[1] - p[1]
            norm = np.sqrt(float(ux * ux + uy * uy))
            at, worst = -1, tolerance
            for m in range(i + 1, j):
                vx, vy = points[first + m, 0] - p[0], points[first + m, 1] - p[1]
                d = abs(ux * vy - uy * vx) / norm if norm > 0 else np.sqrt(float(vx * vx + vy * vy))
                if d > worst:
                    at, worst = m, d
            if at >= 0:
                keep[first + at] = 1
                stack[top, 0], stack[top, 1], stack[top + 1, 0], stack[top + 1, 1] = i, at, at, j
                top += 2
        if keep[first:last].sum() < 4:
            _keep_thin(points[first:last], keep[first:last], far)
    found, ends = np.empty((int(keep.sum()), 2), np.int32), np.empty(starts.size, np.int32)
    used = 0
    for k in range(starts.size - 1):
        ends[k] = used
        for i in range(starts[k], starts[k + 1]):
            if keep[i]:
                found[used] = points[i]
                used += 1
    ends[starts.size - 1] = used
    return found, ends
