"""The options that rewrite a drawing, in the order in which they are applied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from serve.vector.drawing import Drawing, Shape
from serve.vector.ids import with_own_ids
from serve.vector.rewrite.curve_kinds import of_kind
from serve.vector.rewrite.cutting import as_outline, cut_out
from serve.vector.rewrite.grouping import Group, by_color, by_layer, by_parent
from serve.vector.rewrite.shape_writer import write
from serve.vector.svg_reader import read

OUTLINE_PX = 1.0
"""Width of the strokes of outlines."""
MAX_SHAPES = 3000
"""Drawings of more shapes are left as they are: cutting and grouping compare each with each."""


@dataclass(frozen=True)
class Rewrite:
    """``curves``: lines, arcs, quadratic or cubic. ``stacking``: stacked or cut_out. ``group_by``: none, color, parent
    or layer. ``draw``: fills or strokes."""

    curves: str = "cubic"
    stacking: str = "stacked"
    group_by: str = "none"
    draw: str = "fills"

    def apply(self, svg: str, decimals: int = 1) -> str:
        """``svg``, as our tracers write it, in other elements with so many ``decimals``; the same text if nothing is to
        be done."""
        if self == Rewrite():
            return svg
        drawing = read(svg)
        shapes: Sequence[Shape] = drawing.shapes
        if len(shapes) > MAX_SHAPES:
            return svg
        if self.stacking == "cut_out":
            shapes = cut_out(shapes)
        group = self._grouped(shapes)
        if self.draw == "strokes":
            shapes = [as_outline(shape, OUTLINE_PX) for shape in shapes]
        if self.curves != "cubic":
            shapes = [_of_kind(shape, self.curves) for shape in shapes]
        rewritten = Drawing(drawing.width, drawing.height, drawing.about, list(shapes))
        return with_own_ids(write(rewritten, group, decimals))

    def _grouped(self, shapes: Sequence[Shape]) -> Group:
        if self.group_by == "color":
            return by_color(shapes, disjoint=self.stacking == "cut_out")
        if self.group_by == "layer":
            return by_layer(shapes)
        if self.group_by == "parent":
            return by_parent(shapes)
        return Group(list(range(len(shapes))))


def _of_kind(shape: Shape, kind: str) -> Shape:
    """Whole circles stay with arcs, and rectangles with both; with quadratic curves all whole shapes stay."""
    if not any(name == "curve" for contour in shape.contours for name, _ in contour.steps):
        return shape
    is_circle = shape.ellipse is not None and shape.ellipse.ratio > 0.999
    if (kind == "quadratic" and shape.tag != "path") or (kind == "arcs" and (is_circle or shape.tag == "rect")):
        return shape
    contours = [of_kind(contour, kind) for contour in shape.contours]
    return replace(shape, contours=contours, geometry={}, tag="path", ellipse=None)
