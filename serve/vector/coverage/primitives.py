"""Whole shapes: a contour that is a circle, an ellipse or a rectangle (turned, with rounded corners) within the
picture's accuracy.

A shape's six values are its centre (x, y), its half sides (a, b) or radii, its turn in radians, and the radius of its
corners. It is fitted to the visible stretches of a contour by least squares on the signed distance (Levenberg and
Marquardt with numerical derivatives and Huber's weights), so that a shape that lies partly below others is found too.
"""

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
FREE = np.array([[0, 0, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 1, 1]], np.bool_)
"""By kind, which values are fitted; a circle's second radius repeats the first."""

RMS_PX, WORST_PX = 0.16, 0.42
"""How far a shape may lie from its contour in a clean picture."""
HIDDEN_LENIENCY = 2.5
"""Factor of WORST_PX for contours that are hidden in part, which bend where others meet them."""
LEAST_BOUND, FULL_BOUND_PX = 0.6, 5.0
"""Shapes of a smaller radius have smaller bounds, down to this share."""
SAMPLED = 240
"""Most points that a fit uses."""
ROUNDS = 8
HUBER = 0.5
"""Distance in pixels from which a point counts less."""
HIDDEN_WEIGHT = 0.01
JUNCTION = 4.5
SHARP_CORNER = 1.1
"""Corners of a smaller radius, in pixels, are sharp: the pixel grid rounds every corner by about as much."""
CORNER_ZONE = 1.3
"""Points so near to a sharp corner, in pixels, do not count: the pixel grid rounds it off."""
UPRIGHT = math.radians(0.6)
"""Turns this near to a right angle are right."""
MIN_RADIUS = 1.2
SEEN_SHARE = 0.4
"""Least share of a shape's outline that has to be visible."""
SIMPLER = 1.25
SIMPLER_PX = 0.02
"""A simpler kind is taken if its RMS distance is at most this factor and these pixels more than the other's."""
ARC_HANDLE = 0.5522847498


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
def _by_moments(points: Points) -> Values:
    """The ellipse of the closed polygon's area, centre and second moments, as six values."""
    n = points.shape[0]
    x0, y0 = points[0, 0], points[0, 1]
    area = mx = my = mxx = mxy = myy = 0.0
    for i in range(n):
        j = i + 1 if i + 1 < n else 0
        ax, ay, bx, by = points[i, 0] - x0, points[i, 1] - y0, points[j, 0] - x0, points[j, 1] - y0
        w = ax * by - bx * ay
        area += w / 2
        mx += w * (ax + bx) / 6
        my += w * (ay + by) / 6
        mxx += w * (ax * ax + ax * bx + bx * bx) / 12
        myy += w * (ay * ay + ay * by + by * by) / 12
        mxy += w * (ax * by + 2 * ax * ay + 2 * bx * by + bx * ay) / 24
    p = np.zeros(6)
    if abs(area) < 1e-9:
        return p
    mx, my = mx / area, my / area
    cxx, cyy, cxy = mxx / area - mx * mx, myy / area - my * my, mxy / area - mx * my
    p[0], p[1] = mx + x0, my + y0
    p[4] = 0.5 * math.atan2(2 * cxy, cxx - cyy)
    middle, half = (cxx + cyy) / 2, math.hypot((cxx - cyy) / 2, cxy)
    p[2], p[3] = 2 * math.sqrt(max(1e-6, middle + half)), 2 * math.sqrt(max(1e-6, middle - half))
    return p


@kernel
def _by_extent(points: Points, turn: float, seen_only: bool) -> Values:
    """The rectangle of ``points`` (n, 3) at ``turn``, as six values."""
    c, s = math.cos(turn), math.sin(turn)
    low_u = low_v = 1e18
    high_u = high_v = -1e18
    for i in range(points.shape[0]):
        if seen_only and points[i, 2] != 1.0:
            continue
        u, v = c * points[i, 0] + s * points[i, 1], c * points[i, 1] - s * points[i, 0]
        low_u, high_u, low_v, high_v = min(low_u, u), max(high_u, u), min(low_v, v), max(high_v, v)
    p = np.zeros(6)
    u, v = (low_u + high_u) / 2, (low_v + high_v) / 2
    p[0], p[1] = c * u - s * v, s * u + c * v
    p[2], p[3], p[4] = max(0.6, (high_u - low_u) / 2), max(0.6, (high_v - low_v) / 2), turn
    return p


@kernel
def _tightest_turn(points: Points) -> float:
    """The turn, in steps of 3 degrees, of the smallest rectangle around ``points``."""
    best, least = 0.0, 1e18
    for i in range(30):
        p = _by_extent(points, i * math.pi / 60, False)
        if p[2] * p[3] < least * 0.999:
            best, least = i * math.pi / 60, p[2] * p[3]
    return best


@kernel
def _circle(points: Points) -> Values:
    """The circle of least algebraic distance (Kåsa) to the visible ``points`` (n, 3), as six values."""
    n = 0
    mx = my = 0.0
    for i in range(points.shape[0]):
        if points[i, 2] == 1.0:
            mx, my, n = mx + points[i, 0], my + points[i, 1], n + 1
    p = np.zeros(6)
    if n < 5:
        return p
    mx, my = mx / n, my / n
    suu = suv = svv = su = sv = sz = 0.0
    for i in range(points.shape[0]):
        if points[i, 2] == 1.0:
            u, v = points[i, 0] - mx, points[i, 1] - my
            z = u * u + v * v
            suu, suv, svv, su, sv, sz = suu + u * u, suv + u * v, svv + v * v, su + u * z, sv + v * z, sz + z
    det = suu * svv - suv * suv
    if det < 1e-9 * (suu + svv) ** 2:
        return p
    x, y = 0.5 * (su * svv - sv * suv) / det, 0.5 * (sv * suu - su * suv) / det
    p[0], p[1] = mx + x, my + y
    p[2] = p[3] = math.sqrt(max(0.0, sz / n + x * x + y * y))
    return p


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
    size = _by_extent(points, 0.0, False)
    reach = 1.0 + 0.12 * max(size[2], size[3])
    for kind in (CIRCLE, ELLIPSE, RECT):
        for attempt in range(2 if kind == RECT else 1):
            if kind == CIRCLE:
                p = _circle(points)
            elif kind == ELLIPSE:
                p = _by_moments(points) if whole else _by_extent(points, 0.0, False)
            elif attempt == 0:
                p = _by_extent(points, 0.0, False)
            else:
                p = _by_extent(points, _tightest_turn(points), False)
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
def _along(segments: Segments, samples: npt.NDArray[np.float64]) -> Points:
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


_SAMPLES = np.array([0.1, 0.3, 0.5, 0.7, 0.9])


def moved_to(primitive: Primitive, segments: Segments) -> Primitive:
    """``primitive`` moved and resized to the moved outline ``segments``; its kind, its sharp corners and an upright
    position stay."""
    free = FREE[primitive.kind].copy()
    values = primitive.values
    free[TURN] &= values[TURN] != 0
    free[CORNER] &= 0 < values[CORNER] < min(values[A], values[B])
    moved = improve(primitive.kind, values, _along(segments, _SAMPLES), free, 4)
    if primitive.kind == RECT and values[CORNER] >= min(values[A], values[B]):
        moved[CORNER] = min(moved[A], moved[B])
    return Primitive(primitive.kind, moved)


def find_primitive(contour: Points, noise: float) -> Primitive | None:
    """The shape that ``contour`` (n, 3) is, or None. The third column is 1 where the contour is visible; ``noise``
    multiplies the bounds RMS_PX and WORST_PX."""
    kind, values = find_whole(contour, noise, FREE)
    return Primitive(kind, values) if kind != NONE else None


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
    return _along(primitive.to_segments(), _FINE)[:, :2]


_FINE = np.arange(0, 1, 1 / 12)
SAME_CENTRE_PX = 0.6
SAME_WIDTH_PX = 0.6


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
