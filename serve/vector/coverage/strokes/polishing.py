"""Strokes moved to where the picture has them: what the rendering lacks or has too much of at both sides of a stroke
says how far its centre line lies off, and how much too narrow or wide it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from serve.vector.compare import render
from serve.vector.coverage.curves import Segments
from serve.vector.coverage.flat import FloatImage, premultiply
from serve.vector.coverage.kernel import kernel
from serve.vector.coverage.paints import SOLID, PaintTable
from serve.vector.coverage.refine import MIN_CONTRAST, residual_along
from serve.vector.coverage.strokes.adjusting import BASIS, SLOPE, shifted, shifts
from serve.vector.coverage.text import Stroke
from serve.vector.coverage.writer import Shape, to_svg

ROUNDS = 2
BESIDE = 1.4
"""How far outside a stroke's side the colour beside it is read, in pixels."""
MOST = 0.5
"""Most that a side is moved in a round, in pixels."""
DECIMALS = 3
Floats = npt.NDArray[np.float64]
Colour = npt.NDArray[np.float32]


def polished(shapes: Sequence[Shape], paints: PaintTable, target: FloatImage) -> list[Shape]:
    """``shapes`` with their strokes of flat colour moved towards ``target`` (H, W, 4), premultiplied; of several rounds
    the best of each."""
    result, current = list(shapes), list(shapes)
    own = {
        i: shape.stroke
        for i, shape in enumerate(shapes)
        if shape.stroke is not None and paints.kind[shape.paint] == SOLID
    }
    least = dict.fromkeys(own, math.inf)
    height, width = target.shape[:2]
    for round_ in range(ROUNDS + 1 if own else 0):
        drawn = render(to_svg(current, paints, (width, height), (width, height), DECIMALS), width, height)
        residual = np.ascontiguousarray(premultiply(drawn) - target)
        for i, stroke in own.items():
            error = float(np.square(residual[_box(stroke, width, height)]).sum())
            if error < least[i]:
                least[i], result[i] = error, current[i]
            if round_ < ROUNDS:
                own[i] = _moved(stroke, paints.colors[current[i].paint, 0], residual, target)
                current[i] = replace(current[i], stroke=own[i])
    return result


def _box(stroke: Stroke, width: int, height: int) -> tuple[slice, slice]:
    """The part of a picture that ``stroke`` covers, with its control points."""
    points = np.concatenate([line[:, 1:].reshape(-1, 2) for line in stroke.lines])
    reach = stroke.width + 2
    left, top = np.maximum(0, np.floor(points.min(axis=0) - reach)).astype(int)
    right, bottom = np.ceil(points.max(axis=0) + reach).astype(int)
    return slice(top, min(height, bottom)), slice(left, min(width, right))


def _moved(stroke: Stroke, colour: Colour, residual: FloatImage, target: FloatImage) -> Stroke:
    lines, wider, weight = [], 0.0, 0.0
    for line, closed in zip(stroke.lines, stroke.closed, strict=True):
        found = _offsets(np.ascontiguousarray(line), BASIS, SLOPE, stroke.width, colour, residual, target)
        wider, weight = wider + float((found[..., 4] * found[..., 2]).sum()), weight + float(found[..., 4].sum())
        held = []
        if not closed:
            reach = 0.0 if stroke.cap == "butt" else stroke.width / 2
            for at, controls in ((0, line[0, 1:].reshape(4, 2)), (3 * len(line), line[-1, 1:].reshape(4, 2)[::-1])):
                direction, move = _tip(controls, reach, stroke.width, colour, residual, target)
                held.append((at, direction, move))
        shift = shifts(line, found[..., :2], found[..., 3], found[..., 4], closed=closed, held=held)
        lines.append(shifted(line, shift))
    width = stroke.width + (0.8 * wider / weight if weight > 0 else 0.0)
    return replace(stroke, lines=tuple(lines), width=max(0.5, width))


def _tip(
    points: Floats, reach: float, width: float, colour: Colour, residual: FloatImage, target: FloatImage
) -> tuple[Floats, float]:
    """The direction in which a line through ``points`` (4, 2) ends at the first of them, and how far this is to move
    along it; its cap reaches ``reach`` beyond it."""
    ahead = points[0] - points[1:]
    far = np.hypot(*ahead.T)
    direction = ahead[int((far > 0.1).argmax())] / max(1e-9, float(far[int((far > 0.1).argmax())]))
    contrast = np.empty(4, np.float32)
    moves = []
    for beside in (-0.25, 0.0, 0.25) if reach == 0 else (0.0,):
        x, y = points[0] + beside * width * np.array([direction[1], -direction[0]])
        shows, move = _side(x, y, direction[0], direction[1], 2 * reach, colour, residual, target, contrast)
        if shows:
            moves.append(move)
    return np.asarray(direction), float(np.mean(moves)) if moves else 0.0


@kernel
def _offsets(
    line: Segments,
    basis: Floats,
    slope: Floats,
    width: float,
    colour: Colour,
    residual: FloatImage,
    target: FloatImage,
) -> Floats:
    """At m samples of each segment of ``line`` (n, 9): the normal's x and y, the change in width and the shift along
    the normal that the picture asks for, and the weight of these; shape (n, m, 5)."""
    n, m = line.shape[0], basis.shape[0]
    out = np.zeros((n, m, 5))
    contrast = np.empty(4, np.float32)
    for i in range(n):
        for s in range(m):
            x = y = dx = dy = 0.0
            for k in range(4):
                x += basis[s, k] * line[i, 1 + 2 * k]
                y += basis[s, k] * line[i, 2 + 2 * k]
                dx += slope[s, k] * line[i, 1 + 2 * k]
                dy += slope[s, k] * line[i, 2 + 2 * k]
            length = math.hypot(dx, dy) + 1e-9
            nx, ny = dy / length, -dx / length
            left, one = _side(x, y, nx, ny, width, colour, residual, target, contrast)
            right, other = _side(x, y, -nx, -ny, width, colour, residual, target, contrast)
            out[i, s, 0], out[i, s, 1] = nx, ny
            if left and right:
                out[i, s, 2], out[i, s, 3], out[i, s, 4] = one + other, (one - other) / 2, length
    return out


@kernel
def _side(
    x: float,
    y: float,
    nx: float,
    ny: float,
    width: float,
    colour: Colour,
    residual: FloatImage,
    target: FloatImage,
    contrast: Colour,
) -> tuple[bool, float]:
    """Whether the side of the stroke in direction (nx, ny) shows, and how far outwards it is to move."""
    ex, ey = x + nx * width / 2, y + ny * width / 2
    rows, columns = target.shape[:2]
    row, column = int(ey + BESIDE * ny), int(ex + BESIDE * nx)
    if row < 0 or column < 0 or row >= rows or column >= columns:
        return False, 0.0
    norm = 0.0
    for c in range(4):
        contrast[c] = colour[c] - target[row, column, c]
        norm += contrast[c] * contrast[c]
    if norm < MIN_CONTRAST:
        return False, 0.0
    total = 0.0
    for o in range(-1, 2):
        total += residual_along(residual, ex + o * nx, ey + o * ny, contrast)
    return True, min(MOST, max(-MOST, -total / norm))
