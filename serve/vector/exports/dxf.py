"""DXF of AutoCAD 2010 by ezdxf, in millimetres: a hatch for each filled area and its outline, layers by colour.

Circles and ellipses are entities of their own, straight outlines polylines, curves splines, strokes polylines of their
width. A gradient becomes the mean of its stops.
"""

from __future__ import annotations

import io
import math

import ezdxf
import numpy as np
from ezdxf import path as paths
from ezdxf import units
from ezdxf._options import options
from ezdxf.colors import rgb2int
from ezdxf.document import Drawing as Document
from ezdxf.entities.hatch import Hatch
from ezdxf.filemanagement import new
from ezdxf.layouts.layout import Modelspace
from ezdxf.math import Matrix44, Vec3

from serve.vector.drawing import Contour, Drawing, Paint, Shape, Solid

MILLIMETRES = 25.4 / 96
"""Of a pixel."""
FLATNESS_PX = 0.02
"""Distance from their curves that polylines of strokes and hatches keep."""
_UNIT_CIRCLE = 2 * math.pi


def to_dxf(drawing: Drawing, scale: float) -> bytes:
    options.write_fixed_meta_data_for_testing = True  # the same drawing gives the same bytes
    document = new("R2010", units=units.MM)
    document.header["$MEASUREMENT"] = 1
    for name, value in (("Title", drawing.about.title), ("DigitalSourceType", drawing.about.source_type)):
        if value:
            document.header.custom_vars.append(name, value)
    space = document.modelspace()
    size = MILLIMETRES * scale
    placed = Matrix44.chain(
        Matrix44.scale(1, -1, 1), Matrix44.translate(0, drawing.height, 0), Matrix44.scale(size, size, size)
    )
    for shape in drawing.shapes:
        if shape.fill is not None:
            _fill(document, space, shape, shape.fill, placed, size)
        if shape.stroke is not None:
            _stroke(document, space, shape, shape.stroke, placed, size)
    text = io.StringIO()
    document.write(text)
    return text.getvalue().encode(document.output_encoding, errors="dxfreplace")


def _attributes(document: Document, prefix: str, paint: Paint) -> dict[str, object]:
    """Layer, colour and transparency of entities of ``paint``."""
    if isinstance(paint, Solid):
        color, opacity = paint.color, paint.opacity
    else:
        red, green, blue = (round(value) for value in np.mean([stop.color for stop in paint.stops], axis=0))
        color, opacity = (red, green, blue), float(np.mean([stop.opacity for stop in paint.stops]))
    name = f"{prefix}-{color[0]:02x}{color[1]:02x}{color[2]:02x}"
    if name not in document.layers:
        document.layers.add(name, true_color=rgb2int(color))
    attributes: dict[str, object] = {"layer": name, "true_color": rgb2int(color)}
    if opacity < 0.995:
        attributes["transparency"] = ezdxf.colors.float2transparency(1 - opacity)
    return attributes


def _solid(space: Modelspace, attributes: dict[str, object]) -> Hatch:
    hatch = space.add_hatch(dxfattribs=attributes)
    hatch.set_solid_fill(style=0)  # nested boundaries are holes
    hatch.dxf.true_color = attributes["true_color"]
    return hatch


def _fill(document: Document, space: Modelspace, shape: Shape, paint: Paint, placed: Matrix44, size: float) -> None:
    hatch = _solid(space, _attributes(document, "fill", paint))
    line = _attributes(document, "outline", paint)
    if shape.ellipse is not None:
        centre, axis = _ellipse(shape, placed)
        edges = hatch.paths.add_edge_path()
        edges.add_ellipse((centre.x, centre.y), (axis.x, axis.y), shape.ellipse.ratio, 0, 360)
        _add_ellipse(space, centre, axis, shape.ellipse.ratio, line)
        return
    for contour in shape.contours:
        outline = _path(contour, placed, close=True)
        hatch.paths.add_polyline_path(_corners(outline, size), is_closed=True)
        if outline.has_curves:
            paths.render_splines_and_polylines(space, [outline], dxfattribs=line)
        else:
            space.add_lwpolyline(_corners(outline, size), close=True, dxfattribs=line)


def _corners(line: paths.Path, size: float) -> list[tuple[float, float]]:
    """The corners of a polygon, or the points of a polyline, that is ``line`` within FLATNESS_PX."""
    points = list(line.flattening(FLATNESS_PX * size))
    if line.is_closed and len(points) > 1:
        points.pop()
    return [(point.x, point.y) for point in points]


def _stroke(document: Document, space: Modelspace, shape: Shape, paint: Paint, placed: Matrix44, size: float) -> None:
    attributes, width = _attributes(document, "stroke", paint), shape.stroke_width * size
    for contour in shape.contours:
        corners = _corners(_path(contour, placed, close=contour.closed), size)
        space.add_lwpolyline(corners, close=contour.closed, dxfattribs=attributes | {"const_width": width})
        for end in (corners[0], corners[-1]) if shape.cap == "round" and not contour.closed else ():
            _solid(space, attributes).paths.add_edge_path().add_arc(end, width / 2, 0, 360)


def _path(contour: Contour, placed: Matrix44, *, close: bool) -> paths.Path:
    result = paths.Path(contour.start)
    for kind, points in contour.steps:
        if kind == "line":
            result.line_to(points[0])
        else:
            result.curve4_to(points[2], points[0], points[1])
    if close:
        result.close()
    return result.transform(placed)


def _ellipse(shape: Shape, placed: Matrix44) -> tuple[Vec3, Vec3]:
    assert shape.ellipse is not None
    return placed.transform(shape.ellipse.centre), placed.transform_direction(shape.ellipse.axis)


def _add_ellipse(space: Modelspace, centre: Vec3, axis: Vec3, ratio: float, attributes: dict[str, object]) -> None:
    if ratio > 1 - 1e-6:
        space.add_circle(centre, axis.magnitude, dxfattribs=attributes)
    else:
        space.add_ellipse(centre, axis, max(ratio, 1e-6), 0, _UNIT_CIRCLE, dxfattribs=attributes)
