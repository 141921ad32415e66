"""Contours of a restricted kind of curves: lines, circular arcs or quadratic Béziers in place of cubic ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping

from fontTools.cu2qu import curve_to_quadratic

from serve.vector.drawing import Contour, Point, Step

TOLERANCE_PX = 0.08
"""Distance between a cubic Bézier and what takes its place."""
_MAX_LINES = 256
_MAX_SPLITS = 6
_SAMPLES = (0.15, 0.3, 0.45, 0.6, 0.75, 0.9)
Cubic = tuple[Point, Point, Point, Point]


def of_kind(contour: Contour, kind: str) -> Contour:
    """``contour`` with its cubics replaced by ``kind``: lines, arcs or quadratic."""
    steps: list[Step] = []
    start = contour.start
    for name, points in contour.steps:
        if name == "curve":
            steps += _REPLACEMENTS[kind]((start, *points))  # type: ignore[arg-type]
        else:
            steps.append((name, points))
        start = points[-1]
    return Contour(contour.start, steps, contour.closed)


def _lines(cubic: Cubic) -> Iterator[Step]:
    bend = max(_bend(*cubic[:3]), _bend(*cubic[1:]))
    count = min(_MAX_LINES, max(1, math.ceil(math.sqrt(0.75 * bend / TOLERANCE_PX))))
    for i in range(1, count + 1):
        yield "line", (_at(cubic, i / count),)


def _bend(a: Point, b: Point, c: Point) -> float:
    return math.hypot(a[0] - 2 * b[0] + c[0], a[1] - 2 * b[1] + c[1])


def _at(cubic: Cubic, t: float) -> Point:
    v = 1 - t
    weights = (v * v * v, 3 * v * v * t, 3 * v * t * t, t * t * t)
    x, y = (sum(weight * point[axis] for weight, point in zip(weights, cubic, strict=True)) for axis in (0, 1))
    return x, y


def _quadratics(cubic: Cubic) -> Iterator[Step]:
    spline = curve_to_quadratic(cubic, TOLERANCE_PX)
    controls = spline[1:-1]
    for i, control in enumerate(controls):
        last = i == len(controls) - 1
        end = spline[-1] if last else _middle(control, controls[i + 1])
        yield "quadratic", (control, end)


def _middle(a: Point, b: Point) -> Point:
    return (a[0] + b[0]) / 2, (a[1] + b[1]) / 2


def _arcs(cubic: Cubic, depth: int = 0) -> Iterator[Step]:
    """An arc through the ends and the middle, or of each half the same; nearly straight ones are lines."""
    start, middle, end = cubic[0], _at(cubic, 0.5), cubic[3]
    circle = _circle(start, middle, end)
    if circle is None:
        error = max(_off_chord(_at(cubic, t), start, end) for t in _SAMPLES)
        steps: Step = ("line", (end,))
    else:
        x, y, radius, clockwise = circle
        error = max(abs(math.hypot(p[0] - x, p[1] - y) - radius) for p in (_at(cubic, t) for t in _SAMPLES))
        steps = ("arc", ((radius, float(clockwise)), end))
    if error <= TOLERANCE_PX or depth == _MAX_SPLITS:
        yield steps
        return
    for half in _halves(cubic):
        yield from _arcs(half, depth + 1)


def _circle(a: Point, b: Point, c: Point) -> tuple[float, float, float, bool] | None:
    """Centre and radius of the circle through three points, and whether it runs clockwise on the screen; None where
    they lie in a line, or the arc is more than half of the circle."""
    ux, uy, vx, vy = b[0] - a[0], b[1] - a[1], c[0] - a[0], c[1] - a[1]
    cross = ux * vy - uy * vx
    if abs(cross) < TOLERANCE_PX * 0.25 * max(1e-9, math.hypot(vx, vy)):
        return None
    uu, vv = ux * ux + uy * uy, vx * vx + vy * vy
    x, y = (vy * uu - uy * vv) / (2 * cross), (ux * vv - vx * uu) / (2 * cross)
    radius = math.hypot(x, y)
    return a[0] + x, a[1] + y, radius, cross > 0


def _off_chord(p: Point, a: Point, b: Point) -> float:
    dx, dy = b[0] - a[0], b[1] - a[1]
    length = math.hypot(dx, dy)
    if length < 1e-9:
        return math.hypot(p[0] - a[0], p[1] - a[1])
    return abs((p[0] - a[0]) * dy - (p[1] - a[1]) * dx) / length


def _halves(cubic: Cubic) -> tuple[Cubic, Cubic]:
    a, b, c, d = cubic
    ab, bc, cd = _middle(a, b), _middle(b, c), _middle(c, d)
    abc, bcd = _middle(ab, bc), _middle(bc, cd)
    m = _middle(abc, bcd)
    return (a, ab, abc, m), (m, bcd, cd, d)


_REPLACEMENTS: Mapping[str, Callable[[Cubic], Iterator[Step]]] = {
    "lines": _lines, "arcs": _arcs, "quadratic": _quadratics,
}  # fmt: skip
