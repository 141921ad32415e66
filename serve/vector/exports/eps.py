"""Encapsulated PostScript, level 3: paths, solid paints and smooth shadings (PostScript Language Reference, 4.9.3).

PostScript has no transparency: translucent paints are mixed with white.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator

from fontTools.misc.transform import Transform

from serve.vector.drawing import MITER_LIMIT, SVG_POINT, Contour, Drawing, Gradient, Paint, Rgb, Shape, Solid, Stop

_HEAD = """%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 {right} {top}
%%HiResBoundingBox: 0 0 {width} {height}
%%LanguageLevel: 3
%%Creator: Atelier
%%Title: ({title})
%%Keywords: ({keywords})
%%EndComments
%%BeginProlog
/m {{moveto}} bind def /l {{lineto}} bind def /c {{curveto}} bind def /h {{closepath}} bind def
%%EndProlog
gsave
0 {height} translate {scale} -{scale} scale
0 0 {columns} {rows} rectclip
"""
_CAPS = {"butt": 0, "round": 1, "square": 2}
_JOINS = {"miter": 0, "round": 1, "bevel": 2}


def to_eps(drawing: Drawing, scale: float) -> bytes:
    points = SVG_POINT * scale
    width, height = drawing.width * points, drawing.height * points
    head = _HEAD.format(
        right=math.ceil(width), top=math.ceil(height), width=_number(width), height=_number(height),
        scale=_number(points), columns=_number(drawing.width), rows=_number(drawing.height),
        title=_text(drawing.about.title), keywords=_text(drawing.about.source_type),
    )  # fmt: skip
    body = "\n".join(line for shape in drawing.shapes for line in _shape(shape))
    return f"{head}{body}\ngrestore\nshowpage\n%%EOF\n".encode("ascii")


def _text(text: str) -> str:
    """Of a comment: ASCII, at most 200 characters, without what ends a string."""
    return re.sub(r"[^ -~]|[()\\]", "_", text[:200])


def _shape(shape: Shape) -> Iterator[str]:
    path = " ".join(_contour(contour) for contour in shape.contours)
    if not path:
        return
    even_odd = "eo" if shape.even_odd else ""
    if shape.fill is not None:
        yield f"newpath {path} {_filled(shape.fill, f'{even_odd}fill', f'{even_odd}clip')}"
    if shape.stroke is not None:
        pen = (
            f"{_number(shape.stroke_width)} setlinewidth {_CAPS.get(shape.cap, 0)} setlinecap "
            f"{_JOINS.get(shape.join, 0)} setlinejoin {MITER_LIMIT} setmiterlimit"
        )
        yield f"newpath {path} {pen} {_filled(shape.stroke, 'stroke', 'strokepath clip')}"


def _contour(contour: Contour) -> str:
    parts = [f"{_point(contour.start)} m"]
    for kind, points in contour.steps:
        parts.append(f"{' '.join(_point(point) for point in points)} {'l' if kind == 'line' else 'c'}")
    return " ".join([*parts, "h"] if contour.closed else parts)


def _filled(paint: Paint, operator: str, clip: str) -> str:
    """PostScript that paints the current path: with a colour, or with a shading that is clipped to it."""
    if isinstance(paint, Solid):
        return f"{_rgb(paint.color, paint.opacity)} setrgbcolor {operator}"
    matrix = " ".join(_number(value) for value in Transform(*paint.transform))
    return f"gsave {clip} newpath [{matrix}] concat {_shading(paint)} shfill grestore"


def _shading(gradient: Gradient) -> str:
    if gradient.linear:
        coordinates = gradient.points
    else:
        x, y, radius = gradient.points
        coordinates = (x, y, 0.0, x, y, radius)
    numbers = " ".join(_number(value) for value in coordinates)
    return (
        f"<< /ShadingType {2 if gradient.linear else 3} /ColorSpace /DeviceRGB /Coords [{numbers}] "
        f"/Extend [true true] /Function {_function(gradient.stops)} >>"
    )


def _function(stops: tuple[Stop, ...]) -> str:
    """Piecewise linear through the stops."""
    first, last = stops[0], stops[-1]
    known = [Stop(0.0, first.color, first.opacity), *stops, Stop(1.0, last.color, last.opacity)]
    pieces = [(a, b) for a, b in itertools.pairwise(known) if b.offset > a.offset]
    functions = " ".join(
        f"<< /FunctionType 2 /Domain [0 1] /N 1 /C0 [{_rgb(a.color, a.opacity)}] /C1 [{_rgb(b.color, b.opacity)}] >>"
        for a, b in pieces
    )
    bounds = " ".join(_number(b.offset) for _, b in pieces[:-1])
    encode = " ".join(["0 1"] * len(pieces))
    return f"<< /FunctionType 3 /Domain [0 1] /Functions [{functions}] /Bounds [{bounds}] /Encode [{encode}] >>"


def _rgb(color: Rgb, opacity: float) -> str:
    return " ".join(_number((255 + (value - 255) * opacity) / 255) for value in color)


def _point(point: tuple[float, float]) -> str:
    return f"{_number(point[0])} {_number(point[1])}"


def _number(value: float) -> str:
    return f"{value:.4f}".rstrip("0").rstrip(".")
