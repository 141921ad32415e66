"""Broken strokes of constant width: outlines whose two sides are parallel, as a centre line of lines with a width.

The ends of a stroke are where its outline turns back. Between them each point of one side has a nearest one on the
other, and where these are a width apart, the middle between them is a point of the centre line. What lies between two
stretches of such points is a corner.
"""

from __future__ import annotations

import math
from collections.abc import Container, Sequence
from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt

from serve.vector.compare import render
from serve.vector.coverage.curves import Segments
from serve.vector.coverage.ordering.repeats import Place, free, spread
from serve.vector.coverage.primitives import RMS_PX
from serve.vector.coverage.refine import flatten
from serve.vector.coverage.text import Stroke, number, outline_data
from serve.vector.coverage.writer import NAMESPACE, Shape

NOISY = 1.4
MIN_WIDTH_PX, MIN_LENGTH = 1.5, 2.5
"""The least width, and the least length in widths."""
TURNS_BACK = 0.85 * math.pi
WINDOW = 1.7
"""Length of outline, in widths, within which an end turns back."""
SKIP = {"butt": 0.6, "round": 0.85}
"""By cap, how far from an end its sides begin, in widths."""
MIN_STRAIGHT = 0.65
"""Least share of an outline that is lines: the rest are caps and round joins."""
STRAIGHT_PX = 0.2
WORST_PX = 0.75
"""No part of the two areas may differ by a patch of this size."""
MOST_POINTS, MOST_TRIED = 800, 6
OWN_BYTES = 34
"""About what the element and the paint of a stroke take that was a part of a path."""
Floats = npt.NDArray[np.float64]


def find_strokes(
    shapes: Sequence[Shape], taken: Container[Place], decimals: int, spare: int, *, noisy: bool
) -> dict[Place, Stroke]:
    """The strokes among the outlines of ``shapes`` that are shorter as such and not ``taken``; of compound shapes up to
    ``spare``."""
    found: dict[Place, Stroke] = {}
    tried = 0
    for i, shape in enumerate(shapes):
        alone: list[bool] = []
        for j, outline in enumerate(shape.outlines):
            if shape.wholes[j] is not None or (i, j) in taken or not _may_be(outline) or tried == MOST_TRIED:
                continue
            alone = alone or free([flatten(one, 10) for one in shape.outlines])
            if not alone[j] or (spare <= 0 and len(shape.outlines) > 1):
                continue
            tried += 1
            stroke = find_stroke(outline, noisy=noisy)
            if stroke is None:
                continue
            text = len(stroke.attributes(decimals)) + len(stroke.data(decimals)) + OWN_BYTES * (len(shape.outlines) > 1)
            if text <= len(outline_data(outline, decimals)):
                found[i, j] = stroke
                spare -= len(shape.outlines) > 1
    return found


def _may_be(outline: Segments) -> bool:
    """Whether the outline through the control points covers little for its length, and most of it is straight."""
    points = outline[:, 1:].reshape(-1, 4, 2)[:, :3].reshape(-1, 2)
    step = np.roll(points, -1, axis=0) - points
    area = abs((points[:, 0] * step[:, 1] - points[:, 1] * step[:, 0]).sum()) / 2
    steps = np.hypot(*step.T)
    length, straight = float(steps.sum()), float(steps.reshape(-1, 3)[outline[:, 0] == 1].sum())
    if straight < MIN_STRAIGHT * length:
        return False
    return bool(area * 4 * (1 + MIN_LENGTH) ** 2 < length * length * MIN_LENGTH * 1.3)


def find_stroke(outline: Segments, *, noisy: bool) -> Stroke | None:
    """The stroke that fills ``outline``, or None."""
    polygon = flatten(outline, 16)
    area = cv2.contourArea(polygon.astype(np.float32), True)
    length = cv2.arcLength(polygon.astype(np.float32), True)
    root = length * length / 4 - 4 * abs(area)
    width = (length / 2 - math.sqrt(root)) / 2 if root > 0 else 0.0
    if width < MIN_WIDTH_PX or length / 2 - width < MIN_LENGTH * width:
        return None
    if area > 0:
        polygon = polygon[::-1]
    step = max(0.5, width / 10, length / MOST_POINTS)
    points = spread(polygon, int(length / step))
    ends = _ends(points, width, step)
    if ends is None:
        return None
    noise = NOISY if noisy else 1.0
    shown: _Area | None = None
    best, least = None, 0.8 * RMS_PX * noise
    for cap in ("round", "butt"):
        found = _centre_line(points, ends, width, step, cap, noise)
        if found is None:
            continue
        line, wide = found
        joins = ("round", "miter", "bevel") if len(line) > 1 else ("miter",)
        for join in joins:
            stroke = Stroke(line, wide, cap, join)
            shown = shown or _Area(outline, polygon, length)
            apart = shown.difference(stroke)
            if apart < least:
                best, least = stroke, apart
    return best


def _ends(points: Floats, width: float, step: float) -> tuple[int, int] | None:
    """The indices at which the closed, anticlockwise ``points`` turn back, if there are two."""
    directions = np.roll(points, -1, axis=0) - points
    angles = np.arctan2(directions[:, 1], directions[:, 0])
    turns = -((np.diff(angles, prepend=angles[-1]) + math.pi) % math.tau - math.pi)
    n, k = len(points), max(3, round((WINDOW * width + 1) / step))
    if 3 * k > n:
        return None
    total = np.concatenate([[0.0], np.concatenate([turns, turns[:k]]).cumsum()])
    window = total[k : k + n] - total[:n]  # of points i to i + k
    if turns.sum() < 0:
        window = -window
    high = window >= TURNS_BACK
    if high.all() or not high.any():
        return None
    first = int(np.flatnonzero(~high)[0])
    turned = np.roll(high, -first)
    starts = np.flatnonzero(turned & ~np.roll(turned, 1))
    stops = np.flatnonzero(turned & ~np.roll(turned, -1))
    if len(starts) != 2:
        return None
    middles = [int((a + b) / 2 + k / 2 + first) % n for a, b in zip(starts, stops, strict=True)]
    return min(middles), max(middles)


def _centre_line(
    points: Floats, ends: tuple[int, int], width: float, step: float, cap: str, noise: float
) -> tuple[Segments, float] | None:
    """The line (n, 9) and the width."""
    n, skip = len(points), round(SKIP[cap] * width / step)
    one = points[ends[0] + skip : ends[1] - skip]
    other = np.roll(points, -ends[1], axis=0)[skip : n - (ends[1] - ends[0]) - skip]
    if min(len(one), len(other)) < 4:
        return None
    apart = np.hypot(one[:, None, 0] - other[None, :, 0], one[:, None, 1] - other[None, :, 1])
    across, back = apart.argmin(axis=1), apart.argmin(axis=0)
    distances = np.concatenate([apart.min(axis=1), apart.min(axis=0)])
    wide = float(np.median(distances))
    middles = np.concatenate([one + other[across], other + one[back]]) / 2
    along = np.concatenate(
        [np.arange(len(one)) + len(other) - 1 - across, back + len(other) - 1 - np.arange(len(other))]
    )
    good = abs(distances - wide) < 0.08 * wide + 0.3 * noise
    if good.mean() < 0.6:
        return None
    bins = along[good] // 4
    count = np.bincount(bins)
    sums = np.stack([np.bincount(bins, middles[good, axis]) for axis in (0, 1)], axis=1)
    line = sums[count > 0] / count[count > 0][:, None]
    if len(line) < 3:
        return None
    gaps = np.flatnonzero(np.hypot(*np.diff(line, axis=0).T) > max(1.2, 0.15 * wide, 4 * step)) + 1
    pieces = [piece for piece in np.split(line, gaps) if len(piece) > 1]
    segments = _joined(pieces, points, wide, cap, noise)
    return (segments, wide) if segments is not None else None


def _joined(pieces: list[Floats], points: Floats, width: float, cap: str, noise: float) -> Segments | None:
    """The straight ``pieces`` of a centre line up to the ends of the outline ``points``, joined where they meet."""
    if not pieces or not all(_is_straight(piece, noise) for piece in pieces):
        return None
    lines = [_ray(piece) for piece in pieces]
    corners = [_tip(points, *lines[0][0], width, cap)]
    for (_, before), (after, _) in pairwise(lines):
        corner = _crossing(*before, *after)
        if corner is None or np.hypot(*(corner - before[0])) > 1.5 * width + 3:
            return None
        corners.append(corner)
    corners.append(_tip(points, *lines[-1][1], width, cap))
    starts, ends = np.array(corners[:-1]), np.array(corners[1:])
    steps = [starts + (ends - starts) * share / 3 for share in range(4)]
    return np.asarray(np.concatenate([np.ones((len(starts), 1)), *steps], axis=1))


def _is_straight(piece: Floats, noise: float) -> bool:
    centre = piece.mean(axis=0)
    _, _, axes = np.linalg.svd(piece - centre, full_matrices=False)
    return bool(abs((piece - centre) @ axes[1]).max() < STRAIGHT_PX * noise)


def _ray(piece: Floats) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
    """A point and an outward direction at the first and at the last end of the straight ``piece`` (n, 2)."""
    centre = piece.mean(axis=0)
    _, _, axes = np.linalg.svd(piece - centre, full_matrices=False)
    back = axes[0] if axes[0] @ (piece[0] - piece[-1]) > 0 else -axes[0]
    first, last = (centre + back * ((end - centre) @ back) for end in (piece[0], piece[-1]))
    return (first, back), (last, -back)


def _tip(points: Floats, at: Floats, direction: Floats, width: float, cap: str) -> Floats:
    """Where the centre line ends that leaves ``at`` for the end of the outline."""
    offset = points - at
    near = offset[(np.hypot(*offset.T) < 1.6 * width) & (offset @ direction > 0)]
    far = float((near @ direction).max()) if len(near) else 0.0
    return np.asarray(at + direction * (far - (width / 2 if cap == "round" else 0.0)))


def _crossing(a: Floats, u: Floats, b: Floats, v: Floats) -> Floats | None:
    det = u[0] * v[1] - u[1] * v[0]
    if abs(det) < 0.05:
        return np.asarray((a + b) / 2) if u @ v < 0 else None
    return np.asarray(a + u * (((b - a)[0] * v[1] - (b - a)[1] * v[0]) / det))


class _Area:
    """What an outline covers, rendered once."""

    def __init__(self, outline: Segments, polygon: Floats, length: float) -> None:
        low, high = polygon.min(axis=0) - 3, polygon.max(axis=0) + 3
        side = high - low
        self._scale = min(3.0, 384 / float(side.max()))
        self._size = [max(1, round(float(one) * self._scale)) for one in side]
        box = " ".join(number(float(one), 2) for one in (*low, *side))
        self._head = f'<svg xmlns="{NAMESPACE}" viewBox="{box}">'
        self._length = length
        self._filled = self._drawn(f'<path d="{outline_data(outline, 2)}"/>')

    def _drawn(self, body: str) -> npt.NDArray[np.uint8]:
        return render(f"{self._head}{body}</svg>", *self._size)[..., 3]

    def difference(self, stroke: Stroke) -> float:
        """Mean distance in pixels to what ``stroke`` covers; infinite with a patch of WORST_PX."""
        drawn = self._drawn(f'<path stroke="#000" {stroke.attributes(2)} d="{stroke.data(2)}"/>')
        difference = cv2.absdiff(self._filled, drawn)
        thick = max(2, math.ceil(WORST_PX * self._scale))
        if (cv2.erode(difference, np.ones((thick, thick), np.uint8)) > 128).any():
            return math.inf
        return float(difference.sum()) / 255 / self._scale**2 / self._length
