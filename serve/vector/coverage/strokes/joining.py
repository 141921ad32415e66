"""Runs joined to lines: ends of runs that meet at a node or beyond a gap go on in one another, or meet in a corner."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from serve.vector.coverage.strokes.runs import Run

Floats = npt.NDArray[np.float64]
End = tuple[int, int]
"""Of a run, by its index: 0 its first point, 1 its last."""

SMOOTH = math.radians(9)
"""Ends that turn by less go on without a corner."""
PASSES = math.radians(32)
"""Ends at a branch that turn by less are one line."""
FAR = 4.5
"""How far from the ends of runs their corner may lie, in widths."""
BENDS = 1.2
"""How far beyond its end a run is taken to bend on, in widths."""


@dataclass
class Joints:
    """``links``: by end of a run, the end that it goes on in, and the corner between them if there is one; ``stops``:
    where an end stops inside the area, at a branch."""

    links: dict[End, tuple[End, Floats | None]] = field(default_factory=dict)
    stops: dict[End, Floats] = field(default_factory=dict)

    def link(self, one: End, other: End, corner: Floats | None) -> None:
        self.links[one], self.links[other] = (other, corner), (one, corner)


def join(joints: Joints, runs: Sequence[Run], one: End, other: End, width: float) -> bool:
    """Link two ends, smoothly or by a corner; False if they cannot meet."""
    (p, u), (q, v) = (runs[i].end(side, width) for i, side in (one, other))
    gap = q - p
    distance = float(np.hypot(*gap))
    beside = abs(u[0] * gap[1] - u[1] * gap[0])
    turn = _turn(u, -v)
    if turn < SMOOTH and beside < 0.12 * width + math.sin(turn) * distance:
        joints.link(one, other, None)
        return True
    corner = crossing(p, u, q, v)
    if corner is not None:
        ahead = float((corner - p) @ u), float((corner - q) @ v)
        if min(ahead) > -0.6 * width and max(ahead) < FAR * width + 2:
            bent = [
                runs[i].end(side, width, min(far, BENDS * width))
                for (i, side), far in zip((one, other), ahead, strict=True)
            ]
            nearer = crossing(*bent[0], *bent[1])
            close = nearer is not None and np.hypot(*(nearer - corner)) < width / 2
            joints.link(one, other, nearer if close else corner)
            return True
    if distance < 1.3 * width and turn < math.pi / 2:
        joints.link(one, other, None)
        return True
    return False


def _turn(u: Floats, v: Floats) -> float:
    return abs(math.atan2(u[0] * v[1] - u[1] * v[0], float(u @ v)))


def crossing(p: Floats, u: Floats, q: Floats, v: Floats) -> Floats | None:
    """Where the line through p along u meets that through q along v; their middle if they are parallel and opposed."""
    det = u[0] * v[1] - u[1] * v[0]
    if abs(det) < 0.03:
        return None
    gap = q - p
    return np.asarray(p + u * ((gap[0] * v[1] - gap[1] * v[0]) / det))


def meet(joints: Joints, runs: Sequence[Run], ends: list[End], width: float) -> bool:
    """Link the ``ends`` at one node: pairs that go on in each other, then those that are left, in one point."""
    if len(ends) == 1:
        return True
    if len(ends) == 2:
        return join(joints, runs, ends[0], ends[1], width)
    rays = {end: runs[end[0]].end(end[1], width) for end in ends}
    options = sorted(
        (cost, i, j)
        for i, one in enumerate(ends)
        for j, other in enumerate(ends)
        if i < j and (cost := _passing(*rays[one], *rays[other], width)) < PASSES
    )
    paired: list[tuple[End, End]] = []
    left = list(range(len(ends)))
    for _, i, j in options:
        if i in left and j in left:
            left.remove(i)
            left.remove(j)
            paired.append((ends[i], ends[j]))
            if not join(joints, runs, ends[i], ends[j], width):
                return False
    alone = [ends[i] for i in left]
    if not alone:
        return True
    if paired:
        for end in alone:
            joints.stops[end] = _landing(rays[end], [(rays[a][0], rays[b][0]) for a, b in paired], width)
        return True
    point = _meeting([rays[end] for end in alone])
    if any(np.hypot(*(point - rays[end][0])) > FAR * width for end in alone):
        return False
    joints.link(alone[0], alone[1], point)
    for end in alone[2:]:
        joints.stops[end] = point
    return True


def _passing(p: Floats, u: Floats, q: Floats, v: Floats, width: float) -> float:
    """How much a line turns that goes on from p, u to where q, v came from, in radians."""
    gap = q - p
    distance = float(np.hypot(*gap))
    turn = _turn(u, -v)
    if distance < 0.3 * width:
        return turn
    return max(turn, _turn(u, gap), _turn(gap, -v))


def _landing(ray: tuple[Floats, Floats], pairs: Sequence[tuple[Floats, Floats]], width: float) -> Floats:
    """Where a ``ray`` reaches the nearest of the lines that pass between the ``pairs`` of points."""
    p, u = ray
    points = []
    for a, b in pairs:
        point = crossing(p, u, a, b - a)
        if point is not None and -width < (point - p) @ u < FAR * width:
            points.append(point)
    if not points:
        return np.asarray(p + u * width / 2)
    return min(points, key=lambda point: abs(float((point - p) @ u)))


def _meeting(rays: Sequence[tuple[Floats, Floats]]) -> Floats:
    """The point nearest to all ``rays``."""
    normal, pull = np.zeros((2, 2)), np.zeros(2)
    for p, u in rays:
        across = np.eye(2) - np.outer(u, u)
        normal += across
        pull += across @ p
    return np.asarray(np.linalg.lstsq(normal, pull, rcond=None)[0])
