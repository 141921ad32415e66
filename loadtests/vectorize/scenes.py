"""Scenes with known primitives: SVGs of circles, ellipses, rectangles, strokes and polygons, made by code, and what of
such primitives an SVG contains.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from xml.etree import ElementTree

import numpy as np

SIDE = 256
"""Width and height of every scene, in user units and in pixels."""
INK = ("#d93a3a", "#2a6fdb", "#2f9e5b", "#f2b632", "#6b3fa0", "#1f2937", "#ef7fa2", "#17a2b8")


@dataclass(frozen=True)
class Primitive:
    """``kind``: circle, ellipse, rect or stroke; ``box``: left, top, right, bottom of its geometry without the stroke's
    width; ``stroke``: that width, 0 for a fill."""

    kind: str
    box: tuple[float, float, float, float]
    stroke: float = 0.0


@dataclass(frozen=True)
class Scene:
    name: str
    svg: str


def scenes() -> list[Scene]:
    makers: tuple[Callable[[], str], ...] = (
        _three, _dots, _ellipses, _cards, _rings, _lines, _polylines, _polygons, _capsules, _turned, _overlaps,
        _stripes, _pies, _small, _frames, _curves,
    )  # fmt: skip
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {SIDE} {SIDE}">'
    ground = f'<rect width="{SIDE}" height="{SIDE}" fill="#fff"/>'
    return [Scene(maker.__name__.strip("_"), f"{head}{ground}{maker()}</svg>") for maker in makers]


def _three() -> str:
    return (
        '<circle cx="70" cy="76" r="46" fill="#d93a3a"/><rect x="144" y="32" width="84" height="84" fill="#2a6fdb"/>'
        '<path d="M128 140L206 228H50z" fill="#2f9e5b"/>'
    )


def _dots() -> str:
    return "".join(
        f'<circle cx="{40 + 58 * x}" cy="{40 + 58 * y}" r="{(9, 15, 22)[(x + y) % 3]}" fill="{INK[(x + 2 * y) % 4]}"/>'
        for y in range(4)
        for x in range(4)
    )


def _ellipses() -> str:
    return "".join(
        f'<ellipse cx="{x}" cy="{y}" rx="{rx}" ry="{ry}" fill="{INK[i]}" transform="rotate({a} {x} {y})"/>'
        for i, (x, y, rx, ry, a) in enumerate(
            ((64, 52, 48, 22, 0), (190, 60, 26, 44, 0), (66, 150, 46, 20, 30), (190, 160, 50, 18, 120),
             (90, 222, 60, 16, 0), (206, 226, 24, 14, 45))
        )
    )  # fmt: skip


def _cards() -> str:
    return "".join(
        f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="{r}" fill="{INK[i]}"/>'
        for i, (x, y, w, h, r) in enumerate(
            ((16, 16, 100, 70, 8), (132, 16, 108, 70, 20), (16, 102, 60, 138, 14), (92, 102, 148, 60, 30),
             (92, 178, 68, 62, 4), (176, 178, 64, 62, 12))
        )
    )  # fmt: skip


def _rings() -> str:
    circles = ((70, 70, 44, 12), (186, 70, 48, 5), (70, 186, 24, 20), (186, 186, 50, 8), (186, 186, 24, 8))
    return "".join(
        f'<circle cx="{x}" cy="{y}" r="{r}" fill="none" stroke="{INK[i]}" stroke-width="{w}"/>'
        for i, (x, y, r, w) in enumerate(circles)
    )


def _lines() -> str:
    caps = ("round", "butt", "square")
    return "".join(
        f'<path d="M{x1} {y1}L{x2} {y2}" fill="none" stroke="{INK[i]}" stroke-width="{w}" '
        f'stroke-linecap="{caps[i % 3]}"/>'
        for i, (x1, y1, x2, y2, w) in enumerate(
            ((24, 30, 200, 30, 14), (24, 60, 220, 84, 10), (40, 110, 216, 200, 8), (30, 130, 30, 230, 16),
             (70, 228, 130, 168, 12), (236, 110, 236, 236, 6))
        )
    )  # fmt: skip


def _polylines() -> str:
    style = 'fill="none" stroke-linejoin="{join}" stroke-linecap="{cap}" stroke="{ink}" stroke-width="{w}"'
    parts = (
        ("M24 70L56 104L116 30", "round", "round", INK[0], 14),
        ("M150 30L190 96L232 30", "miter", "butt", INK[1], 12),
        ("M26 140H110V220", "miter", "butt", INK[2], 16),
        ("M140 226L160 150L190 210L220 140", "round", "round", INK[5], 9),
    )
    return "".join(
        f'<path d="{d}" {style.format(join=join, cap=cap, ink=ink, w=w)}/>' for d, join, cap, ink, w in parts
    )


def _points(sides: int, x: float, y: float, radii: Sequence[float], turn: float) -> str:
    corners = [
        (x + radii[i % len(radii)] * math.sin(turn + math.tau * i / sides),
         y - radii[i % len(radii)] * math.cos(turn + math.tau * i / sides))
        for i in range(sides)
    ]  # fmt: skip
    return "M" + "L".join(f"{px:.2f} {py:.2f}" for px, py in corners) + "z"


def _polygons() -> str:
    shapes = (
        _points(6, 62, 64, (46,), 0.0), _points(10, 186, 68, (50, 20), 0.0), _points(5, 60, 188, (46,), 0.3),
        _points(3, 150, 170, (40,), 0.2), _points(8, 216, 196, (34,), math.pi / 8),
        _points(16, 140, 222, (22, 12), 0.1),
    )  # fmt: skip
    return "".join(f'<path d="{d}" fill="{INK[i]}"/>' for i, d in enumerate(shapes))


def _capsules() -> str:
    return "".join(
        f'<rect x="{x - w / 2}" y="{y - h / 2}" width="{w}" height="{h}" rx="{min(w, h) / 2}" fill="{INK[i]}" '
        f'transform="rotate({a} {x} {y})"/>'
        for i, (x, y, w, h, a) in enumerate(
            ((76, 36, 110, 30, 0), (206, 76, 26, 120, 0), (84, 110, 120, 24, 20), (80, 190, 20, 90, 45),
             (190, 200, 90, 44, -30))
        )
    )  # fmt: skip


def _turned() -> str:
    return "".join(
        f'<rect x="{x - w / 2}" y="{y - h / 2}" width="{w}" height="{h}" rx="{r}" fill="{INK[i]}" '
        f'transform="rotate({a} {x} {y})"/>'
        for i, (x, y, w, h, r, a) in enumerate(
            ((68, 64, 80, 56, 0, 15), (188, 68, 70, 70, 10, 45), (70, 186, 90, 40, 8, -35), (186, 186, 60, 90, 0, 8))
        )
    )  # fmt: skip


def _overlaps() -> str:
    return (
        '<circle cx="100" cy="100" r="72" fill="#f2b632"/><rect x="96" y="104" width="120" height="80" fill="#2a6fdb"/>'
        '<circle cx="196" cy="108" r="40" fill="#d93a3a"/><ellipse cx="84" cy="200" rx="60" ry="34" fill="#2f9e5b"/>'
        '<rect x="40" y="60" width="70" height="34" rx="10" fill="#1f2937"/>'
    )


def _stripes() -> str:
    rects = "".join(f'<rect x="28" y="{30 + 40 * i}" width="200" height="20" fill="{INK[i % 2]}"/>' for i in range(5))
    return rects + '<rect x="28" y="30" width="86" height="60" fill="#1f2937"/>'


def _pies() -> str:
    return (
        '<path d="M80 80V20A60 60 0 0 1 140 80z" fill="#d93a3a"/><path d="M72 88H12A60 60 0 0 0 72 148z" '
        'fill="#2a6fdb"/><path d="M196 40a44 44 0 0 1 0 88z" fill="#2f9e5b"/>'
        '<path d="M128 240A80 80 0 0 1 208 160V200A40 40 0 0 0 168 240z" fill="#6b3fa0"/>'
    )


def _small() -> str:
    rng = np.random.default_rng(3)
    parts = []
    for i in range(25):
        x, y = 28 + 50 * (i % 5), 28 + 50 * (i // 5)
        size = float(rng.uniform(4, 10))
        ink = INK[int(rng.integers(len(INK)))]
        if i % 3 == 0:
            parts.append(f'<circle cx="{x}" cy="{y}" r="{size:.1f}" fill="{ink}"/>')
        elif i % 3 == 1:
            parts.append(f'<rect x="{x - 8}" y="{y - 6}" width="{2 * size:.1f}" height="{size:.1f}" fill="{ink}"/>')
        else:
            parts.append(f'<ellipse cx="{x}" cy="{y}" rx="{1.6 * size:.1f}" ry="{size:.1f}" fill="{ink}"/>')
    return "".join(parts)


def _frames() -> str:
    return "".join(
        f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="{r}" fill="none" stroke="{INK[i]}" stroke-width="{s}"/>'
        for i, (x, y, w, h, r, s) in enumerate(
            ((24, 24, 90, 80, 0, 8), (140, 24, 92, 80, 16, 10), (24, 136, 90, 96, 24, 6), (140, 136, 92, 96, 8, 14))
        )
    )


def _curves() -> str:
    parts = (
        ("M30 110A60 60 0 0 1 150 110", INK[0], 12), ("M180 30C240 60 160 110 226 140", INK[1], 9),
        ("M30 200C70 130 120 250 170 180", INK[2], 14), ("M200 232A30 30 0 1 1 229 194", INK[5], 8),
    )  # fmt: skip
    return "".join(
        f'<path d="{d}" fill="none" stroke="{ink}" stroke-width="{w}" stroke-linecap="round"/>' for d, ink, w in parts
    )


_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_ROTATION = re.compile(r"rotate\(([^)]*)\)")


def primitives(svg: str) -> list[Primitive]:
    """The primitives of ``svg``; the canvas itself and text that is no primitive are left out. Transforms other than a
    rotation about a point are not read."""
    found = []
    root = ElementTree.fromstring(svg)  # our own text
    by_id = {element.get("id"): element for element in root.iter()}
    for element, inherited in _elements(root, {}):
        if element.tag.endswith("}use"):
            target = by_id[element.attrib["href"].removeprefix("#")]
            one = _primitive(target, inherited | target.attrib)
            if one is not None:
                x, y = (float(element.get(axis, 0)) for axis in "xy")
                left, top, right, bottom = one.box
                found.append(replace(one, box=(left + x, top + y, right + x, bottom + y)))
        elif (one := _primitive(element, inherited)) is not None:
            found.append(one)
    return [p for p in found if not _is_canvas(p)]


def _is_canvas(p: Primitive) -> bool:
    left, top, right, bottom = p.box
    return left <= 1 and top <= 1 and right >= SIDE - 1 and bottom >= SIDE - 1


def _elements(
    node: ElementTree.Element, inherited: dict[str, str]
) -> Iterator[tuple[ElementTree.Element, dict[str, str]]]:
    for child in node:
        own = {**inherited, **child.attrib}
        tag = child.tag.rpartition("}")[2]
        if tag in ("g", "svg"):
            yield from _elements(child, {k: v for k, v in own.items() if k in ("stroke", "stroke-width", "fill")})
        elif tag != "defs":
            yield child, own


def _primitive(element: ElementTree.Element, own: dict[str, str]) -> Primitive | None:
    tag = element.tag.rpartition("}")[2]

    def value(name: str, default: float = 0.0) -> float:
        return float(own.get(name, default))

    stroke = value("stroke-width", 1.0) if own.get("stroke", "none") != "none" else 0.0
    if tag in ("circle", "ellipse"):
        rx, ry = (value("r"), value("r")) if tag == "circle" else (value("rx"), value("ry"))
        x, y = value("cx"), value("cy")
        corners = [(x + rx * math.cos(t), y + ry * math.sin(t)) for t in np.linspace(0, math.tau, 64)]
        tag = "circle" if abs(rx - ry) < 0.5 else "ellipse"
    elif tag == "rect":
        x, y, w, h = value("x"), value("y"), value("width"), value("height")
        corners = [(x, y), (x + w, y), (x + w, y + h), (x, y + h)]
    elif tag in ("path", "line", "polyline") and stroke and own.get("fill", "none") == "none":
        points = _stroke_ends(own)
        if points is None:
            return None
        corners, tag = points, "stroke"
    else:
        return None
    if (rotation := _ROTATION.search(own.get("transform", ""))) is not None:
        corners = _rotated(corners, [float(v) for v in _NUMBER.findall(rotation.group(1))])
    xs, ys = [p[0] for p in corners], [p[1] for p in corners]
    return Primitive(tag, (min(xs), min(ys), max(xs), max(ys)), stroke)


def _rotated(points: list[tuple[float, float]], rotation: list[float]) -> list[tuple[float, float]]:
    angle, x0, y0 = (*rotation, 0.0, 0.0)[:3]
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    return [(x0 + c * (x - x0) - s * (y - y0), y0 + s * (x - x0) + c * (y - y0)) for x, y in points]


def _stroke_ends(own: dict[str, str]) -> list[tuple[float, float]] | None:
    """The nodes of a stroked path or line, control points left out."""
    if "d" not in own:
        names = ("x1", "y1", "x2", "y2")
        x1, y1, x2, y2 = (float(own.get(name, 0)) for name in names)
        return [(x1, y1), (x2, y2)]
    x = y = 0.0
    nodes = []
    for command, text in re.findall(r"([A-Za-z])([^A-Za-z]*)", own["d"]):
        width = {"M": 2, "L": 2, "H": 1, "V": 1, "C": 6, "S": 4, "Q": 4, "T": 2, "A": 7, "Z": 0}[command.upper()]
        values = [float(v) for v in _NUMBER.findall(text)]
        for i in range(0, len(values), max(1, width)):
            step = values[i : i + width]
            relative = command.islower()
            if command.upper() == "H":
                x = step[0] + (x if relative else 0)
            elif command.upper() == "V":
                y = step[0] + (y if relative else 0)
            else:
                x, y = step[-2] + (x if relative else 0), step[-1] + (y if relative else 0)
            nodes.append((x, y))
    return nodes or None


def matched(source: Sequence[Primitive], traced: Sequence[Primitive], tolerance: float = 1.5) -> int:
    """How many of ``source`` have a counterpart of the same kind in ``traced``: each side of the box and the stroke's
    width within ``tolerance`` pixels. Each counterpart counts once.

    A line with round caps and a rectangle with round ends are the same shape, and count as each other.
    """
    left = list(traced)
    count = 0
    for one in source:
        for other in left:
            if _same(one, other, tolerance):
                left.remove(other)
                count += 1
                break
    return count


def _same(a: Primitive, b: Primitive, tolerance: float) -> bool:
    if {a.kind, b.kind} == {"stroke", "rect"} and (a.stroke == 0) != (b.stroke == 0):
        line, bar = (a, b) if a.kind == "stroke" else (b, a)
        size = sorted((line.box[2] - line.box[0], line.box[3] - line.box[1]))
        middle = [(p.box[i] + p.box[i + 2]) / 2 for p in (line, bar) for i in (0, 1)]
        near = abs(middle[0] - middle[2]) <= tolerance and abs(middle[1] - middle[3]) <= tolerance
        return near and size[1] <= max(bar.box[2] - bar.box[0], bar.box[3] - bar.box[1]) + tolerance
    near = all(abs(p - q) <= tolerance for p, q in zip(a.box, b.box, strict=True))
    return a.kind == b.kind and near and abs(a.stroke - b.stroke) <= tolerance
