"""Lines moved as a whole: the control points of all their segments at once, by least squares on normal distances."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from serve.vector.coverage.curves import Segments
from serve.vector.coverage.kernel import kernel

Floats = npt.NDArray[np.float64]

SAMPLES = np.array([0.03, 0.12, 0.25, 0.38, 0.5, 0.62, 0.75, 0.88, 0.97])
"""The parameters at which a segment is compared."""
_REST = 1 - SAMPLES
BASIS = np.stack([_REST**3, 3 * _REST**2 * SAMPLES, 3 * _REST * SAMPLES**2, SAMPLES**3], axis=1)
SLOPE = np.stack(
    [-3 * _REST**2, 3 * _REST**2 - 6 * _REST * SAMPLES, 6 * _REST * SAMPLES - 3 * SAMPLES**2, 3 * SAMPLES**2], axis=1
)
DAMPING, STIFFNESS = 0.004, 1.0
"""Weights of no movement and of smooth joints, over that of the distances."""
HOLD = 1e3
SMOOTH = math.cos(math.radians(12))
"""Cosine of the turn up to which segments go on smoothly in each other."""
MOST_CONTROL = 0.8
"""Most that a control point moves at once, in pixels."""
LEVEL = 1e-6


def shifts(
    line: Segments,
    normals: Floats,
    wanted: Floats,
    weights: Floats,
    *,
    closed: bool,
    held: Sequence[tuple[int, Floats, float]] = (),
) -> Floats:
    """The shifts (3 n + 1, 2) of the control points of ``line`` (n, 9), of a closed one (3 n, 2), by least squares.

    At the parameters SAMPLES of each segment the line should move by ``wanted`` (n, m) along ``normals`` (n, m, 2),
    which has ``weights`` (n, m). Where segments go on smoothly in each other they do so after it. ``held``: control
    points that move in a direction by so much.
    """
    rows = [(i, *direction, move) for i, direction, move in held]
    line, normals, wanted, weights = (np.ascontiguousarray(one) for one in (line, normals, wanted, weights))
    return _shifts(line, normals, wanted, weights, BASIS, closed, np.array(rows, np.float64).reshape(-1, 4))


@kernel
def _shifts(
    line: Segments, normals: Floats, wanted: Floats, weights: Floats, basis: Floats, closed: bool, held: Floats
) -> Floats:
    n, m = wanted.shape
    count = 3 * n if closed else 3 * n + 1
    normal, pull = np.zeros((2 * count, 2 * count)), np.zeros(2 * count)
    row, place = np.empty(8), np.empty(8, np.int64)
    scale = 0.0
    for i in range(n):
        for k in range(8):
            place[k] = 2 * ((3 * i + k // 2) % count) + k % 2
        for s in range(m):
            if weights[i, s] <= 0:
                continue
            for k in range(8):
                row[k] = basis[s, k // 2] * normals[i, s, k % 2]
                scale += weights[i, s] * row[k] * row[k]
            _add(normal, pull, place, row, 8, weights[i, s], wanted[i, s])
    scale /= count
    for i in range(n if closed else n - 1):
        j = (i + 1) % n
        ix, iy = line[i, 7] - line[i, 5], line[i, 8] - line[i, 6]
        ox, oy = line[j, 3] - line[i, 7], line[j, 4] - line[i, 8]
        a, b = math.hypot(ix, iy), math.hypot(ox, oy)
        if min(a, b) < 1e-6 or (ix * ox + iy * oy) / (a * b) < SMOOTH:
            continue
        ax, ay = iy / a + oy / b, -ix / a - ox / b
        length = math.hypot(ax, ay)
        ax, ay = ax / length, ay / length
        least = min(a, b)
        for k in range(3):
            share = (-1 / a, 1 / a + 1 / b, -1 / b)[k] * least
            row[2 * k], row[2 * k + 1] = share * ax, share * ay
            at = (3 * i + 2 + k) % count
            place[2 * k], place[2 * k + 1] = 2 * at, 2 * at + 1
        turn = ((ox / b - ix / a) * ax + (oy / b - iy / a) * ay) * least
        _add(normal, pull, place, row, 6, STIFFNESS * scale, turn)
    for h in range(held.shape[0]):
        at = int(held[h, 0])
        place[0], place[1], row[0], row[1] = 2 * at, 2 * at + 1, held[h, 1], held[h, 2]
        _add(normal, pull, place, row, 2, HOLD * (scale + 1), held[h, 3])
    for i in range(2 * count):
        normal[i, i] += DAMPING * scale + 1e-9
    _solve(normal, pull)
    return np.minimum(MOST_CONTROL, np.maximum(-MOST_CONTROL, pull)).reshape(count, 2)


@kernel
def _add(
    normal: Floats, pull: Floats, place: npt.NDArray[np.int64], row: Floats, size: int, weight: float, wanted: float
) -> None:
    """Add to the normal equations that ``row`` times the unknowns at ``place`` should be ``wanted``."""
    for p in range(size):
        pull[place[p]] += weight * row[p] * wanted
        for q in range(size):
            normal[place[p], place[q]] += weight * row[p] * row[q]


@kernel
def _solve(matrix: Floats, right: Floats) -> None:
    """``right`` becomes the solution of the positive definite ``matrix``, which is overwritten: Cholesky's factors
    within the envelope of its rows."""
    n = matrix.shape[0]
    first = np.empty(n, np.int64)
    for i in range(n):
        first[i] = i
        for j in range(i):
            if matrix[i, j] != 0:
                first[i] = j
                break
        for j in range(first[i], i + 1):
            total = matrix[i, j]
            for k in range(max(first[i], first[j]), j):
                total -= matrix[i, k] * matrix[j, k]
            matrix[i, j] = math.sqrt(max(total, 1e-18)) if i == j else total / matrix[j, j]
    for i in range(n):
        for k in range(first[i], i):
            right[i] -= matrix[i, k] * right[k]
        right[i] /= matrix[i, i]
    for i in range(n - 1, -1, -1):
        right[i] /= matrix[i, i]
        for k in range(first[i], i):
            right[k] -= matrix[i, k] * right[i]


def shifted(line: Segments, shift: Floats) -> Segments:
    """``line`` with its control points moved by ``shift``; lines stay lines, and level ones level."""
    moved = line.copy()
    n = len(line)
    for i in range(n):
        for k in range(4):
            moved[i, 1 + 2 * k : 3 + 2 * k] += shift[(3 * i + k) % len(shift)]
    for i in np.flatnonzero(line[:, 0] == 1):
        for axis in (1, 2):  # what is level stays level
            if abs(line[i, axis] - line[i, axis + 6]) < LEVEL:
                moved[i, axis] = moved[i, axis + 6] = (moved[i, axis] + moved[i, axis + 6]) / 2
                if i > 0:
                    moved[i - 1, axis + 6] = moved[i, axis]
                if i + 1 < n:
                    moved[i + 1, axis] = moved[i, axis + 6]
    for i in np.flatnonzero(line[:, 0] == 1):
        start, end = moved[i, 1:3].copy(), moved[i, 7:].copy()
        moved[i, 3:5], moved[i, 5:7] = start + (end - start) / 3, start + (end - start) * 2 / 3
    return moved


def settled(line: Segments, points: Floats, *, closed: bool, rounds: int) -> Segments:
    """``line`` (n, 9) moved nearer to ``points`` (k, 2) along it; the ends of an open one stay."""
    ends = () if closed else (0, 3 * len(line))
    held = [(i, direction, 0.0) for i in ends for direction in np.eye(2)]
    ring = np.concatenate([points, points[:1]]) if closed else points
    starts, steps = ring[:-1], np.diff(ring, axis=0)
    long = np.maximum(1e-12, np.square(steps).sum(axis=1))
    for _ in range(rounds):
        controls = line[:, 1:].reshape(-1, 4, 2)
        at = np.einsum("sk,nkc->nsc", BASIS, controls)
        slope = np.einsum("sk,nkc->nsc", SLOPE, controls)
        normals = np.stack([slope[..., 1], -slope[..., 0]], axis=2)
        length = np.maximum(1e-9, np.hypot(slope[..., 0], slope[..., 1]))
        normals /= length[..., None]
        flat = at.reshape(-1, 2)
        share = (((flat[:, None] - starts) * steps).sum(axis=2) / long).clip(0, 1)
        feet = starts + share[..., None] * steps
        apart = np.square(flat[:, None] - feet).sum(axis=2)
        nearest = feet[np.arange(len(flat)), apart.argmin(axis=1)].reshape(at.shape)
        wanted = ((nearest - at) * normals).sum(axis=2)
        line = shifted(line, shifts(line, normals, wanted, length, closed=closed, held=held))
    return line
