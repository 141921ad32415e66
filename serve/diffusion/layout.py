"""Subjects and their relationships as a layout: one box for each subject, by rules, without a model.

Subjects that hold, surround, or stand before one another form a group, which has one cell; cells stand in columns and
rows by the relations left of, right of, above, below and beside; what has no relation to the rest stands to its right.
Depth orders the layers: what is in front, is held, or is surrounded lies above. Boxes that are given stay as they are,
and what belongs to their group is placed within them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from serve.diffusion.regions import Box
from serve.errors import InvalidRequest

MAX_SUBJECTS = 8
MAX_RELATIONSHIPS = 32
RELATIONS = (
    "left of", "right of", "above", "below", "in front of", "behind", "holding", "beside", "around",
)  # fmt: skip
_INVERSE = {"right of": "left of", "below": "above", "behind": "in front of"}
_MARGIN = 0.04
"""Of a cell, on each side."""
_STANDING = Box(0.0, 0.0, 0.8, 0.8)
"""The rear one of two subjects, in the group's box; the other is `_IN_FRONT`."""
_IN_FRONT = Box(0.25, 0.35, 0.75, 0.65)
_HANDS = (Box(0.55, 0.45, 0.45, 0.4), Box(0.0, 0.45, 0.45, 0.4))
"""Where what is held is, right and left, in the holder's box."""
_INSIDE = Box(0.25, 0.25, 0.5, 0.5)
"""What is surrounded, in the box of what is around it."""
_COLOURS = ("#2563eb", "#dc2626", "#16a34a", "#9333ea", "#ea580c", "#0891b2", "#be185d", "#4d7c0f")


@dataclass(frozen=True)
class Relationship:
    """``subject`` is ``relation`` (one of RELATIONS) ``object``: names of subjects."""

    subject: str
    relation: str
    object: str


@dataclass(frozen=True)
class Placed:
    """A subject's box; layers count from 0, the lowest."""

    name: str
    box: Box
    layer: int


@dataclass(frozen=True)
class _Attachment:
    """``child`` is placed at ``part`` of the box of ``parent``, whose own box then shrinks to ``rest`` of its cell."""

    parent: str
    part: Box
    rest: Box | None = None


def arrange(names: Sequence[str], relationships: Sequence[Relationship], given: Mapping[str, Box]) -> list[Placed]:
    """The subjects called ``names``, from the lowest layer to the highest. ``given``: boxes by name that are kept.

    Raises InvalidRequest naming ``subjects``, ``relationships`` or ``relationships[i]``: for too many, for names that
    are unknown or not unique, and for relations that contradict one another.
    """
    _check(names, relationships)
    plain = [_normal(one) for one in relationships]
    columns, rows, depth = (_Order(names, what) for what in ("left of", "above", "in front of"))
    attached: dict[str, _Attachment] = {}
    for i, one in enumerate(plain):
        if one.relation in ("holding", "around"):
            _attach(one, i, attached)
            depth.add(one.object, one.subject, i)
    for i, one in enumerate(plain):
        if one.relation == "left of":
            columns.add(one.subject, one.object, i)
        elif one.relation == "above":
            rows.add(one.subject, one.object, i)
        elif one.relation == "in front of":
            depth.add(one.subject, one.object, i)
    for i, one in enumerate(plain):
        if one.relation == "beside" and not columns.related(one.subject, one.object):
            columns.add(one.subject, one.object, i)
    for one in plain:  # a depth alone, without an order in the plane, makes a group
        ordered = any(order.related(one.subject, one.object) for order in (columns, rows))
        is_free = one.subject not in attached and _root(one.object, attached) != one.subject
        if one.relation == "in front of" and is_free and not ordered:
            attached[one.subject] = _Attachment(one.object, _IN_FRONT, _STANDING)
    _check_groups(plain, attached)
    cells = _cells(names, columns.among_roots(attached), rows.among_roots(attached), attached)
    boxes = _boxes(names, cells, attached, given)
    layers = depth.levels()
    ordered_names = sorted(names, key=lambda name: (-layers[name], names.index(name)))
    return [Placed(name, boxes[name], layer) for layer, name in enumerate(ordered_names)]


_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 does not have."""


def to_svg(placed: Sequence[Placed], width: int, height: int) -> str:
    """The boxes with their names, as SVG of ``width`` x ``height``."""
    size = max(8.0, min(width, height) / 16)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for i, one in enumerate(placed):
        x, y = one.box.left * width, one.box.top * height
        colour = _COLOURS[i % len(_COLOURS)]
        parts.append(
            f'<g><rect x="{x:.1f}" y="{y:.1f}" width="{one.box.width * width:.1f}" '
            f'height="{one.box.height * height:.1f}" fill="{colour}" fill-opacity="0.2" stroke="{colour}"/>'
            f'<text x="{x + size / 3:.1f}" y="{y + size:.1f}" font-family="sans-serif" font-size="{size:.1f}" '
            f'fill="{colour}">{escape(_NOT_XML.sub("", one.name))}</text></g>'
        )
    return "".join([*parts, "</svg>"])


class _Order:
    """A partial order of subjects, by one relation."""

    def __init__(self, names: Sequence[str], relation: str) -> None:
        self._relation = relation
        self._after: dict[str, set[str]] = {name: set() for name in names}

    def add(self, first: str, second: str, index: int) -> None:
        """``first`` comes before ``second``. Raises InvalidRequest for a cycle."""
        if first in self._reached(second):
            raise InvalidRequest(
                f"is cyclic: {second!r} is already {self._relation} {first!r}", f"relationships[{index}]"
            )
        self._after[first].add(second)

    def related(self, one: str, other: str) -> bool:
        return other in self._reached(one) or one in self._reached(other)

    def levels(self) -> dict[str, int]:
        """The length of the longest chain that ends at each subject."""
        levels = dict.fromkeys(self._after, 0)
        for _ in self._after:
            for first, followers in self._after.items():
                for second in followers:
                    levels[second] = max(levels[second], levels[first] + 1)
        return levels

    def among_roots(self, attached: Mapping[str, _Attachment]) -> _Order:
        """The same order of groups, each called by its root. Raises InvalidRequest where groups are cyclic."""
        order = _Order(list(self._after), self._relation)
        for first, followers in self._after.items():
            for second in followers:
                pair = _root(first, attached), _root(second, attached)
                if pair[0] in order._reached(pair[1]):
                    raise InvalidRequest(f"are cyclic: {first!r} and {second!r} stand in groups", "relationships")
                order._after[pair[0]].add(pair[1])
        return order

    def pairs(self) -> Iterable[tuple[str, str]]:
        return ((first, second) for first, followers in self._after.items() for second in sorted(followers))

    def _reached(self, name: str) -> set[str]:
        """``name`` and all that come after it."""
        seen, waiting = {name}, [name]
        while waiting:
            new = self._after[waiting.pop()] - seen
            seen |= new
            waiting += new
        return seen


def _check(names: Sequence[str], relationships: Sequence[Relationship]) -> None:
    if len(names) > MAX_SUBJECTS:
        raise InvalidRequest(f"has {len(names)} subjects; at most {MAX_SUBJECTS} are allowed", "subjects")
    if len(set(names)) < len(names):
        raise InvalidRequest("must have different names", "subjects")
    if len(relationships) > MAX_RELATIONSHIPS:
        raise InvalidRequest(f"has more than {MAX_RELATIONSHIPS} relationships", "relationships")
    for i, one in enumerate(relationships):
        for name, part in ((one.subject, "subject"), (one.object, "object")):
            if name not in names:
                known = ", ".join(names)
                raise InvalidRequest(f"is no subject; there are: {known}", f"relationships[{i}].{part}")
        if one.subject == one.object:
            raise InvalidRequest("relates a subject to itself", f"relationships[{i}]")
        if one.relation not in RELATIONS:
            raise InvalidRequest(f"must be one of {', '.join(RELATIONS)}", f"relationships[{i}].relation")


def _normal(one: Relationship) -> Relationship:
    """With `left of`, `above` and `in front of` in place of their inverses."""
    if one.relation in _INVERSE:
        return Relationship(one.object, _INVERSE[one.relation], one.subject)
    return one


def _attach(one: Relationship, index: int, attached: dict[str, _Attachment]) -> None:
    """What ``one.subject`` holds or surrounds. Raises InvalidRequest for what is in two places."""
    child, parent = one.object, one.subject
    if child in attached:
        raise InvalidRequest(
            f"places {child!r} a second time; it is with {attached[child].parent!r}", f"relationships[{index}]"
        )
    if _root(parent, attached) == child:
        raise InvalidRequest(f"is cyclic: {parent!r} is already placed with {child!r}", f"relationships[{index}]")
    held = sum(1 for other in attached.values() if other.parent == parent and other.part in _HANDS)
    part = _INSIDE if one.relation == "around" else _HANDS[held % len(_HANDS)]
    attached[child] = _Attachment(parent, part)


def _check_groups(relationships: Sequence[Relationship], attached: Mapping[str, _Attachment]) -> None:
    for i, one in enumerate(relationships):
        if one.relation in ("left of", "above", "beside") and _root(one.subject, attached) == _root(
            one.object, attached
        ):
            raise InvalidRequest(
                f"orders {one.subject!r} and {one.object!r}, which are placed with one another", f"relationships[{i}]"
            )


def _root(name: str, attached: Mapping[str, _Attachment]) -> str:
    while name in attached:
        name = attached[name].parent
    return name


def _cells(names: Sequence[str], columns: _Order, rows: _Order, attached: Mapping[str, _Attachment]) -> dict[str, Box]:
    """The cell of each group, by its root: connected groups share a grid, and grids stand side by side."""
    roots = [name for name in names if name not in attached]
    across, down = columns.levels(), rows.levels()
    grids = _connected(roots, [*columns.pairs(), *rows.pairs()])
    widths = [1 + max(across[name] for name in grid) for grid in grids]
    left, cells = 0.0, {}
    for grid, width in zip(grids, widths, strict=True):
        height = 1 + max(down[name] for name in grid)
        for name in grid:
            same = [other for other in grid if (across[other], down[other]) == (across[name], down[name])]
            part = 1 / (height * len(same))
            top = down[name] / height + same.index(name) * part
            cells[name] = Box((left + across[name]) / sum(widths), top, 1 / sum(widths), min(part, 1 - top))
        left += width
    return {name: cell.part(_MARGIN, _MARGIN, 1 - 2 * _MARGIN, 1 - 2 * _MARGIN) for name, cell in cells.items()}


def _connected(names: Sequence[str], pairs: Iterable[tuple[str, str]]) -> list[list[str]]:
    """``names`` in sets that ``pairs`` connect, in the order of ``names``."""
    group = {name: {name} for name in names}
    for first, second in pairs:
        joined = group[first] | group[second]
        for name in joined:
            group[name] = joined
    grids: list[list[str]] = []
    for name in names:
        if not any(name in grid for grid in grids):
            grids.append([other for other in names if other in group[name]])
    return grids


def _boxes(
    names: Sequence[str], cells: Mapping[str, Box], attached: Mapping[str, _Attachment], given: Mapping[str, Box]
) -> dict[str, Box]:
    """The box of each subject, from the roots of the groups to what is attached."""
    boxes: dict[str, Box] = {}
    outer: dict[str, Box] = {}

    def place(name: str) -> None:
        link = attached.get(name)
        if link is None:
            outer[name] = cells[name]
        else:
            if link.parent not in boxes:
                place(link.parent)
            base = outer[link.parent] if link.rest is not None else boxes[link.parent]
            outer[name] = base.part(link.part.left, link.part.top, link.part.width, link.part.height)
        rests = [one.rest for one in attached.values() if one.parent == name and one.rest is not None]
        own = outer[name]
        if name in given:
            own = outer[name] = given[name]
        elif rests:
            own = own.part(rests[0].left, rests[0].top, rests[0].width, rests[0].height)
        boxes[name] = own

    for name in names:
        if name not in boxes:
            place(name)
    return boxes
