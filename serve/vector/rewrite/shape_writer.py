"""Shapes as SVG text again: basic shapes and paths that have not changed as they were, others as new path data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from xml.sax.saxutils import quoteattr

from fontTools.misc.transform import Identity, Transform

from serve.vector.coverage.text import joined, number
from serve.vector.coverage.writer import NAMESPACE
from serve.vector.drawing import Contour, Drawing, Gradient, Paint, Shape
from serve.vector.rewrite.grouping import Group

Naming = Callable[[Gradient], str]
_COMMANDS = {"curve": "c", "quadratic": "q"}


def write(drawing: Drawing, group: Group, decimals: int) -> str:
    """The SVG of the shapes of ``drawing`` in the order and the groups of ``group``."""
    names: dict[Gradient, str] = {}

    def name_of(gradient: Gradient) -> str:
        return names.setdefault(gradient, f"paint-{len(names) + 1}")

    body = "".join(_member(member, drawing.shapes, name_of, decimals) for member in group.members)
    paints = "".join(_gradient(gradient, name) for gradient, name in names.items())
    width, height = (number(side, 3) for side in (drawing.width, drawing.height))
    return f'<svg xmlns="{NAMESPACE}" viewBox="0 0 {width} {height}">{paints}{body}</svg>'


def _member(member: int | Group, shapes: Sequence[Shape], name_of: Naming, decimals: int) -> str:
    if isinstance(member, int):
        shape = shapes[member]
        return _element(shape, _paints(shape, name_of), decimals)
    if not member.name.startswith("color-"):
        inner = "".join(_member(one, shapes, name_of, decimals) for one in member.members)
        return f"<g{_id(member.name)}>{inner}</g>"
    own = [shapes[place] for place in member.members if isinstance(place, int)]
    paints = {_paints(shape, name_of) for shape in own}
    shared = next(iter(paints)) if len(paints) == 1 else ""
    inner = "".join(_element(shape, "" if shared else _paints(shape, name_of), decimals) for shape in own)
    return f"<g{_class(member.name)}{shared}>{inner}</g>"


def _id(name: str) -> str:
    return f' id="{name}"' if name else ""


def _class(name: str) -> str:
    """Of a colour, of which there may be several groups."""
    return f' class="{name}"'


def _element(shape: Shape, paints: str, decimals: int) -> str:
    moved = shape.placed != Identity
    gradient = isinstance(shape.fill, Gradient) or isinstance(shape.stroke, Gradient)
    if shape.geometry and not (moved and (gradient or shape.stroke is not None)):
        place = f' transform="matrix({_numbers(shape.placed)})"' if moved else ""
        geometry = "".join(f" {name}={quoteattr(value)}" for name, value in shape.geometry.items())
        return f"<{shape.tag}{paints}{geometry}{place}/>"
    data = "".join(path_data(contour, decimals) for contour in shape.contours)
    return f'<path{paints} d="{data}"/>'


def _paints(shape: Shape, name_of: Naming) -> str:
    text = ' fill="none"' if shape.fill is None else _paint("fill", shape.fill, name_of)
    if shape.even_odd and shape.fill is not None:
        text += ' fill-rule="evenodd"'
    if shape.stroke is None:
        return text
    text += _paint("stroke", shape.stroke, name_of)
    values = {"width": number(shape.stroke_width, 2), "linecap": shape.cap, "linejoin": shape.join}
    for (name, value), default in zip(values.items(), ("1", "butt", "miter"), strict=True):
        text += f' stroke-{name}="{value}"' if value != default else ""
    return text


def _paint(of: str, paint: Paint, name_of: Naming) -> str:
    if isinstance(paint, Gradient):
        return f' {of}="url(#{name_of(paint)})"'
    clear = f' {of}-opacity="{number(paint.opacity, 2)}"' if paint.opacity < 0.995 else ""
    return f' {of}="{_hex(paint.color)}"{clear}'


def _hex(color: tuple[int, int, int]) -> str:
    digits = "".join(f"{value:02x}" for value in color)
    return f"#{digits[::2]}" if all(digits[i] == digits[i + 1] for i in (0, 2, 4)) else f"#{digits}"


def _gradient(gradient: Gradient, name: str) -> str:
    tag = "linearGradient" if gradient.linear else "radialGradient"
    names = ("x1", "y1", "x2", "y2") if gradient.linear else ("cx", "cy", "r")
    points = "".join(f' {n}="{number(value, 2)}"' for n, value in zip(names, gradient.points, strict=True))
    turned = f' gradientTransform="matrix({_numbers(gradient.transform)})"' if gradient.transform != Identity else ""
    stops = "".join(
        f'<stop offset="{number(stop.offset, 3)}" stop-color="{_hex(stop.color)}"'
        + (f' stop-opacity="{number(stop.opacity, 2)}"' if stop.opacity < 0.995 else "")
        + "/>"
        for stop in gradient.stops
    )
    return f'<{tag} id="{name}" gradientUnits="userSpaceOnUse"{points}{turned}>{stops}</{tag}>'


def _numbers(transform: Transform) -> str:
    return " ".join(number(value, 5) for value in transform)


def path_data(contour: Contour, decimals: int) -> str:
    """Relative path data, rounded without drift."""
    scale = 10**decimals

    def rounded(point: tuple[float, float]) -> tuple[int, int]:
        return round(point[0] * scale), round(point[1] * scale)

    x, y = rounded(contour.start)
    text = f"M{joined((x, y), scale)}"
    for name, points in contour.steps:
        end = rounded(points[-1])
        if end == (x, y) and name == "line":
            continue
        if name == "arc":
            radius, clockwise = points[0]
            text += f"a{number(radius, decimals)} {number(radius, decimals)} 0 0 {int(clockwise)} "
            text += joined((end[0] - x, end[1] - y), scale)
        elif name == "line":
            dx, dy = end[0] - x, end[1] - y
            command, values = ("h", (dx,)) if dy == 0 else ("v", (dy,)) if dx == 0 else ("l", (dx, dy))
            text += f"{command}{joined(values, scale)}"
        else:
            offsets = tuple(value for point in points for value in (rounded(point)[0] - x, rounded(point)[1] - y))
            text += f"{_COMMANDS[name]}{joined(offsets, scale)}"
        x, y = end
    return text + ("z" if contour.closed else "")
