"""Shapes cut out of each other by Skia's path operations: nothing lies below an opaque shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pathops

from serve.vector.drawing import MITER_LIMIT, Box, Contour, Gradient, Paint, Shape, cubic

MIN_AREA_PX = 0.03
"""Smaller slivers are left out."""
OPAQUE = 0.995
_CAPS = {"round": pathops.LineCap.ROUND_CAP, "square": pathops.LineCap.SQUARE_CAP}
_JOINS = {"round": pathops.LineJoin.ROUND_JOIN, "bevel": pathops.LineJoin.BEVEL_JOIN}


def cut_out(shapes: Sequence[Shape]) -> list[Shape]:
    """``shapes``, the lowest first, without what opaque shapes above them hide."""
    paths = [outline_of(shape) for shape in shapes]
    boxes: list[Box] = [path.bounds for path in paths]
    opaque = [_is_opaque(shape.fill or shape.stroke) for shape in shapes]
    found = []
    for i, shape in enumerate(shapes):
        above = [j for j in range(i + 1, len(shapes)) if opaque[j] and overlap(boxes[i], boxes[j])]
        left = _without(paths[i], [paths[j] for j in above]) if above else None
        if left is None:
            found.append(shape)
            continue
        contours = contours_of(left)
        if contours:
            paint = shape.fill or shape.stroke
            found.append(Shape(contours, paint, left.fillType == pathops.FillType.EVEN_ODD, None, 0, "butt", "miter"))
    return found


def _without(path: pathops.Path, above: Sequence[pathops.Path]) -> pathops.Path | None:
    """``path`` without those above it; None where they take nothing, or the operation fails."""
    builder = pathops.OpBuilder(fix_winding=False, keep_starting_points=False)
    builder.add(path, pathops.PathOp.UNION)
    for other in above:
        builder.add(other, pathops.PathOp.DIFFERENCE)
    try:
        left = builder.resolve()
    except pathops.PathOpsError:
        return None
    left.convertConicsToQuads()
    if abs(abs(left.area) - abs(path.area)) < MIN_AREA_PX and left.bounds == path.bounds:
        return None
    whole = pathops.Path(fillType=left.fillType)
    for contour in left.contours:
        if abs(contour.area) >= MIN_AREA_PX:
            whole.addPath(contour)
    return whole


def outline_of(shape: Shape) -> pathops.Path:
    """The area that ``shape`` covers: its fill, or the outline of its stroke."""
    even_odd = shape.fill is not None and shape.even_odd
    path = pathops.Path(fillType=pathops.FillType.EVEN_ODD if even_odd else pathops.FillType.WINDING)
    pen = path.getPen()
    for contour in shape.contours:
        pen.moveTo(contour.start)
        for name, points in contour.steps:
            (pen.lineTo if name == "line" else pen.curveTo)(*points)
        (pen.closePath if contour.closed or shape.fill is not None else pen.endPath)()
    if shape.fill is None and shape.stroke is not None:
        path.stroke(shape.stroke_width, _CAPS.get(shape.cap, pathops.LineCap.BUTT_CAP),
                    _JOINS.get(shape.join, pathops.LineJoin.MITER_JOIN), MITER_LIMIT)  # fmt: skip
        path.convertConicsToQuads()
    return path


def contours_of(path: pathops.Path) -> list[Contour]:
    found: list[Contour] = []
    for verb, points in path:
        if verb == pathops.PathVerb.MOVE:
            found.append(Contour(points[0], [], True))
            continue
        steps = found[-1].steps
        if verb == pathops.PathVerb.LINE:
            steps.append(("line", points))
        elif verb == pathops.PathVerb.QUAD:
            steps.append(("curve", cubic(steps[-1][1][-1] if steps else found[-1].start, *points)))
        elif verb == pathops.PathVerb.CUBIC:
            steps.append(("curve", points))
    return [contour for contour in found if contour.steps]


def _is_opaque(paint: Paint | None) -> bool:
    if isinstance(paint, Gradient):
        return all(stop.opacity >= OPAQUE for stop in paint.stops)
    return paint is not None and paint.opacity >= OPAQUE


def overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def as_outline(shape: Shape, width: float) -> Shape:
    """The outline of a filled ``shape`` as a stroke of its paint; a stroked one as it is."""
    if shape.fill is None:
        return shape
    closed = [Contour(contour.start, contour.steps, True) for contour in shape.contours]
    return replace(
        shape, contours=closed, fill=None, stroke=shape.fill, stroke_width=width, cap="butt", join="round",
        geometry=shape.geometry if all(contour.closed for contour in shape.contours) else {},
    )  # fmt: skip
