"""Which primitive a contour is, if any, and whether two are the edges of one stroke."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from serve.vector.coverage.kernel import kernel
from serve.vector.coverage.primitives.least_squares import FREE, SHARP_CORNER, improve, misfit
from serve.vector.coverage.primitives.primitive import (
    CIRCLE,
    CORNER,
    CX,
    CY,
    ELLIPSE,
    NONE,
    RECT,
    TURN,
    A,
    B,
    Points,
    Primitive,
    Values,
)
from serve.vector.coverage.primitives.starting_values import by_extent, by_moments, nearest_circle, tightest_turn

RMS_PX, WORST_PX = 0.16, 0.42
"""How far a shape may lie from its contour in a clean picture."""
HIDDEN_LENIENCY = 2.5
"""Factor of WORST_PX for contours that are hidden in part, which bend where others meet them."""
LEAST_BOUND, FULL_BOUND_PX = 0.6, 5.0
"""Shapes of a smaller radius have smaller bounds, down to this share."""
SAMPLED = 240
"""Most points that a fit uses."""
ROUNDS = 8
HIDDEN_WEIGHT = 0.01
JUNCTION = 4.5
UPRIGHT = math.radians(0.6)
"""Turns this near to a right angle are right."""
MIN_RADIUS = 1.2
SEEN_SHARE = 0.4
"""Least share of a shape's outline that has to be visible."""
SIMPLER = 1.25
SIMPLER_PX = 0.02
"""A simpler kind is taken if its RMS distance is at most this factor and these pixels more than the other's."""
SAME_CENTRE_PX = 0.6
SAME_WIDTH_PX = 0.6


@kernel
def _sampled(points: Points, most: int) -> Points:
    """At most ``most`` of ``points`` (n, 3), evenly spread, with the weights of a fit."""
    n = points.shape[0]
    m = min(n, most)
    out = np.empty((m, 3))
    for i in range(m):
        j = i * n // m
        out[i, 0], out[i, 1] = points[j, 0], points[j, 1]
        out[i, 2] = 1.0 if points[j, 2] == 1.0 else HIDDEN_WEIGHT
    return out


@kernel
def _seen_share(points: Points, p: Values, kind: int) -> float:
    """Length of the visible stretches over the length of the outline."""
    length, n = 0.0, points.shape[0]
    for i in range(n):
        j = i + 1 if i + 1 < n else 0
        if points[i, 2] == 1.0 and points[j, 2] == 1.0:
            length += math.hypot(points[j, 0] - points[i, 0], points[j, 1] - points[i, 1])
    if kind == RECT:
        whole = 4 * (p[2] + p[3]) - (8 - 2 * math.pi) * p[5]
    else:
        whole = math.pi * (3 * (p[2] + p[3]) - math.sqrt((3 * p[2] + p[3]) * (p[2] + 3 * p[3])))
    share: float = length / max(whole, 1e-9)
    return share


@kernel
def _upright(p: Values, fit: Points, free: npt.NDArray[np.bool_], kind: int) -> Values:
    """``p`` with its turn within ±45°; one that is nearly none becomes none."""
    turn = p[4]
    while turn > math.pi / 4:
        turn -= math.pi / 2
        p[2], p[3] = p[3], p[2]
    while turn <= -math.pi / 4:
        turn += math.pi / 2
        p[2], p[3] = p[3], p[2]
    p[4] = turn
    slip = abs(math.sin(turn)) * max(p[2], p[3])
    if abs(turn) < UPRIGHT or slip < 0.3:
        p[4] = 0.0
        still = free.copy()
        still[4] = False
        return improve(kind, p, fit, still, 4)
    return p


@kernel
def _apart(points: Points) -> Points:
    """``points`` (n, 3), those hidden too that lie within JUNCTION of arc of a hidden one: there the contour bends
    towards the shape that hides it."""
    n = points.shape[0]
    out = points.copy()
    for i in range(n):
        if points[i, 2] == 1.0:
            continue
        for step in (1, -1):
            arc, j = 0.0, i
            while True:
                k = (j + step) % n
                arc += math.hypot(points[k, 0] - points[j, 0], points[k, 1] - points[j, 1])
                j = k
                if arc > JUNCTION or points[k, 2] != 1.0:
                    break
                out[k, 2] = HIDDEN_WEIGHT
    return out


@kernel
def find_whole(points: Points, noise: float, free: npt.NDArray[np.bool_]) -> tuple[int, Values]:
    """The simplest kind of shape that the contour ``points`` (n, 3) is, within the bounds times ``noise``; NONE if
    none."""
    best, chosen = np.zeros(6), NONE
    if points.shape[0] < 8:
        return chosen, best
    points = _apart(points)
    fit = _sampled(points, SAMPLED)
    seen = 0
    for i in range(points.shape[0]):
        seen += points[i, 2] == 1.0
    whole = seen > 0.95 * points.shape[0]
    least = 99.0
    size = by_extent(points, 0.0, False)
    reach = 1.0 + 0.12 * max(size[2], size[3])
    for kind in (CIRCLE, ELLIPSE, RECT):
        for attempt in range(2 if kind == RECT else 1):
            if kind == CIRCLE:
                p = nearest_circle(points)
            elif kind == ELLIPSE:
                p = by_moments(points) if whole else by_extent(points, 0.0, False)
            elif attempt == 0:
                p = by_extent(points, 0.0, False)
            else:
                p = by_extent(points, tightest_turn(points), False)
            if min(p[2], p[3]) < 0.6 or max(p[2], p[3]) > 4 * max(size[2], size[3]):
                continue
            if kind == RECT:
                p[5] = min(0.3 * min(p[2], p[3]), 20.0)
            if misfit(kind, p, fit)[0] > reach:
                continue
            p = improve(kind, p, fit, free[kind], ROUNDS)
            if kind != CIRCLE:
                p = _upright(p, fit, free[kind], kind)
            if kind == RECT and p[5] < SHARP_CORNER * noise:
                p[5] = 0.0
                sharp = free[kind].copy()
                sharp[5] = False
                sharp[4] = p[4] != 0
                p = improve(kind, p, fit, sharp, 4)
            elif kind == RECT and min(p[2], p[3]) - p[5] < 0.6:
                p[5] = min(p[2], p[3])
            rms, worst = misfit(kind, p, points)
            bound = noise * min(1.0, max(LEAST_BOUND, min(p[2], p[3]) / FULL_BOUND_PX))
            worst_bound = WORST_PX * bound * (1.0 if whole else HIDDEN_LENIENCY)
            if rms > RMS_PX * bound or worst > worst_bound or min(p[2], p[3]) < MIN_RADIUS:
                continue
            if _seen_share(points, p, kind) < SEEN_SHARE:
                continue
            if chosen == NONE or rms * SIMPLER + SIMPLER_PX < least:
                chosen, least = kind, rms
                best[:] = p
    return chosen, best


def find_primitive(contour: Points, noise: float) -> Primitive | None:
    """The shape that ``contour`` (n, 3) is, or None. The third column is 1 where the contour is visible; ``noise``
    multiplies the bounds RMS_PX and WORST_PX."""
    kind, values = find_whole(contour, noise, FREE)
    return Primitive(kind, values) if kind != NONE else None


def stroke_width(outer: Primitive, inner: Primitive) -> float | None:
    """Width of the stroke whose two edges these are, or None if they are not of one stroke."""
    p, q = outer.values, inner.values
    if outer.kind != inner.kind or math.hypot(p[CX] - q[CX], p[CY] - q[CY]) > SAME_CENTRE_PX:
        return None
    along, across = float(p[A] - q[A]), float(p[B] - q[B])
    width = (along + across) / 2
    if width <= 0 or abs(along - across) > SAME_WIDTH_PX or abs(math.sin(2 * (p[TURN] - q[TURN]))) * p[A] > 1:
        return None
    if outer.kind == ELLIPSE and width > 0.25 * min(p[A], p[B]):
        return None  # a wide stroke's edges are no ellipses
    if outer.kind == RECT:
        if 0 < p[CORNER] <= width / 2:
            return None  # a stroke rounds its outer corners by half its width at least
        if abs(max(0.0, float(p[CORNER]) - width) - q[CORNER]) > 2 * SAME_WIDTH_PX + 0.1 * width:
            return None
    return width
