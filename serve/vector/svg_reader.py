"""An SVG text as our tracers write it, read into shapes: outlines of lines and cubic Béziers in pixels, and paints.

Known are groups, ``use``, paths, basic shapes, transformations, and linear and radial gradients in user space.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from xml.etree import ElementTree

from fontTools.misc.transform import Identity, Transform
from fontTools.pens.recordingPen import RecordingPen
from fontTools.pens.transformPen import TransformPen
from fontTools.svgLib.path import parse_path
from fontTools.svgLib.path.shapes import PathBuilder

from serve.vector.drawing import About, Contour, Drawing, Ellipse, Gradient, Paint, Rgb, Shape, Solid, Stop, cubic
from serve.vector.svg import refuse_references, size_of

MAX_DEPTH = 32
MAX_USED = 200_000
"""Elements that ``use`` may add to those of the text."""
_TRANSFORM = re.compile(r"([a-zA-Z]+)\s*\(([^)]*)\)")
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_INHERITED = (
    "fill", "fill-opacity", "fill-rule", "stroke", "stroke-opacity", "stroke-width", "stroke-linecap",
    "stroke-linejoin",
)  # fmt: skip
_GEOMETRY = ("d", "cx", "cy", "r", "rx", "ry", "x", "y", "width", "height", "x1", "y1", "x2", "y2", "points")
_SOURCE_TYPE = re.compile(r"https?://cv\.iptc\.org/newscodes/digitalsourcetype/\w+")
_NO_ATTRIBUTES: Mapping[str, str] = {}


def read(svg: str) -> Drawing:
    """Raises ValueError for text that is not SVG, or that refers to something outside itself."""
    root = parse(svg)
    drawing = Drawing(*size_of(svg), about(root))
    box = [float(value) for value in _NUMBER.findall(root.get("viewBox", ""))]
    transform = Identity
    if len(box) == 4 and box[2] > 0 and box[3] > 0:
        transform = Transform().scale(drawing.width / box[2], drawing.height / box[3]).translate(-box[0], -box[1])
    by_id = {element.get("id", ""): element for element in root.iter()}
    left = iter(range(sum(1 for _ in root.iter()) + MAX_USED))
    drawing.shapes.extend(_shapes(root, _NO_ATTRIBUTES, transform, by_id, 0, left))
    return drawing


def parse(svg: str) -> ElementTree.Element:
    """Raises ValueError."""
    refuse_references(svg)
    try:
        return ElementTree.fromstring(svg)
    except ElementTree.ParseError as error:
        raise ValueError(f"not well-formed: {error}") from None


def about(root: ElementTree.Element) -> About:
    title = root.find("{*}title")
    marks = (_SOURCE_TYPE.search(text) for element in root.findall("{*}metadata") for text in _texts(element))
    return About(
        " ".join((title.text or "").split()) if title is not None else "",
        next((mark[0] for mark in marks if mark is not None), ""),
    )


def _texts(element: ElementTree.Element) -> Iterator[str]:
    for part in element.iter():
        yield from (part.text or "", *part.attrib.values())


def _shapes(
    element: ElementTree.Element,
    inherited: Mapping[str, str],
    transform: Transform,
    by_id: Mapping[str, ElementTree.Element],
    depth: int,
    left: Iterator[int],
) -> Iterator[Shape]:
    if depth > MAX_DEPTH:
        raise ValueError("groups lie too deep within each other")
    if next(left, None) is None:
        raise ValueError(f"use adds more than {MAX_USED} elements")
    own = dict(inherited) | {name: element.attrib[name] for name in _INHERITED if name in element.attrib}
    if "opacity" in element.attrib:
        own["opacity"] = str(float(element.attrib["opacity"]) * float(inherited.get("opacity", 1)))
    transform = transform.transform(_transform(element.get("transform", "")))
    tag = _tag(element)
    if tag in ("svg", "g"):
        for child in element:
            yield from _shapes(child, own, transform, by_id, depth + 1, left)
    elif tag == "use":
        target = by_id.get(_reference(element))
        if target is None:
            raise ValueError("use refers to nothing")
        moved = transform.translate(float(element.get("x", 0)), float(element.get("y", 0)))
        yield from _shapes(target, own, moved, by_id, depth + 1, left)
    elif tag in ("path", "rect", "circle", "ellipse", "line", "polygon", "polyline"):
        yield _shape(element, tag, own, transform, by_id)


def _shape(
    element: ElementTree.Element,
    tag: str,
    own: Mapping[str, str],
    transform: Transform,
    by_id: Mapping[str, ElementTree.Element],
) -> Shape:
    pen = RecordingPen()
    if tag == "path":
        data = element.get("d", "")
    else:
        bare = ElementTree.Element(tag, {n: v for n, v in element.attrib.items() if n != "transform"})
        builder = PathBuilder()
        builder.add_path_from_element(bare)
        data = builder.paths[0] if builder.paths else ""
    try:
        parse_path(data, TransformPen(pen, transform))
    except (ValueError, IndexError, TypeError, AttributeError) as error:
        raise ValueError(f"path data cannot be read: {error}") from None
    if not all(math.isfinite(value) for _, points in pen.value for point in points for value in point):
        raise ValueError("path data has a number that is too large")
    return Shape(
        _contours(pen, closed=tag in ("rect", "circle", "ellipse", "polygon")),
        _paint(own.get("fill", "#000"), own, "fill-opacity", transform, by_id),
        own.get("fill-rule") == "evenodd",
        _paint(own.get("stroke", "none"), own, "stroke-opacity", transform, by_id),
        _finite(own.get("stroke-width", 1)) * math.sqrt(abs(_determinant(transform))),
        own.get("stroke-linecap", "butt"),
        own.get("stroke-linejoin", "miter"),
        _ellipse(element, tag, transform),
        tag,
        {name: value for name, value in element.attrib.items() if name in _GEOMETRY},
        transform,
    )


def _contours(pen: RecordingPen, *, closed: bool) -> list[Contour]:
    found: list[Contour] = []
    for operator, points in pen.value:
        if operator == "moveTo":
            found.append(Contour(points[0], [], closed))
        elif operator == "lineTo":
            found[-1].steps.append(("line", points))
        elif operator == "curveTo":
            found[-1].steps.append(("curve", points))
        elif operator == "qCurveTo":
            last = found[-1]
            last.steps.append(("curve", cubic(last.steps[-1][1][-1] if last.steps else last.start, *points)))
        elif operator == "closePath":
            found[-1] = Contour(found[-1].start, found[-1].steps, True)
    return [contour for contour in found if contour.steps]


def _ellipse(element: ElementTree.Element, tag: str, transform: Transform) -> Ellipse | None:
    """None where the transformation changes angles."""
    if tag not in ("circle", "ellipse"):
        return None
    xx, xy, yx, yy = transform[:4]
    if abs(xx * yx + xy * yy) > 1e-6 or abs(math.hypot(xx, xy) - math.hypot(yx, yy)) > 1e-6:
        return None
    rx = _finite(element.get("r" if tag == "circle" else "rx", 0))
    ry = rx if tag == "circle" else _finite(element.get("ry", 0))
    if min(rx, ry) <= 0:
        return None
    centre = transform.transformPoint((_finite(element.get("cx", 0)), _finite(element.get("cy", 0))))
    axis = transform.transformVector((rx, 0) if rx >= ry else (0, ry))
    return Ellipse(centre, axis, min(rx, ry) / max(rx, ry))


def _transform(text: str) -> Transform:
    result = Identity
    for name, arguments in _TRANSFORM.findall(text):
        values = [float(value) for value in _NUMBER.findall(arguments)]
        if name == "translate":
            result = result.translate(values[0], values[1] if len(values) > 1 else 0)
        elif name == "scale":
            result = result.scale(values[0], values[1] if len(values) > 1 else values[0])
        elif name == "rotate":
            x, y = values[1:3] if len(values) == 3 else (0.0, 0.0)
            result = result.translate(x, y).rotate(math.radians(values[0])).translate(-x, -y)
        elif name == "matrix" and len(values) == 6:
            result = result.transform(tuple(values))
        else:
            raise ValueError(f"the transformation {name!a} is not known")
    return result


def _paint(
    text: str, own: Mapping[str, str], opacity_name: str, transform: Transform, by_id: Mapping[str, ElementTree.Element]
) -> Paint | None:
    if text == "none":
        return None
    opacity = _share(own.get(opacity_name, 1)) * _share(own.get("opacity", 1))
    if not text.startswith("url("):
        return Solid(_color(text), opacity)
    element = by_id.get(text[5:-1])
    if element is None or _tag(element) not in ("linearGradient", "radialGradient"):
        raise ValueError("a paint refers to nothing")
    linear = _tag(element) == "linearGradient"
    names = ("x1", "y1", "x2", "y2") if linear else ("cx", "cy", "r")
    stops = tuple(
        Stop(
            _share(stop.get("offset", 0)),
            _color(stop.get("stop-color", "#000")),
            _share(stop.get("stop-opacity", 1)) * opacity,
        )
        for stop in element
        if _tag(stop) == "stop"
    )
    if not stops:
        return None
    whole = transform.transform(_transform(element.get("gradientTransform", "")))
    return Gradient(linear, tuple(_finite(element.get(name, 0)) for name in names), stops, whole)


def _finite(value: str | float) -> float:
    """Raises ValueError for what is no number."""
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{number} is no size")
    return number


def _share(value: str | float) -> float:
    """From 0 to 1, to which other numbers are clamped. Raises ValueError for what is no number."""
    return min(1.0, max(0.0, _finite(value)))


def _color(text: str) -> Rgb:
    """Of #rgb or #rrggbb, which our tracers write."""
    digits = text.strip().removeprefix("#")
    if len(digits) == 3:
        digits = "".join(2 * digit for digit in digits)
    if len(digits) != 6:
        raise ValueError(f"the colour {text[:32]!a} is not known")
    red, green, blue = bytes.fromhex(digits)
    return red, green, blue


def _tag(element: ElementTree.Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _reference(element: ElementTree.Element) -> str:
    href = element.get("href") or element.get("{http://www.w3.org/1999/xlink}href") or ""
    return href.removeprefix("#")


def _determinant(transform: Transform) -> float:
    xx, xy, yx, yy = transform[:4]
    return float(xx * yy - xy * yx)
