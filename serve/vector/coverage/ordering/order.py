"""Order among finished shapes: what is nearly equal becomes equal, and what is nearly regular becomes regular.

Of whole shapes these are half sides and radii, corners and centres; of outlines of straight lines alone, the
corners of regular polygons and stars. No value moves by more than the accuracy with which it was found.
"""

from __future__ import annotations

import cmath
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from serve.vector.coverage.curves import Segments
from serve.vector.coverage.primitives import CIRCLE, CORNER, CX, CY, RECT, TURN, A, B, Primitive
from serve.vector.coverage.writer import Shape

EQUAL_PX = 0.05
"""Values that differ by less are equal; a wider bound in noisy pictures costs likeness."""
MIN_ALIKE = 3
"""Shapes of one size; fewer may be so by chance."""
REGULAR_PX, REGULAR_NOISY_PX = 0.25, 0.35
"""Most that a corner moves to its place in a regular polygon or star."""
MIN_CORNERS, MAX_CORNERS = 5, 32
"""Triangles and rectangles have too few corners to be called regular by chance."""
MIN_RADIUS_PX = 8.0
TIP_PX = 2.2
"""A shorter side between two that nearly meet is the tip of a corner that the pixel grid cut off."""
Floats = npt.NDArray[np.float64]


def in_order(shapes: Sequence[Shape], *, noisy: bool) -> list[Shape]:
    """Shapes that do not change are those of ``shapes``."""
    regular = REGULAR_NOISY_PX if noisy else REGULAR_PX
    found = [(i, j, whole) for i, shape in enumerate(shapes) for j, whole in enumerate(shape.wholes) if whole]
    values = np.array([whole.values for *_, whole in found]).reshape(-1, 6)
    kinds = np.array([whole.kind for *_, whole in found])
    _align(values, kinds, EQUAL_PX)
    result = list(shapes)
    for (i, j, whole), moved in zip(found, values, strict=True):
        if not np.array_equal(moved, whole.values):
            one = Primitive(whole.kind, moved)
            result[i] = _with(result[i], j, one.to_segments(), one)
    for i, shape in enumerate(shapes):
        for j, outline in enumerate(shape.outlines):
            if shape.wholes[j] is None and (corners := _regular(outline, regular)) is not None:
                result[i] = _with(result[i], j, _polygon(corners), None)
    return result


def _with(shape: Shape, j: int, outline: Segments, whole: Primitive | None) -> Shape:
    """``shape`` with another outline in place ``j``."""
    outlines, wholes = list(shape.outlines), list(shape.wholes)
    outlines[j], wholes[j] = outline, whole
    return replace(shape, outlines=outlines, wholes=wholes)


def _align(values: Floats, kinds: npt.NDArray[np.int64], equal: float) -> None:
    """``values`` (n, 6) of whole shapes, nearly equal ones set to their mean; in place."""
    pill = np.isclose(values[:, CORNER], values[:, [A, B]].min(axis=1)) if len(values) else np.zeros(0, np.bool_)
    _align_turns(values, kinds, equal)
    square = (kinds == RECT) & (abs(values[:, A] - values[:, B]) < equal)
    values[square, A] = values[square, B] = values[square][:, [A, B]].mean(axis=1)
    sizes = [A, B, CORNER]
    for kind in np.unique(kinds):
        own = np.flatnonzero(kinds == kind)
        for members in _alike(values[own][:, sizes], equal):
            values[own[members][:, None], sizes] = values[own[members]][:, sizes].mean(axis=0)
    for axes, least in (([CX, CY], 2), ([CX], MIN_ALIKE), ([CY], MIN_ALIKE)):  # concentric, in a column, in a row
        for members in _alike(values[:, axes], equal, least):
            values[members[:, None], axes] = values[members][:, axes].mean(axis=0)
    round_ends = pill & (kinds == RECT) & (values[:, CORNER] > 0)
    values[round_ends, CORNER] = values[round_ends][:, [A, B]].min(axis=1)


def _align_turns(values: Floats, kinds: npt.NDArray[np.int64], equal: float) -> None:
    """Turns that move no outline by more than ``equal``, set to their mean; in place."""
    turned = np.flatnonzero((values[:, TURN] != 0) & (kinds != CIRCLE))
    reach = values[:, [A, B]].max(axis=1, initial=0.0)
    left = list(turned[np.argsort(values[turned, TURN], kind="stable")])
    while left:
        first = left[0]
        members = [i for i in left if abs(values[i, TURN] - values[first, TURN]) * max(reach[i], reach[first]) < equal]
        left = [i for i in left if i not in members]
        values[members, TURN] = values[members, TURN].mean()


def _alike(sizes: Floats, within: float, least: int = MIN_ALIKE) -> list[npt.NDArray[np.int64]]:
    """Groups of at least ``least`` rows of ``sizes`` (n, k) that differ by less than ``within`` from their first."""
    groups: list[npt.NDArray[np.int64]] = []
    left = np.ones(len(sizes), np.bool_)
    for i in np.lexsort(sizes.T[::-1]):
        if not left[i]:
            continue
        members = np.flatnonzero(left & (abs(sizes - sizes[i]) < within).all(axis=1))
        if len(members) >= least:
            left[members] = False
            groups.append(members)
    return groups


def _regular(outline: Segments, within: float) -> Floats | None:
    """The corners (k, 2) of the regular polygon or star that ``outline`` nearly is; None if it is none."""
    if not MIN_CORNERS <= len(outline) <= 2 * MAX_CORNERS or (outline[:, 0] != 1).any():
        return None
    corners = _with_tips(outline[:, 1] + 1j * outline[:, 2])
    k = len(corners)
    if not MIN_CORNERS <= k <= MAX_CORNERS:
        return None
    steps = np.arange(k)
    centre = corners.mean()
    for sense in (1, -1):
        spokes = (corners - centre) * np.exp(-2j * np.pi * sense * steps / k)
        even, odd = complex(spokes[::2].mean()), complex(spokes[1::2].mean())
        if k % 2:
            even = odd = complex(spokes.mean())
        elif abs(abs(even) - abs(odd)) < within:
            even = odd = (even + odd) / 2
        turn = cmath.phase(even * abs(even) + odd * abs(odd))  # longer spokes say more
        radii = np.where(steps % 2 == 0, abs(even), abs(odd))
        drawn = centre + radii * np.exp(1j * (turn + 2 * np.pi * sense * steps / k))
        if radii.max() >= MIN_RADIUS_PX and abs(drawn - corners).max() <= within:
            found: Floats = np.stack([drawn.real, drawn.imag], axis=1)
            return found
    return None


def _with_tips(corners: npt.NDArray[np.complex128]) -> npt.NDArray[np.complex128]:
    """``corners`` (k,), as complex numbers, with sides shorter than TIP_PX replaced by where their neighbours meet."""
    k = len(corners)
    result: list[complex] = []
    skip = False
    for i in range(k):
        before, here, there, after = (complex(corners[(i + j) % k]) for j in (-1, 0, 1, 2))
        if skip:
            skip = False
            continue
        tip = _crossing(before, here, there, after) if abs(there - here) < TIP_PX else None
        if tip is None or abs(tip - here) > 2 * TIP_PX:
            result.append(here)
            continue
        if i == k - 1:
            result = result[1:]
        result.append(tip)
        skip = True
    return np.array(result)


def _crossing(a: complex, b: complex, c: complex, d: complex) -> complex | None:
    """Where the line through a and b meets that through c and d."""
    one, two = b - a, d - c
    cross = (one.conjugate() * two).imag
    if abs(cross) < 1e-9:
        return None
    return a + one * ((c - a).conjugate() * two).imag / cross


def _polygon(corners: Floats) -> Segments:
    """Lines through ``corners`` (k, 2), their inner control points at thirds."""
    ends = np.roll(corners, -1, axis=0)
    points = [corners + (ends - corners) * share / 3 for share in range(4)]
    return np.concatenate([np.ones((len(corners), 1)), *points], axis=1)
