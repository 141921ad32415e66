"""The centre lines of an area: the runs along its medial axis, joined, from end to end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from serve.vector.coverage.strokes.area import Area, cast
from serve.vector.coverage.strokes.joining import End, Joints, join, meet
from serve.vector.coverage.strokes.runs import Run, runs_of
from serve.vector.coverage.strokes.skeleton import Edge

Floats = npt.NDArray[np.float64]

NEAR_NODES = 2.0
"""Nodes that an edge without a run connects are one up to this distance, in widths."""
MIN_COVERED = 0.55
"""Least share of the medial axis that has to be runs."""


@dataclass(frozen=True)
class Piece:
    """A smooth part of a line: its points (n, 2) with its ends, and the direction of a straight one."""

    points: Floats
    straight: bool


@dataclass
class Line:
    """``pieces`` that meet in corners; ``tips``: by end, whether it is the end of the stroke, where a cap is."""

    pieces: list[Piece] = field(default_factory=list)
    closed: bool = False
    tips: tuple[bool, bool] = (False, False)


def lines_of(area: Area, edges: Sequence[Edge], noise: float) -> list[Line] | None:
    """The centre lines of ``area`` along the ``edges`` of its medial axis; None if they are no strokes."""
    nodes = {node: node for edge in edges for node in edge.ends if node >= 0}
    degree = dict.fromkeys(nodes, 0)
    for edge in edges:
        for node in edge.ends:
            if node >= 0:
                degree[node] += 1
    runs: list[Run] = []
    joints = Joints()
    at_node: list[tuple[End, int]] = []
    covered = whole = 0.0
    for edge in edges:
        free = (edge.ends[0] >= 0 and degree[edge.ends[0]] == 1, edge.ends[1] >= 0 and degree[edge.ends[1]] == 1)
        stretches = runs_of(area, edge, noise, free)
        length = _length(edge.points)
        if not stretches:
            if length > NEAR_NODES * area.width or edge.ends[0] < 0:
                return None
            if not any(free):
                _merge(nodes, *edge.ends)
            continue
        whole += length
        own = [run for stretch in stretches for run in stretch]
        covered += sum(_length(run.points) for run in own)
        first = len(runs)
        runs += own
        gaps: list[tuple[End, End]] = [((i, 1), (i + 1, 0)) for i in range(first, len(runs) - 1)]
        if edge.ends[0] < 0 and not (len(own) == 1 and np.array_equal(own[0].points[0], own[0].points[-1])):
            gaps.append(((len(runs) - 1, 1), (first, 0)))
        if not all(join(joints, runs, one, other, area.width) for one, other in gaps):
            return None
        if edge.ends[0] >= 0:
            at_node += [((first, 0), edge.ends[0]), ((len(runs) - 1, 1), edge.ends[1])]
    if not runs or covered < MIN_COVERED * whole:
        return None
    groups: dict[int, list[End]] = {}
    for end, node in at_node:
        groups.setdefault(_root(nodes, node), []).append(end)
    for ends in groups.values():
        if not meet(joints, runs, ends, area.width):
            return None
    return list(_walked(area, runs, joints))


def _length(points: Floats) -> float:
    return float(np.hypot(*np.diff(points, axis=0).T).sum())


def _root(nodes: dict[int, int], node: int) -> int:
    while nodes[node] != node:
        node = nodes[node]
    return node


def _merge(nodes: dict[int, int], one: int, other: int) -> None:
    nodes[_root(nodes, one)] = _root(nodes, other)


def _walked(area: Area, runs: Sequence[Run], joints: Joints) -> Iterator[Line]:
    done = [False] * len(runs)
    starts = [(i, side) for i in range(len(runs)) for side in (0, 1) if (i, side) not in joints.links]
    for start in [*starts, *((i, 0) for i in range(len(runs)))]:
        if done[start[0]]:
            continue
        closed = start in joints.links
        if closed:  # begin a closed line at a corner if it has one
            start = _cornered(start, joints)
        yield _line(area, runs, joints, start, done, closed=closed)


def _cornered(start: End, joints: Joints) -> End:
    at = start
    while True:
        if joints.links[at][1] is not None:
            return at
        at = joints.links[(at[0], 1 - at[1])][0]
        if at == start:
            return start


def _line(area: Area, runs: Sequence[Run], joints: Joints, start: End, done: list[bool], *, closed: bool) -> Line:
    """The line from the ``start`` end on."""
    line = Line(closed=closed)
    first = joints.links[start][1] if closed else None
    if not closed:
        first, tip = _stop(area, runs, joints, start)
        line.tips = (tip, False)
    points: list[Floats] = [first[None]] if first is not None else []
    straight = True
    at = start
    while True:
        run = runs[at[0]]
        done[at[0]] = True
        points.append(run.points if at[1] == 0 else run.points[::-1])
        straight &= run.straight is not None
        far = (at[0], 1 - at[1])
        if far not in joints.links:
            if not _is_loop(run):
                stop, tip = _stop(area, runs, joints, far)
                points.append(stop[None])
                line.tips = (line.tips[0], tip)
            else:
                line.closed = True
            line.pieces.append(_piece(points, straight))
            return line
        following, corner = joints.links[far]
        if corner is not None:
            points.append(corner[None])
            line.pieces.append(_piece(points, straight))
            points, straight = [corner[None]], True
        if following == start:
            if corner is None:
                points.append(points[0][:1])
                line.pieces.append(_piece(points, straight=False))
            return line
        at = following


def _is_loop(run: Run) -> bool:
    return len(run.points) > 2 and np.array_equal(run.points[0], run.points[-1])


def _piece(points: Sequence[Floats], straight: bool) -> Piece:
    return Piece(np.concatenate(points), straight)


def _stop(area: Area, runs: Sequence[Run], joints: Joints, end: End) -> tuple[Floats, bool]:
    """Where an end that goes on in no other stops: at a branch, or (True) at the outline."""
    if end in joints.stops:
        return joints.stops[end], False
    if _is_loop(runs[end[0]]):
        return runs[end[0]].points[0], False
    p, u = runs[end[0]].end(end[1], area.width)
    far = float(cast(area.edges, np.stack([p, p]), np.stack([u, u]))[0])
    return np.asarray(p + u * min(far, 2.5 * area.width)), True
