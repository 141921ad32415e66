"""What a drawing is: shapes with outlines of lines and cubic Béziers in pixels, and paints. `svg_reader` reads one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fontTools.misc.bezierTools import calcCubicBounds
from fontTools.misc.transform import Identity, Transform

SVG_POINT = 0.75
"""Points of a pixel."""
Point = tuple[float, float]
Box = tuple[float, float, float, float]
Rgb = tuple[int, int, int]
Step = tuple[str, tuple[Point, ...]]
"""``line`` with its end, ``curve`` with its two control points and its end; where a drawing is rewritten also
``quadratic`` with its control point and its end, and ``arc`` with (radius, 1 for clockwise) and its end."""
MITER_LIMIT = 4
"""SVG's default."""


@dataclass(frozen=True)
class Stop:
    offset: float
    color: Rgb
    opacity: float


@dataclass(frozen=True)
class Gradient:
    """``points``: x1, y1, x2, y2 of a linear one, cx, cy, r of a radial one, before ``transform``."""

    linear: bool
    points: tuple[float, ...]
    stops: tuple[Stop, ...]
    transform: Transform = Identity


@dataclass(frozen=True)
class Solid:
    color: Rgb
    opacity: float


Paint = Solid | Gradient


@dataclass(frozen=True)
class Contour:
    start: Point
    steps: list[Step]
    closed: bool


@dataclass(frozen=True)
class Ellipse:
    """A circle or an ellipse: its centre, its longer half axis as a vector, and the other's share of it."""

    centre: Point
    axis: Point
    ratio: float


@dataclass(frozen=True)
class Shape:
    """``ellipse``: the circle or ellipse that the contours are, if any. ``tag``, ``geometry``: the element that they
    are, a basic shape or a path, and its attributes; with ``placed`` it has to be transformed first."""

    contours: list[Contour]
    fill: Paint | None
    even_odd: bool
    stroke: Paint | None
    stroke_width: float
    cap: str
    join: str
    ellipse: Ellipse | None = None
    tag: str = "path"
    geometry: Mapping[str, str] = field(default_factory=dict)
    placed: Transform = Identity


@dataclass(frozen=True)
class About:
    """``source_type``: the IPTC's address of how the picture came to be, of a drawing that is marked as generated."""

    title: str = ""
    source_type: str = ""


@dataclass(frozen=True)
class Drawing:
    width: float
    height: float
    about: About
    shapes: list[Shape] = field(default_factory=list)


def bounds_of(shape: Shape) -> Box:
    """(left, top, right, bottom) of the outlines, without their strokes."""
    boxes: list[Box] = []
    for contour in shape.contours:
        at = contour.start
        boxes.append((*at, *at))
        for name, points in contour.steps:
            end = points[-1]
            boxes.append(calcCubicBounds(at, *points) if name == "curve" else (*end, *end))
            at = end
    if not boxes:
        return 0.0, 0.0, 0.0, 0.0
    return (
        min(box[0] for box in boxes), min(box[1] for box in boxes),
        max(box[2] for box in boxes), max(box[3] for box in boxes),
    )  # fmt: skip


def cubic(start: Point, control: Point, end: Point) -> tuple[Point, ...]:
    """The cubic that is the quadratic Bézier from ``start``."""

    def towards(other: Point) -> Point:
        return (other[0] + 2 * control[0]) / 3, (other[1] + 2 * control[1]) / 3

    return towards(start), towards(end), end
