"""The SVG text: relative commands, as few characters as the precision allows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from serve.vector.coverage.curves import Segments
from serve.vector.coverage.paints import LINEAR, SOLID, Floats, PaintTable
from serve.vector.coverage.primitives import CIRCLE, CORNER, CX, CY, ELLIPSE, TURN, A, B, Primitive, stroke_width
from serve.vector.coverage.text import Stroke, joined, number, outline_data

CANVAS_BAND = 0.6
"""How far the outline of the whole canvas may lie from one pixel beyond the edges, in pixels."""
NAMESPACE = "http://www.w3.org/2000/svg"


@dataclass(frozen=True)
class Shape:
    """A paint, by its index, and the closed outlines that it fills by the even-odd rule. ``wholes``: by outline, the
    circle, ellipse or rectangle that it is, or None. ``stroke``: the stroke that fills the one outline, if any."""

    paint: int
    outlines: list[Segments]
    wholes: list[Primitive | None]
    stroke: Stroke | None = None


def to_svg(
    shapes: list[Shape], paints: PaintTable, traced: tuple[int, int], size: tuple[int, int], decimals: int
) -> str:
    """The SVG of ``shapes``, the bottom one first.

    ``traced`` is the width and height in pixels that their coordinates refer to, ``size`` that of the picture.
    """
    gradients = sorted({s.paint for s in shapes if paints.kind[s.paint] != SOLID})
    names = {k: _name(i) for i, k in enumerate(gradients)}
    body = "".join(_gradient(paints, k, names[k]) for k in gradients)
    for paint, layer in groupby(shapes, key=lambda s: s.paint):
        body += _layer(list(layer), _Paint.of(paints, paint, names.get(paint, "")), traced, decimals)
    if traced != size:
        scale = " ".join(number(whole / part, 5) for whole, part in zip(size, traced, strict=True))
        body = f'<g transform="scale({scale})">{body}</g>'
    return f'<svg xmlns="{NAMESPACE}" viewBox="0 0 {size[0]} {size[1]}">{body}</svg>'


def _name(index: int) -> str:
    letter = chr(ord("a") + index % 26)
    return letter if index < 26 else f"{letter}{index // 26}"


@dataclass(frozen=True)
class _Paint:
    """A paint as an attribute's value, and its opacity."""

    value: str
    opacity: float

    @classmethod
    def of(cls, paints: PaintTable, k: int, name: str) -> _Paint:
        return cls(f"url(#{name})", 1.0) if name else cls(*straight(paints.colors[k, 0]))

    @property
    def is_gradient(self) -> bool:
        return self.value.startswith("url(")

    @property
    def fill(self) -> str:
        """Black, opaque or not, is the default."""
        return ("" if self.value == "#000" else f' fill="{self.value}"') + self._opacity("fill")

    @property
    def stroke(self) -> str:
        return f' stroke="{self.value}"{self._opacity("stroke")}'

    def _opacity(self, of: str) -> str:
        return "" if self.opacity >= 0.995 else f' {of}-opacity="{number(self.opacity, 2)}"'


def _layer(shapes: list[Shape], paint: _Paint, size: tuple[int, int], decimals: int) -> str:
    """The elements of shapes of one paint: filled ones together, their fill in one place if that is shorter."""
    filled, stroked = [], []
    for shape in shapes:
        if shape.stroke is not None:
            stroke = f'path {shape.stroke.attributes(decimals)} d="{shape.stroke.data(decimals)}"'
        else:
            stroke = _stroke(shape, decimals, gradient=paint.is_gradient)
        if stroke:
            stroked.append(f"<{stroke.replace(' ', paint.stroke + ' ', 1)}/>")
        else:
            filled.append(_filled(shape, *size, decimals, gradient=paint.is_gradient))
    if len(filled) > 1 and (len(filled) - 1) * len(paint.fill) > len("<g></g>"):
        return f"<g{paint.fill}>{''.join(f'<{one}/>' for one in filled)}</g>" + "".join(stroked)
    return "".join(f"<{one.replace(' ', paint.fill + ' ', 1)}/>" for one in filled) + "".join(stroked)


def _filled(shape: Shape, width: int, height: int, decimals: int, *, gradient: bool) -> str:
    """Name and geometry of the element that is ``shape``, to be filled."""
    if len(shape.outlines) == 1:
        if _is_canvas(shape.outlines[0], width, height):
            return f'path d="M0 0h{width}v{height}H0z"'
        if (whole := shape.wholes[0]) is not None:
            return _element(whole, decimals, gradient=gradient)
    data = "".join(
        whole_data(whole, decimals) if whole else outline_data(outline, decimals)
        for whole, outline in zip(shape.wholes, shape.outlines, strict=True)
    )
    rule = ' fill-rule="evenodd"' if len(shape.outlines) > 1 else ""
    return f'path{rule} d="{data}"'


LONG = 2.5
"""Length over width from which a turned bar is a stroked line."""


def _stroke(shape: Shape, decimals: int, *, gradient: bool) -> str:
    """Name and geometry of the stroked element that is ``shape``: a ring, a frame or a bar; empty if it is none."""
    outer = shape.wholes[0]
    if outer is None or len(shape.outlines) > 2:
        return ""
    v = outer.values
    if len(shape.outlines) == 2:
        inner = shape.wholes[1]
        width = stroke_width(outer, inner) if inner is not None else None
        if width is None:
            return ""
        middle = v.copy()
        middle[[A, B]] -= width / 2
        middle[CORNER] = max(0.0, v[CORNER] - width / 2) if v[CORNER] else 0.0
        tag, _, geometry = _element(Primitive(outer.kind, middle), decimals, gradient=gradient).partition(" ")
        return f'{tag} fill="none" stroke-width="{number(width, decimals)}" {geometry}'
    long, short = max(v[A], v[B]), min(v[A], v[B])
    round_ends = v[CORNER] >= 0.97 * short
    if outer.kind in (CIRCLE, ELLIPSE) or not v[TURN] or long < LONG * short or not (round_ends or v[CORNER] == 0):
        return ""
    turn = v[TURN] + (0 if v[A] >= v[B] else math.pi / 2)
    reach = long - short if round_ends else long
    x, y = reach * math.cos(turn), reach * math.sin(turn)
    ends = (v[CX] - x, v[CY] - y, v[CX] + x, v[CY] + y)
    grid = [round(float(e) * 10**decimals) for e in ends]
    step = joined((grid[2] - grid[0], grid[3] - grid[1]), 10**decimals)
    cap = ' stroke-linecap="round"' if round_ends else ""
    start = joined((grid[0], grid[1]), 10**decimals)
    return f'path stroke-width="{number(2 * short, decimals)}"{cap} d="M{start}l{step}"'


def _element(whole: Primitive, decimals: int, *, gradient: bool) -> str:
    """Name and geometry of the basic shape that is ``whole``. With a ``gradient`` a turned one is a path, since
    `transform` turns the paint of an element too."""
    v = [float(value) for value in whole.values]
    x, y, a, b = (number(value, decimals) for value in v[:4])
    turn = _degrees(whole, decimals)
    if gradient and turn != "0" and whole.kind != CIRCLE:
        return f'path d="{whole_data(whole, decimals)}"'
    transform = f' transform="rotate({turn} {x} {y})"' if turn != "0" else ""
    if whole.kind == CIRCLE:
        return f'circle cx="{x}" cy="{y}" r="{a}"'
    if whole.kind == ELLIPSE:
        return f'ellipse cx="{x}" cy="{y}" rx="{a}" ry="{b}"{transform}'
    left, top = number(v[CX] - v[A], decimals), number(v[CY] - v[B], decimals)
    place = "".join(f' {name}="{value}"' for name, value in (("x", left), ("y", top)) if value != "0")
    corner = number(v[CORNER], decimals)
    corners = f' rx="{corner}"' if corner != "0" else ""
    sides = f' width="{number(2 * v[A], decimals)}" height="{number(2 * v[B], decimals)}"'
    return f"rect{place}{sides}{corners}{transform}"


def _degrees(whole: Primitive, decimals: int) -> str:
    """The turn in degrees, precise enough for the farthest point of the outline to move by no more than rounding to
    ``decimals`` places moves it."""
    v = whole.values
    pixels = max(1e-9, math.hypot(v[A], v[B]) * math.pi / 180)
    return number(math.degrees(v[TURN]), max(1, decimals + math.ceil(math.log10(pixels))))


def whole_data(whole: Primitive, decimals: int) -> str:
    """Path data of a whole shape: arcs, and lines for a rectangle's sides."""
    outline = whole.to_segments()
    if whole.kind not in (CIRCLE, ELLIPSE):
        return outline_data(outline, decimals, float(whole.values[CORNER]))
    scale = 10**decimals
    start, far = np.rint(outline[[0, 2], 1:3] * scale).astype(int).tolist()
    there = (far[0] - start[0], far[1] - start[1])
    # Half the chord, rounded down: a radius that is too short is scaled up, one too long makes two arcs of a lens.
    a = number(math.floor(math.hypot(*there) / 2 + 1e-9) / scale, decimals)
    b = number(float(whole.values[B]), decimals) if whole.kind == ELLIPSE else a
    turn = _degrees(whole, decimals) if whole.kind == ELLIPSE else "0"
    arc = f"a{a} {b} {turn} 1 1 "
    back = (-there[0], -there[1])
    return f"M{joined(tuple(start), scale)}{arc}{joined(there, scale)}{arc}{joined(back, scale)}z"


def straight(premultiplied: Floats) -> tuple[str, float]:
    """Shortest hex colour and opacity (0..1) of a premultiplied colour (4,) in 0..255."""
    alpha = max(float(premultiplied[3]), 1e-3) / 255
    rgb = [round(min(255.0, max(0.0, float(v) / alpha))) for v in premultiplied[:3]]
    text = "".join(f"{v:02x}" for v in rgb)
    if all(text[i] == text[i + 1] for i in (0, 2, 4)):
        text = text[::2]
    return f"#{text}", min(1.0, alpha)


def _gradient(paints: PaintTable, k: int, name: str) -> str:
    g = paints.geometry[k]
    units = 'gradientUnits="userSpaceOnUse"'
    stops = "".join(_stop(paints.offsets[k, i], paints.colors[k, i]) for i in range(paints.stops[k]))
    if paints.kind[k] == LINEAR:
        x1, y1, x2, y2 = (number(float(v), 1) for v in (g[0] * g[2], g[1] * g[2], g[0] * g[3], g[1] * g[3]))
        return f'<linearGradient id="{name}" {units} x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}">{stops}</linearGradient>'
    cx, cy, r = (number(float(v), 1) for v in g[:3])
    return f'<radialGradient id="{name}" {units} cx="{cx}" cy="{cy}" r="{r}">{stops}</radialGradient>'


def _stop(offset: float, premultiplied: Floats) -> str:
    color, opacity = straight(premultiplied)
    at = f' offset="{number(float(offset), 3)}"' if offset > 0 else ""
    clear = f' stop-opacity="{number(opacity, 2)}"' if opacity < 0.995 else ""
    return f'<stop{at} stop-color="{color}"{clear}/>'


def _is_canvas(outline: Segments, width: int, height: int) -> bool:
    """Whether ``outline`` is the whole canvas, as contours see it: one pixel beyond each edge. All its control points
    lie on that rectangle, and its four corners are among them, each within CANVAS_BAND."""
    x, y = outline[:, 1::2], outline[:, 2::2]
    across, along = np.abs(x - width / 2) - (width / 2 + 1), np.abs(y - height / 2) - (height / 2 + 1)
    if np.abs(np.maximum(across, along)).max() > CANVAS_BAND:
        return False
    corners = [(-1, -1), (width + 1, -1), (-1, height + 1), (width + 1, height + 1)]
    return all(np.hypot(x - cx, y - cy).min() <= CANVAS_BAND for cx, cy in corners)
