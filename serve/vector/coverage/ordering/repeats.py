"""The same outline again: outlines that differ by less than the picture's accuracy get one form, each at its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from serve.vector.coverage.curves import Segments
from serve.vector.coverage.kernel import kernel
from serve.vector.coverage.paints import SOLID, PaintTable
from serve.vector.coverage.refine import flatten
from serve.vector.coverage.text import Stroke, outline_data
from serve.vector.coverage.writer import Shape

ALIKE_PX, ALIKE_NOISY_PX = 0.3, 0.45
"""Largest distance between two outlines of one form, in clean and in noisy pictures."""
SIZE_PX = 0.8
"""Most that the sides of their boxes differ by."""
USE_BYTES, ELEMENT_BYTES = 34, 12
"""About what a ``use`` takes, and a path of its own beside its data."""
MAX_OUTLINES, SAMPLES, FINE = 600, 64, 512
Floats = npt.NDArray[np.float64]
Place = tuple[int, int]
"""Of an outline: its shape's index, and its own in that shape."""


@dataclass(frozen=True)
class Found:
    """``holes``: the outlines of the same shape that are holes of the stroke's area."""

    stroke: Stroke
    holes: tuple[int, ...]


@dataclass(frozen=True)
class _Outline:
    """``polygon`` (n, 2) around its centroid ``centre``; ``size``: width and height."""

    place: Place
    polygon: Floats
    centre: Floats
    size: Floats
    bytes: int


def same_forms(
    shapes: Sequence[Shape], paints: PaintTable, decimals: int, spare: int, *, noisy: bool
) -> dict[Place, Segments]:
    """The outlines of ``shapes`` that get the form of another, and that other; each is to be a shape of its own, and
    up to ``spare`` shapes come from that."""
    found = _free_outlines(shapes, paints, decimals)
    moved: dict[Place, Segments] = {}
    for group in _groups(found, ALIKE_NOISY_PX if noisy else ALIKE_PX):
        form = min(group, key=lambda one: one.bytes)
        added = sum(len(shapes[one.place[0]].outlines) > 1 for one in group)
        gain = sum(one.bytes for one in group) - form.bytes - (len(group) - 1) * USE_BYTES
        if gain < ELEMENT_BYTES * (1 + added) or added > spare:
            continue
        spare -= added
        scale = 10**decimals
        outline = shapes[form.place[0]].outlines[form.place[1]].copy()
        outline[:, 1:] = np.rint(outline[:, 1:] * scale) / scale
        for one in group:
            step = np.rint((one.centre - form.centre) * scale) / scale
            copy = outline.copy()
            copy[:, 1::2] += step[0]
            copy[:, 2::2] += step[1]
            moved[one.place] = copy
    return moved


@dataclass(frozen=True)
class Part:
    """``origin``: index of the shape that it is a part of; ``before``, ``after``: with the outline that it had, and
    with the one that it gets."""

    origin: int
    before: Shape
    after: Shape

    @property
    def is_redrawn(self) -> bool:
        """Whether an outline changes that is no whole shape, or becomes a stroke."""
        if self.after.stroke is not None:
            return True
        pairs = zip(self.before.outlines, self.after.outlines, self.after.wholes, strict=True)
        return any(whole is None and one is not other for one, other, whole in pairs)


def apart(
    before: Sequence[Shape], after: Sequence[Shape], moved: Mapping[Place, Segments], strokes: Mapping[Place, Found]
) -> list[Part]:
    """The shapes ``after``, which were those ``before``, with their ``moved`` outlines, and those that are ``strokes``,
    as shapes of their own."""
    parts = []
    for i, (old, new) in enumerate(zip(before, after, strict=True)):
        found = {j: one for (k, j), one in strokes.items() if k == i}
        own = [j for j in range(len(new.outlines)) if (i, j) in moved or j in found]
        holes = {hole for one in found.values() for hole in one.holes}
        rest = [j for j in range(len(new.outlines)) if j not in own and j not in holes]
        if not own:
            parts.append(Part(i, old, new))
            continue
        if rest:
            left = _only(old, rest)
            parts.append(Part(i, left, left if old is new else _only(new, rest)))
        for j in own:
            if j in found:
                members = [j, *found[j].holes]
                parts.append(Part(i, _only(old, members), replace(_only(new, members), stroke=found[j].stroke)))
            else:
                one = replace(new, outlines=[moved[i, j]], wholes=[None])
                parts.append(Part(i, _only(old, [j]), one))
    return parts


def together(parts: Sequence[Part], kept: Sequence[Shape]) -> list[Shape]:
    """``kept``, of each part one or the other, with the parts of a shape in one again that stay as they were."""
    result: list[Shape] = []
    last = -1
    for part, shape in zip(parts, kept, strict=True):
        stays = shape is part.before
        if stays and last == part.origin:
            into = result[-1]
            result[-1] = replace(into, outlines=[*into.outlines, *shape.outlines], wholes=[*into.wholes, *shape.wholes])
        else:
            result.append(shape)
        last = part.origin if stays else -1
    return result


def _only(shape: Shape, members: Sequence[int]) -> Shape:
    return replace(shape, outlines=[shape.outlines[j] for j in members], wholes=[shape.wholes[j] for j in members])


def _free_outlines(shapes: Sequence[Shape], paints: PaintTable, decimals: int) -> list[_Outline]:
    """Outlines of flat colour that are no whole shape, have no holes and lie in none, and are as large as another."""
    places = [
        (i, j)
        for i, shape in enumerate(shapes)
        if paints.kind[shape.paint] == SOLID
        for j, outline in enumerate(shape.outlines)
        if shape.wholes[j] is None and len(outline) > 2
    ][:MAX_OUTLINES]
    polygons = [flatten(shapes[i].outlines[j], 10) for i, j in places]
    sizes = np.array([np.ptp(polygon, axis=0) for polygon in polygons]).reshape(-1, 2)
    found: list[_Outline] = []
    alone: dict[int, list[bool]] = {}
    for (i, j), polygon, size in zip(places, polygons, sizes, strict=True):
        if (abs(sizes - size) < SIZE_PX).all(axis=1).sum() < 2:
            continue
        if i not in alone:
            alone[i] = free([flatten(outline, 10) for outline in shapes[i].outlines])
        length = len(outline_data(shapes[i].outlines[j], decimals)) if alone[i][j] else 0
        if length > USE_BYTES:
            centre = _centroid(polygon)
            found.append(_Outline((i, j), polygon - centre, centre, size, length))
    return found


def free(polygons: Sequence[Floats]) -> list[bool]:
    """By polygon (n, 2), whether it lies in no other, and none in it."""
    boxes = np.array([[*p.min(axis=0), *p.max(axis=0)] for p in polygons]).reshape(-1, 4)
    apart = [True] * len(polygons)
    for i, (box, polygon) in enumerate(zip(boxes, polygons, strict=True)):
        within = (boxes[:, :2] >= box[:2]).all(axis=1) & (boxes[:, 2:] <= box[2:]).all(axis=1)
        for j in np.flatnonzero(within):
            x, y = polygons[j][0]
            if j != i and cv2.pointPolygonTest(polygon.astype(np.float32), (float(x), float(y)), False) >= 0:
                apart[i] = apart[j] = False
    return apart


def _groups(found: Sequence[_Outline], within: float) -> list[list[_Outline]]:
    sizes = np.array([one.size for one in found]).reshape(-1, 2)
    left = np.ones(len(found), np.bool_)
    fine = [spread(one.polygon, FINE) for one in found]
    groups = []
    for i, one in enumerate(found):
        near = left & (abs(sizes - sizes[i]) < SIZE_PX).all(axis=1)
        near[: i + 1] = False
        if not left[i] or not near.any():
            continue
        members = [j for j in np.flatnonzero(near) if _is_alike(fine[i], fine[j], within)]
        if members:
            left[members] = False
            groups.append([one, *(found[j] for j in members)])
    return groups


@kernel
def _is_near(few: Floats, many: Floats, within: float) -> bool:
    """Whether each point of ``few`` (n, 2) has one of ``many`` (m, 2) within that distance."""
    for i in range(few.shape[0]):
        near = False
        for j in range(many.shape[0]):
            x, y = few[i, 0] - many[j, 0], few[i, 1] - many[j, 1]
            if x * x + y * y < within * within:
                near = True
                break
        if not near:
            return False
    return True


def _is_alike(one: Floats, other: Floats, within: float) -> bool:
    few = FINE // SAMPLES
    return _is_near(one[::few].copy(), other, within) and _is_near(other[::few].copy(), one, within)


def spread(polygon: Floats, count: int) -> Floats:
    """``count`` points at equal distances along the closed ``polygon`` (n, 2)."""
    closed = np.concatenate([polygon, polygon[:1]])
    along = np.concatenate([[0.0], np.hypot(*np.diff(closed, axis=0).T).cumsum()])
    at = np.arange(count) * along[-1] / count
    return np.stack([np.interp(at, along, closed[:, 0]), np.interp(at, along, closed[:, 1])], axis=1)


def _centroid(polygon: Floats) -> Floats:
    start = polygon[0]
    x, y = (polygon - start).T
    cross = x * np.roll(y, -1) - np.roll(x, -1) * y
    area = cross.sum() / 2
    if abs(area) < 1e-9:
        return np.asarray(polygon.mean(axis=0))
    middle = np.array([((x + np.roll(x, -1)) * cross).sum(), ((y + np.roll(y, -1)) * cross).sum()]) / (6 * area)
    return np.asarray(start + middle)
