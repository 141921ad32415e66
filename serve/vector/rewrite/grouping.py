"""Shapes in groups: by colour, by the shape that they lie in, by how many lie below; what is seen stays the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from serve.vector.drawing import Box, Paint, Shape, Solid, bounds_of
from serve.vector.rewrite.cutting import outline_of, overlap


@dataclass
class Group:
    """``members`` in their order; a number is a shape's place, a group lies in this one."""

    members: list[int | Group] = field(default_factory=list)
    name: str = ""


def color_name(paint: Paint | None) -> str:
    """Of groups and classes: the colour in hex, or of a gradient its first."""
    if paint is None:
        return "none"
    color = paint.color if isinstance(paint, Solid) else paint.stops[0].color
    return "".join(f"{value:02x}" for value in color)


def by_color(shapes: Sequence[Shape], *, disjoint: bool) -> Group:
    """A shape joins an earlier group of its paint where it overlaps nothing that lies between; where the shapes are
    ``disjoint``, always."""
    boxes = [_box(shape) for shape in shapes]
    groups: list[tuple[Paint | None, list[int]]] = []
    for i, shape in enumerate(shapes):
        paint = shape.fill or shape.stroke
        for own, members in reversed(groups):
            if own == paint:
                members.append(i)
                break
            if not disjoint and any(overlap(boxes[i], boxes[j]) for j in members):
                groups.append((paint, [i]))
                break
        else:
            groups.append((paint, [i]))
    return Group([Group(list(members), f"color-{color_name(paint)}") for paint, members in groups])


def by_layer(shapes: Sequence[Shape]) -> Group:
    """A shape lies one layer above the highest of those that it overlaps."""
    boxes = [_box(shape) for shape in shapes]
    layers: list[list[int]] = []
    layer_of: list[int] = []
    for i, box in enumerate(boxes):
        layer = max((layer_of[j] + 1 for j in range(i) if overlap(box, boxes[j])), default=0)
        layer_of.append(layer)
        if layer == len(layers):
            layers.append([])
        layers[layer].append(i)
    return Group([Group(list(members), f"layer-{n}") for n, members in enumerate(layers, 1)])


def by_parent(shapes: Sequence[Shape]) -> Group:
    """A shape follows the newest one that it lies in, in a group of that one, unless it overlaps another between."""
    boxes = [_box(shape) for shape in shapes]
    paths = [outline_of(shape) for shape in shapes]
    parent: list[int | None] = []
    for i, shape in enumerate(shapes):
        inside = (
            j
            for j in range(i - 1, -1, -1)
            if _within(boxes[i], boxes[j]) and shape.contours and paths[j].contains(shape.contours[0].start)
        )
        parent.append(next((j for j in inside if _may_follow(i, j, boxes, parent)), None))
    children: dict[int | None, list[int]] = {}
    for i, own in enumerate(parent):
        children.setdefault(own, []).append(i)

    def grouped(i: int) -> int | Group:
        return Group([i, *(grouped(child) for child in children[i])]) if i in children else i

    return Group([grouped(i) for i in children.get(None, [])])


def _may_follow(i: int, j: int, boxes: Sequence[Box], parent: Sequence[int | None]) -> bool:
    """Whether ``i`` overlaps nothing between ``j`` and itself that lies outside of the group of ``j``."""
    return not any(overlap(boxes[i], boxes[k]) and not _descends(k, j, parent) for k in range(j + 1, i))


def _descends(k: int, j: int, parent: Sequence[int | None]) -> bool:
    at: int | None = k
    while at is not None and at != j:
        at = parent[at]
    return at == j


def _within(inner: Box, outer: Box) -> bool:
    return inner[0] >= outer[0] and inner[1] >= outer[1] and inner[2] <= outer[2] and inner[3] <= outer[3]


def _box(shape: Shape) -> Box:
    """With what a stroke adds, miters included."""
    left, top, right, bottom = bounds_of(shape)
    reach = 0.01 + (2 * shape.stroke_width if shape.stroke is not None else 0)
    return left - reach, top - reach, right + reach, bottom + reach
