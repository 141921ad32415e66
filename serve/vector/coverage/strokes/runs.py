"""Runs: stretches of centre line along which an area is as wide as its stroke, to a fraction of a pixel.

A point of the medial axis moves to the middle of the chord across it. Where two sides are parallel, the middle of any
chord between them lies on the centre line, so a rough axis suffices.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from serve.vector.coverage.strokes.area import Area, allowed, cast
from serve.vector.coverage.strokes.skeleton import Edge

Floats = npt.NDArray[np.float64]

STEP = 0.125
"""Distance of points along a centre line, in widths."""
MIN_STEP_PX = 0.7
MIN_POINTS = 4
TANGENT = 4
"""Points on each side over which a direction is measured."""
MARCH = 1.2
"""How far a free end may be followed beyond the medial axis, in widths."""
BAND_PX, BOW_PX = 0.22, 0.08
"""How far a straight stretch may stray from its line, and bow."""
SPLIT_PX = 0.4
CORNER = math.radians(6)
SIDE, SIDE_PX, LEAST_BEND_PX = 1.0, 10.0, 0.45
"""Least length of its two sides, in widths and in pixels, and how far an arc would bow that turns as much."""
SHARP = 4.0
"""How many times the bow of its two sides a corner has to turn by more than an arc that bows so would."""
TRIM = 0.45
"""How far from a corner between straight stretches their points do not count, in widths."""
GAP = 0.9
"""Most that lies between two straight stretches that meet in a corner, in widths."""
LEVEL_PX = 0.35
"""A straight run whose ends differ by less is horizontal or vertical."""


@dataclass(frozen=True)
class Run:
    """``points`` (n, 2); ``ends``: the nodes that it comes from and goes to, -1 where it is followed by another run of
    its edge; ``first``, ``last``: whether it begins or ends its edge; ``straight``: a point and a unit direction."""

    points: Floats
    straight: tuple[Floats, Floats] | None

    def end(self, side: int, width: float, beyond: float = 0.0) -> tuple[Floats, Floats]:
        """The last point (of side 1) or the first (of side 0), and the unit direction in which the run goes on; or
        those ``beyond`` pixels farther, as the run bends there."""
        points = self.points if side else self.points[::-1]
        if self.straight is not None:
            centre, direction = self.straight
            outwards = direction if side else -direction
            return centre + outwards * (float((points[-1] - centre) @ outwards) + beyond), outwards
        tail = points[-max(5, round(1.5 * width / spacing(width))) :]
        along = np.concatenate([[0.0], np.hypot(*np.diff(tail, axis=0).T).cumsum()])
        powers = np.vander(along - along[-1], 3 if len(tail) > 6 else 2, increasing=True)
        fit = np.linalg.lstsq(powers, tail, rcond=None)[0]
        bend = fit[2] if len(fit) > 2 else np.zeros(2)
        direction = fit[1] + 2 * beyond * bend
        at = fit[0] + beyond * fit[1] + beyond**2 * bend
        return np.asarray(at), np.asarray(direction / max(1e-9, float(np.hypot(*direction))))


def spacing(width: float) -> float:
    return max(MIN_STEP_PX, STEP * width)


def runs_of(area: Area, edge: Edge, noise: float, free: tuple[bool, bool]) -> list[list[Run]]:
    """The runs along ``edge``, in order; those in one list meet at corners within a stretch of even width. ``free``:
    whether its two ends are free."""
    width = area.width
    step = spacing(width)
    closed = edge.ends[0] < 0
    line = _spread(_smooth(edge.points, closed), step, closed)
    if len(line) < MIN_POINTS:
        return []
    good = np.zeros(len(line), np.bool_)
    for _ in range(2):
        line, wide = _centred(area, line, closed)
        good = abs(wide - width) < allowed(width, noise)
    stretches = _stretches(line, good, closed)
    if not stretches:
        return []
    if closed and len(stretches) == 1 and good.all():
        return [_at_corners(stretches[0], width, noise, closed=True)]
    if free[0] and not closed:
        stretches[0] = _march(area, stretches[0][::-1], step, noise)[::-1]
    if free[1] and not closed:
        stretches[-1] = _march(area, stretches[-1], step, noise)
    return [_at_corners(stretch, width, noise, closed=False) for stretch in stretches]


def _smooth(points: Floats, closed: bool) -> Floats:
    """The steps of the pixel grid evened out; ends stay."""
    reach = 4
    kernel = np.ones(2 * reach + 1) / (2 * reach + 1)
    if closed:
        ring = points[:-1]
        if len(ring) <= 2 * reach:
            return points
        padded = np.concatenate([ring[-reach:], ring, ring[:reach]])
    else:
        padded = np.concatenate(
            [2 * points[:1] - points[reach:0:-1], points, 2 * points[-1:] - points[-2 : -reach - 2 : -1]]
        )
        if len(padded) < len(points) + 2 * reach:
            return points
    return np.stack([np.convolve(padded[:, axis], kernel, mode="valid") for axis in (0, 1)], axis=1)


def _spread(points: Floats, step: float, closed: bool) -> Floats:
    if closed:
        points = np.concatenate([points, points[:1]])
    along = np.concatenate([[0.0], np.hypot(*np.diff(points, axis=0).T).cumsum()])
    count = max(2, round(float(along[-1]) / step) + 1)
    at = np.linspace(0, along[-1], count, endpoint=not closed)
    return np.stack([np.interp(at, along, points[:, axis]) for axis in (0, 1)], axis=1)


def _centred(area: Area, line: Floats, closed: bool) -> tuple[Floats, Floats]:
    """The points in the middle of their chords where these are as long as the stroke is wide, and all chords'
    lengths."""
    n = len(line)
    at = np.arange(n)
    before, after = at - TANGENT, at + TANGENT
    before, after = (before % n, after % n) if closed else (before.clip(0), after.clip(max=n - 1))
    normal = (line[after] - line[before]) @ np.array([[0.0, 1.0], [-1.0, 0.0]])
    normal /= np.maximum(1e-9, np.hypot(*normal.T))[:, None]
    points, normal = np.ascontiguousarray(line), np.ascontiguousarray(normal)
    left, right = cast(area.edges, points, normal), cast(area.edges, points, -normal)
    wide = left + right
    fits = abs(wide - area.width) < 0.3 * area.width
    shift = np.where(fits, (np.where(fits, left, 0) - np.where(fits, right, 0)) / 2, 0)
    return points + normal * shift[:, None], wide


def _stretches(line: Floats, good: npt.NDArray[np.bool_], closed: bool) -> list[Floats]:
    if closed:
        if good.all():
            return [np.concatenate([line, line[:1]])]
        first = int(np.flatnonzero(~good)[0])
        line, good = np.roll(line, -first, axis=0), np.roll(good, -first)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], good, [False]]).astype(np.int8)))
    return [line[a:b] for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a >= MIN_POINTS]


def _march(area: Area, points: Floats, step: float, noise: float) -> Floats:
    """``points`` followed beyond their last while the area is as wide."""
    found = [np.asarray(point) for point in points]
    for _ in range(round(MARCH * area.width / step)):
        direction = found[-1] - found[-1 - min(TANGENT, len(found) - 1)]
        direction = direction / max(1e-9, float(np.hypot(*direction)))
        at = found[-1] + step * direction
        normal = np.array([direction[1], -direction[0]])
        left, right = cast(area.edges, np.stack([at, at]), np.stack([normal, -normal]))
        if not abs(left + right - area.width) < allowed(area.width, noise):
            break
        found.append(at + normal * (left - right) / 2)
    return np.array(found)


def _at_corners(points: Floats, width: float, noise: float, *, closed: bool) -> list[Run]:
    """``points`` parted where two straight stretches meet at an angle."""
    if (whole := _straight(points, noise)) is not None:
        return [Run(points, whole)]
    cuts = _corners(points, width, noise)
    if not cuts:
        return [Run(points, None)]
    trim = max(1, round(TRIM * width / spacing(width)))
    if closed:  # the seam is within a piece
        ring = points[:-1]
        turned = np.concatenate([np.roll(ring, -cuts[0], axis=0), ring[cuts[0] : cuts[0] + 1]])
        bounds = [0, *(cut - cuts[0] for cut in cuts[1:]), len(turned) - 1]
        pieces = [turned[a + trim : b + 1 - trim] for a, b in pairwise(bounds)]
    else:
        bounds = [0, *cuts, len(points) - 1]
        last = len(bounds) - 2
        pieces = [
            points[a + (trim if i else 0) : b + 1 - (trim if i < last else 0)]
            for i, (a, b) in enumerate(pairwise(bounds))
        ]
    if any(len(piece) < MIN_POINTS for piece in pieces):
        return [Run(points, None)]
    return [Run(piece, _straight(piece, noise)) for piece in pieces]


def _corners(points: Floats, width: float, noise: float) -> list[int]:
    """Indices of ``points`` at which a straight stretch meets another."""
    last = len(points) - 1
    keep = [0, *_split(points, 0, last, SPLIT_PX * noise), last]
    trim = max(1, round(TRIM * width / spacing(width)))
    sides: list[tuple[int, int, Floats, float, float]] = []
    for a, b in pairwise(keep):
        side = points[a + (trim if a else 0) : b + 1 - (trim if b < last else 0)]
        if len(side) <= MIN_POINTS or (length := float(np.hypot(*(side[-1] - side[0])))) < max(SIDE * width, SIDE_PX):
            continue
        if (bow := _bow(side)) < 2 * BOW_PX * noise:
            sides.append((a, b, side[-1] - side[0], length, bow))
    found = []
    for (_, end, one, length, bow), (start, _, two, other_length, other_bow) in pairwise(sides):
        turn = _angle(one, two)
        bend = turn * min(length, other_length) / 8
        if (start - end) * spacing(width) > GAP * width + 2 or turn < CORNER or bend < LEAST_BEND_PX * noise:
            continue
        if max(bow, other_bow) < bend / SHARP:
            found.append((start + end) // 2)
    return found


def _split(points: Floats, a: int, b: int, limit: float) -> list[int]:
    """Inner indices at which points a..b are to be split to lie within ``limit`` of their chords."""
    found: list[int] = []
    stack = [(a, b)]
    while stack:
        a, b = stack.pop()
        if b - a < 2:
            continue
        chord = points[b] - points[a]
        length = float(np.hypot(*chord))
        off = points[a + 1 : b] - points[a]
        distance = np.hypot(*off.T) if length < 1e-9 else abs(off[:, 0] * chord[1] - off[:, 1] * chord[0]) / length
        worst = int(distance.argmax())
        if distance[worst] > limit:
            at = a + 1 + worst
            found.append(at)
            stack += [(a, at), (at, b)]
    return sorted(found)


def _angle(one: Floats, two: Floats) -> float:
    return abs(math.atan2(one[0] * two[1] - one[1] * two[0], float(one @ two)))


def _bow(points: Floats) -> float:
    """How much the middle third of ``points`` lies beside its two ends, in pixels."""
    _, direction = _axis(points)
    off = (points - points[0]) @ np.array([-direction[1], direction[0]])
    third = max(1, len(points) // 3)
    ends = (off[:third].mean() + off[-third:].mean()) / 2
    return abs(float(off[third : len(points) - third].mean() - ends)) if len(points) > 2 * third else 0.0


def _axis(points: Floats) -> tuple[Floats, Floats]:
    centre = points.mean(axis=0)
    x, y = (points - centre).T
    turn = 0.5 * math.atan2(2 * float(x @ y), float(x @ x - y @ y))
    direction = np.array([math.cos(turn), math.sin(turn)])
    return centre, direction if direction @ (points[-1] - points[0]) >= 0 else -direction


def _straight(points: Floats, noise: float) -> tuple[Floats, Floats] | None:
    """The line of ``points`` if they are straight: a point of it and its unit direction."""
    centre, direction = _axis(points)
    off = abs((points - centre) @ np.array([-direction[1], direction[0]]))
    if off.max() > BAND_PX * noise or _bow(points) > BOW_PX * noise:
        return None
    span = float(np.hypot(*(points[-1] - points[0])))
    for axis in (0, 1):
        if abs(direction[axis]) * span < LEVEL_PX * noise:
            direction = np.where(np.arange(2) == axis, 0.0, np.sign(direction))
    return centre, direction
