"""The medial axis of an area as a graph: thinned on a grid on which its stroke is a few pixels wide.

Pixels are peeled off from four sides while the area stays connected (homotopic thinning). What lies nearer to the
outline than most of the stroke's half width goes altogether, so that corners and caps leave no spurs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from serve.vector.coverage.kernel import kernel
from serve.vector.coverage.strokes.area import Area

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.uint8]

WIDTH = 9.0
"""The stroke's width on the grid, in its pixels."""
MOST_SCALE, MOST_SIDE = 4.0, 900
NEAR = 0.75
"""Share of the half width from which a point is of the medial axis."""
SPUR = 0.6
"""A branch with a free end that is shorter, in widths, is none."""
MOST_NODES = 160
MARGIN = 2


@dataclass(frozen=True)
class Edge:
    """``points`` (n, 2): from node ``ends[0]`` to node ``ends[1]``, in pixels of the picture; a loop has no nodes, -1,
    and begins anywhere."""

    ends: tuple[int, int]
    points: Floats


def skeleton(area: Area) -> list[Edge] | None:
    """The graph of the medial axis; None if it is too large or has too many branches."""
    low, high = area.corners
    scale = min(MOST_SCALE, WIDTH / area.width)
    columns, rows = np.ceil((high - low) * scale).astype(int) + 2 * MARGIN + 1
    if max(rows, columns) > MOST_SIDE:
        return None
    mask = np.zeros((rows, columns), np.uint8)
    corners = np.rint(((area.edges[:, :2] - low) * scale + MARGIN - 0.5) * 16).astype(np.int32)
    breaks = np.flatnonzero((area.edges[:-1, 2:] != area.edges[1:, :2]).any(axis=1)) + 1
    cv2.fillPoly(mask, np.split(corners, breaks), 1, shift=4)
    mask[[0, -1]] = mask[:, [0, -1]] = 0
    depth = cv2.distanceTransform(mask, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    _thin(mask, np.flatnonzero(mask), depth, NEAR * area.width / 2 * scale)
    return _graph(mask, SPUR * area.width * scale, low + (0.5 - MARGIN) / scale, scale)


@kernel
def _thin(mask: Mask, inside: npt.NDArray[np.int64], depth: npt.NDArray[np.float32], near: float) -> None:
    """Peel ``mask``, whose pixels are ``inside`` and which has an empty frame, from its four sides in turn, but for
    pixels that are ends or connect what is left; ends too where they are less deep than ``near``."""
    width = mask.shape[1]
    rows = np.array([0, -1, -1, -1, 0, 1, 1, 1])
    columns = np.array([1, 1, 0, -1, -1, -1, 0, 1])
    around = np.empty(10, np.int64)
    peel = np.empty(inside.shape[0], np.int64)
    left = inside.copy()
    changed = True
    while changed:
        changed = False
        for side in (2, 6, 0, 4):
            n = 0
            for k in range(left.shape[0]):
                y, x = left[k] // width, left[k] % width
                if mask[y + rows[side], x + columns[side]] == 0:
                    peel[n] = left[k]
                    n += 1
            for k in range(n):
                y, x = peel[k] // width, peel[k] % width
                count = 0
                for i in range(8):
                    around[i] = mask[y + rows[i], x + columns[i]]
                    count += around[i]
                around[8], around[9] = around[0], around[1]
                parts = 0
                for i in range(0, 8, 2):
                    parts += (1 - around[i]) - (1 - around[i]) * (1 - around[i + 1]) * (1 - around[i + 2])
                if parts == 1 and (count > 1 or depth[y, x] < near):
                    mask[y, x] = 0
                    changed = True
            n = 0
            for k in range(left.shape[0]):
                if mask[left[k] // width, left[k] % width]:
                    left[n] = left[k]
                    n += 1
            left = left[:n]


def _graph(mask: Mask, spur: float, origin: Floats, scale: float) -> list[Edge] | None:
    places = np.argwhere(mask)
    number = np.full(mask.shape, -1, np.int64)
    number[tuple(places.T)] = np.arange(len(places))
    steps = np.array([(0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1)])
    around = number[places[:, None, 0] + steps[:, 0], places[:, None, 1] + steps[:, 1]]
    near = [[int(j) for j in row if j >= 0] for row in around]
    node_of = _nodes(mask, places, near)
    if node_of.max(initial=-1) >= MOST_NODES:
        return None
    points = places[:, ::-1].astype(np.float64) / scale + origin
    edges = []
    degrees = np.zeros(node_of.max(initial=-1) + 1, np.int64)
    ways = list(_ways(near, node_of))
    for way in ways:
        for end in (way[0], way[-1]):
            if node_of[end] >= 0:
                degrees[node_of[end]] += 1
    for way in ways:
        ends = int(node_of[way[0]]), int(node_of[way[-1]])
        line = points[way]
        length = np.hypot(*np.diff(line, axis=0).T).sum() * scale
        own = sorted(degrees[end] if end >= 0 else 2 for end in ends)
        if length >= spur or not (ends[0] == ends[1] or (own[0] == 1 and own[1] > 1)):
            edges.append(Edge(ends, line))
    return _dissolved(edges)


def _dissolved(edges: list[Edge]) -> list[Edge]:
    """``edges`` with those in one that alone meet at a node."""
    at: dict[int, list[int]] = {}
    left: dict[int, Edge] = dict(enumerate(edges))
    for i, edge in left.items():
        for end in edge.ends:
            at.setdefault(end, []).append(i)
    for node, members in at.items():
        if node < 0 or len(members) != 2:
            continue
        if members[0] == members[1]:
            points = left[members[0]].points
            left[members[0]] = Edge((-1, -1), np.concatenate([points, points[:1]]))
            continue
        one, other = (left.pop(i) for i in members)
        a = one if one.ends[1] == node else Edge(one.ends[::-1], one.points[::-1])
        b = other if other.ends[0] == node else Edge(other.ends[::-1], other.points[::-1])
        joined = Edge((a.ends[0], b.ends[1]), np.concatenate([a.points, b.points]))
        left[members[0]] = joined
        for end in joined.ends:
            if end in at:
                at[end] = [members[0] if i in members else i for i in at[end]]
    return list(left.values())


def _nodes(mask: Mask, places: npt.NDArray[np.int64], near: list[list[int]]) -> npt.NDArray[np.int64]:
    """By pixel, the node that it is a part of, or -1: an end, or branches beside each other."""
    degree = np.array([len(one) for one in near])
    branches = np.zeros(mask.shape, np.uint8)
    branches[tuple(places[degree > 2].T)] = 1
    count, labels = cv2.connectedComponents(branches, connectivity=8)
    node_of = np.asarray(labels[tuple(places.T)], np.int64) - 1
    ends = np.flatnonzero(degree < 2)
    node_of[ends] = count - 1 + np.arange(len(ends))
    return node_of


def _ways(near: list[list[int]], node_of: npt.NDArray[np.int64]) -> Iterator[list[int]]:
    """Pixels from node to node, and around loops without nodes, which end where they begin."""
    done = [False] * len(near)
    for start in np.flatnonzero(node_of >= 0).tolist():
        for first in near[start]:
            if node_of[first] >= 0:
                if first > start and node_of[first] != node_of[start]:
                    yield [start, first]
                continue
            if done[first]:
                continue
            way = [start, first]
            done[first] = True
            while node_of[way[-1]] < 0:
                options = [one for one in near[way[-1]] if one != way[-2] and not done[one]]
                stops = [one for one in options if node_of[one] >= 0]
                if not options:
                    way.append(start)
                    break
                step = (stops or options)[0]
                if node_of[step] < 0:
                    done[step] = True
                way.append(step)
            yield way
    for start in range(len(near)):
        if done[start] or node_of[start] >= 0:
            continue
        way = [start]
        done[start] = True
        while options := [one for one in near[way[-1]] if not done[one]]:
            way.append(options[0])
            done[options[0]] = True
        yield [*way, start]
