"""Refinement: boundaries move to where the rendered picture needs them.

A pixel that a boundary crosses is a mix of the paints on its two sides, so the difference between the rendered and the
wanted picture, projected on the difference of those paints and summed across the boundary, is the distance by which
the boundary lies off. Each round measures it along every visible boundary and moves the control points by least
squares, lightly damped. The best round is kept.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from serve.vector.compare import render
from serve.vector.coverage.curves import Segments
from serve.vector.coverage.flat import FloatImage, premultiply
from serve.vector.coverage.kernel import kernel
from serve.vector.coverage.paints import Floats, PaintTable, paint_at
from serve.vector.coverage.primitives import moved_to
from serve.vector.coverage.writer import Shape, to_svg

SAMPLES = np.array([0.06, 0.22, 0.38, 0.5, 0.62, 0.78, 0.94])
"""Where each segment is sampled, as the curve's parameter."""
FLATTEN = 10
FINE, COARSE, FINE_PIXELS = 4, 2, 1 << 17
"""How many times as fine as the picture the grid is that tells which shape shows: more for small pictures."""
SIDE = 0.7
"""How far beside the boundary its two paints are read, in pixels."""
NEAR_SIDE, NEAR_STEP = 0.3, 0.5
"""For thin lines, where SIDE is beyond the other edge: how far to look, and a smaller step, for both edges move."""
STEP, MOST = 0.8, 0.35
"""Share of the measured distance that a round moves, and the most it does, in pixels."""
DAMPING = 0.15
MOST_CONTROL = 0.8
MIN_CONTRAST = 100.0
HIDDEN_WEIGHT = 0.02
SOLVER_ROUNDS = 12
WORSE = 1.3
"""Stop when a round's error exceeds the best by this factor."""

Flags = npt.NDArray[np.uint8]


def refine(shapes: list[Shape], paints: PaintTable, target: FloatImage, rounds: int, decimals: int) -> list[Shape]:
    """``shapes`` with their boundaries moved in up to ``rounds`` rounds towards ``target`` (H, W, 4), premultiplied.

    Of several rounds the best is kept; a single one is trusted, which saves a rendering and loses next to nothing.
    """
    best = current = shapes
    least = math.inf
    for round_ in range(rounds if rounds == 1 else rounds + 1):
        residual = _residual(current, paints, target, decimals)
        error = float(np.square(residual).mean())
        if error < least:
            best, least = current, error
        elif error > WORSE * least:
            break
        if round_ < rounds:
            current = _move(current, paints, residual)
    return current if rounds == 1 else best


def _residual(shapes: list[Shape], paints: PaintTable, target: FloatImage, decimals: int) -> FloatImage:
    """What is rendered less what is wanted, (H, W, 4), premultiplied."""
    height, width = target.shape[:2]
    drawn = render(to_svg(shapes, paints, (width, height), (width, height), decimals), width, height)
    residual: FloatImage = premultiply(drawn) - target
    return residual


def _move(shapes: list[Shape], paints: PaintTable, residual: FloatImage) -> list[Shape]:
    """One round: every outline moved by what ``residual`` says along it."""
    height, width = residual.shape[:2]
    ids = _visible(shapes, width, height)
    paint_of = np.array([-1, *(s.paint for s in shapes)], np.int32)
    tables = (paints.kind, paints.geometry, paints.stops, paints.offsets, paints.colors)
    moved = []
    for i, shape in enumerate(shapes, start=1):
        outlines = [_move_outline(o, i, ids, paint_of, tables, residual, SAMPLES) for o in shape.outlines]
        wholes = [w and moved_to(w, o) for w, o in zip(shape.wholes, outlines, strict=True)]
        outlines = [w.to_segments() if w else o for w, o in zip(wholes, outlines, strict=True)]
        moved.append(Shape(shape.paint, outlines, wholes))
    return moved


def _visible(shapes: list[Shape], width: int, height: int) -> Flags:
    """Which shape shows, counted from 1 (0: none), on a grid FINE or COARSE times as fine. Shape (H', W')."""
    times = FINE if height * width <= FINE_PIXELS else COARSE
    ids = np.zeros((height * times, width * times), np.uint8)
    for i, shape in enumerate(shapes, start=1):
        polygons = [np.round((flatten(o, FLATTEN) * times - 0.5) * 16).astype(np.int32) for o in shape.outlines]
        cv2.fillPoly(ids, polygons, i, shift=4)
    return ids


@kernel
def flatten(outline: Segments, steps: int) -> npt.NDArray[np.float64]:
    """Points (n, 2) along ``outline``: ``steps`` a cubic, one a line."""
    points = np.empty((outline.shape[0] * steps, 2))
    n = 0
    for i in range(outline.shape[0]):
        s = outline[i]
        for k in range(1 if s[0] == 1 else steps):
            t = k / steps
            v = 1 - t
            a, b, c, d = v * v * v, 3 * v * v * t, 3 * v * t * t, t * t * t
            points[n, 0] = a * s[1] + b * s[3] + c * s[5] + d * s[7]
            points[n, 1] = a * s[2] + b * s[4] + c * s[6] + d * s[8]
            n += 1
    return points[:n]


@kernel
def _side(
    x: float,
    y: float,
    times: int,
    ids: Flags,
    paint_of: npt.NDArray[np.int32],
    tables: tuple[npt.NDArray[np.int8], Floats, npt.NDArray[np.int32], Floats, Floats],
    out: Floats,
) -> int:
    """The shape that shows at (x, y); its colour there goes to ``out`` (4,). ``ids`` has ``times`` rows a pixel."""
    row = min(ids.shape[0] - 1, max(0, int(y * times)))
    column = min(ids.shape[1] - 1, max(0, int(x * times)))
    shape: int = ids[row, column]
    if shape == 0:
        out[:] = 0
    else:
        paint_at(paint_of[shape], x, y, tables[0], tables[1], tables[2], tables[3], tables[4], out)
    return shape


@kernel
def residual_along(residual: FloatImage, x: float, y: float, contrast: Floats) -> float:
    """``residual`` at (x, y), interpolated between pixel centres, projected on ``contrast`` (4,)."""
    height, width = residual.shape[:2]
    fx, fy = min(width - 1.001, max(0.0, x - 0.5)), min(height - 1.001, max(0.0, y - 0.5))
    i, j = int(fx), int(fy)
    u, v = fx - i, fy - j
    right, below = min(i + 1, width - 1), min(j + 1, height - 1)
    total = 0.0
    for c in range(4):
        top = residual[j, i, c] * (1 - u) + residual[j, right, c] * u
        bottom = residual[below, i, c] * (1 - u) + residual[below, right, c] * u
        total += (top * (1 - v) + bottom * v) * contrast[c]
    return total


@kernel
def _offset(
    x: float,
    y: float,
    nx: float,
    ny: float,
    me: int,
    ids: Flags,
    paint_of: npt.NDArray[np.int32],
    tables: tuple[npt.NDArray[np.int8], Floats, npt.NDArray[np.int32], Floats, Floats],
    residual: FloatImage,
    contrast: Floats,
    other: Floats,
) -> tuple[bool, float]:
    """Whether the boundary of shape ``me`` shows at (x, y), and how far to move it along (nx, ny), in pixels."""
    height, width = residual.shape[:2]
    if x <= 0.5 or y <= 0.5 or x >= width - 0.5 or y >= height - 0.5:
        return False, 0.0
    times = ids.shape[0] // height
    a = _side(x - SIDE * nx, y - SIDE * ny, times, ids, paint_of, tables, contrast)
    b = _side(x + SIDE * nx, y + SIDE * ny, times, ids, paint_of, tables, other)
    pull = STEP
    if (a == me) == (b == me):
        a = _side(x - NEAR_SIDE * nx, y - NEAR_SIDE * ny, times, ids, paint_of, tables, contrast)
        b = _side(x + NEAR_SIDE * nx, y + NEAR_SIDE * ny, times, ids, paint_of, tables, other)
        pull = NEAR_STEP
        if (a == me) == (b == me):
            return False, 0.0
    norm = 0.0
    for c in range(4):
        contrast[c] -= other[c]
        norm += contrast[c] * contrast[c]
    if norm < MIN_CONTRAST:
        return False, 0.0
    total = 0.0
    for o in range(-1, 2):
        total += residual_along(residual, x + o * nx, y + o * ny, contrast)
    return True, pull * min(MOST, max(-MOST, -total / norm))


@kernel
def _move_outline(
    outline: Segments,
    me: int,
    ids: Flags,
    paint_of: npt.NDArray[np.int32],
    tables: tuple[npt.NDArray[np.int8], Floats, npt.NDArray[np.int32], Floats, Floats],
    residual: FloatImage,
    samples: npt.NDArray[np.float64],
) -> Segments:
    """``outline`` (n, 9) with its 3 n control points moved by damped least squares on the offsets along it."""
    n, m = outline.shape[0], samples.shape[0]
    basis = np.empty((m, 4))
    slope = np.empty((m, 4))
    for s in range(m):
        t = samples[s]
        v = 1 - t
        basis[s, 0], basis[s, 1], basis[s, 2], basis[s, 3] = v * v * v, 3 * v * v * t, 3 * v * t * t, t * t * t
        slope[s, 0], slope[s, 1] = -3 * v * v, 3 * v * v - 6 * v * t
        slope[s, 2], slope[s, 3] = 6 * v * t - 3 * t * t, 3 * t * t
    normal, weight, wanted = np.empty((n, m, 2)), np.empty((n, m)), np.zeros((n, m))
    contrast, other = np.empty(4, np.float32), np.empty(4, np.float32)
    for i in range(n):
        for s in range(m):
            x = y = dx = dy = 0.0
            for k in range(4):
                x += basis[s, k] * outline[i, 1 + 2 * k]
                y += basis[s, k] * outline[i, 2 + 2 * k]
                dx += slope[s, k] * outline[i, 1 + 2 * k]
                dy += slope[s, k] * outline[i, 2 + 2 * k]
            length = math.hypot(dx, dy) + 1e-9
            normal[i, s, 0], normal[i, s, 1] = dy / length, -dx / length
            shows, distance = _offset(
                x, y, normal[i, s, 0], normal[i, s, 1], me, ids, paint_of, tables, residual, contrast, other
            )
            weight[i, s] = length / 3 + 0.2 if shows else HIDDEN_WEIGHT * length + 0.01
            wanted[i, s] = distance
    shift = _solve(normal, weight, wanted, basis)
    moved = outline.copy()
    for i in range(n):
        for k in range(4):
            at = (3 * i + k) % (3 * n)
            moved[i, 1 + 2 * k] += min(MOST_CONTROL, max(-MOST_CONTROL, shift[at, 0]))
            moved[i, 2 + 2 * k] += min(MOST_CONTROL, max(-MOST_CONTROL, shift[at, 1]))
        if moved[i, 0] == 1:
            for axis in range(1, 3):
                step = (moved[i, axis + 6] - moved[i, axis]) / 3
                moved[i, axis + 2], moved[i, axis + 4] = moved[i, axis] + step, moved[i, axis] + 2 * step
    return moved


@kernel
def _apply(
    x: npt.NDArray[np.float64],
    normal: npt.NDArray[np.float64],
    weight: npt.NDArray[np.float64],
    basis: npt.NDArray[np.float64],
    damping: float,
    out: npt.NDArray[np.float64],
) -> None:
    """out = (AᵀA + damping) x, where a row of A says how far control points move a sample along its normal."""
    n, m = weight.shape
    out[:] = damping * x
    for i in range(n):
        for s in range(m):
            nx, ny, w = normal[i, s, 0], normal[i, s, 1], weight[i, s]
            along = 0.0
            for k in range(4):
                at = (3 * i + k) % (3 * n)
                along += basis[s, k] * (x[at, 0] * nx + x[at, 1] * ny)
            along *= w * w
            for k in range(4):
                at = (3 * i + k) % (3 * n)
                out[at, 0] += basis[s, k] * along * nx
                out[at, 1] += basis[s, k] * along * ny


@kernel
def _solve(
    normal: npt.NDArray[np.float64],
    weight: npt.NDArray[np.float64],
    wanted: npt.NDArray[np.float64],
    basis: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """Shifts (3 n, 2) of the control points, by conjugate gradients on the normal equations."""
    n, m = weight.shape
    damping = DAMPING * max(1e-3, weight.mean() ** 2)
    x, product = np.zeros((3 * n, 2)), np.empty((3 * n, 2))
    residual = np.zeros((3 * n, 2))
    for i in range(n):
        for s in range(m):
            pull = weight[i, s] * weight[i, s] * wanted[i, s]
            for k in range(4):
                at = (3 * i + k) % (3 * n)
                residual[at, 0] += basis[s, k] * pull * normal[i, s, 0]
                residual[at, 1] += basis[s, k] * pull * normal[i, s, 1]
    direction = residual.copy()
    energy = (residual * residual).sum()
    start = energy
    for _ in range(SOLVER_ROUNDS):
        if energy <= 1e-8 * start or energy <= 1e-18:
            break
        _apply(direction, normal, weight, basis, damping, product)
        rate = energy / (direction * product).sum()
        x += rate * direction
        residual -= rate * product
        previous = energy
        energy = (residual * residual).sum()
        direction = residual + (energy / previous) * direction
    return x
