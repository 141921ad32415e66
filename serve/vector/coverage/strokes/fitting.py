"""Centre lines as lines and curves, and the stroke along them whose caps and joins cover the area best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt

from serve.vector.compare import render
from serve.vector.coverage.curves import Segments, fit_open
from serve.vector.coverage.primitives import RMS_PX
from serve.vector.coverage.strokes.adjusting import settled
from serve.vector.coverage.strokes.area import Area, area_of, cast, distances
from serve.vector.coverage.strokes.centre_lines import Line, lines_of
from serve.vector.coverage.strokes.runs import BAND_PX
from serve.vector.coverage.strokes.skeleton import skeleton
from serve.vector.coverage.text import Stroke, number, outline_data
from serve.vector.coverage.writer import NAMESPACE

Floats = npt.NDArray[np.float64]

NOISY = 1.4
TOLERANCE_PX = 0.22
"""How far a curve may leave the points of a centre line."""
SETTLING = 3
TIE_PX = 0.002
"""A cap or join is taken before another only if it is nearer by so much."""
SPARE_SHARE, SPARE_JOINT = 0.08, 0.6
"""By how much length times width may differ from an area: a share of it, and squares at each end and corner."""
BESIDE_SHARE, BESIDE_PX = 0.7, 0.14
"""This share of the outline, but for caps, has to be half a width from the centre lines, up to so many pixels."""
CAP = 0.8
"""How far around a tip its cap is, in widths."""
OFF_AXIS, FLAT = 0.3, 0.95
"""So far from a line's end, in widths, its tip is as far ahead if it is flat; a round one by a tenth nearer."""
HOPELESS, LIKELY = 2.0, 1.5
"""How many times as far as allowed round joins may lie off, and the best one with curves not yet settled."""
MORE_BYTES, NODE_BYTES = 24, 8
"""A stroke with fewer nodes than its area's outlines may take so many bytes more, and so many for each node."""
WORST_PX = 0.75
"""No part of the two areas may differ by a patch of this size."""
MOST_SIDE, FINE = 200, 3.0
"""Most pixels of a side, and pixels per pixel, at which areas are compared."""


def find_stroke(outlines: Sequence[Segments], decimals: int, *, noisy: bool) -> tuple[Stroke | None, bool]:
    """The stroke that fills the first of ``outlines`` but for the others, its holes, or None if there is none that is
    shorter at so many ``decimals``; and whether that took more than a glance."""
    noise = NOISY if noisy else 1.0
    area = area_of(outlines, noise)
    edges = skeleton(area) if area is not None else None
    if area is None or edges is None:
        return None, False
    lines = lines_of(area, edges, noise)
    if not lines or not _may_cover(lines, area, noise):
        return None, True
    rough = _stroke(lines, area.width, "butt", "miter", noise)
    if rough is None or not _is_shorter(rough, outlines, decimals):
        return None, True
    return _best(lines, outlines, area, noise), True


def _is_shorter(stroke: Stroke, outlines: Sequence[Segments], decimals: int) -> bool:
    """Whether ``stroke`` takes fewer bytes than ``outlines``, or has fewer nodes and takes little more."""
    data = sum(len(outline_data(outline, decimals)) for outline in outlines)
    nodes, others = sum(map(len, stroke.lines)), sum(map(len, outlines))
    more = len(stroke.data(decimals)) + len(stroke.attributes(decimals)) - data
    return more <= 0 or (nodes < others and more <= MORE_BYTES + NODE_BYTES * (others - nodes))


def _may_cover(lines: Sequence[Line], area: Area, noise: float) -> bool:
    """Whether a stroke along ``lines`` covers about as much as ``area``."""
    length = sum(float(np.hypot(*np.diff(piece.points, axis=0).T).sum()) for line in lines for piece in line.pieces)
    joints = sum(len(line.pieces) + 1 for line in lines)
    spare = SPARE_SHARE * area.size + SPARE_JOINT * joints * area.width**2
    if abs(length * area.width - area.size) > spare:
        return False
    pieces = [piece.points for line in lines for piece in line.pieces]
    starts, ends = np.concatenate([one[:-1] for one in pieces]), np.concatenate([one[1:] for one in pieces])
    apart = abs(distances(area.probes, starts, ends) - area.width / 2)
    tips = [line.pieces[-side].points[-side] for line in lines for side in (0, 1) if line.tips[side]]
    if tips:
        near = np.hypot(*(area.probes[:, None] - np.array(tips)).transpose(2, 0, 1)).min(axis=1)
        apart = apart[near > CAP * area.width]
    return len(apart) > 0 and float(np.quantile(apart, BESIDE_SHARE)) < BESIDE_PX * noise


def _best(lines: Sequence[Line], outlines: Sequence[Segments], area: Area, noise: float) -> Stroke | None:
    """The stroke along ``lines`` with the caps and joins that cover ``area`` best, if it covers it."""
    best = _stroke(lines, area.width, _cap(lines, area), "round", noise)
    if best is None:
        return None
    shown = _Shown(outlines, area)
    least, bound = shown.difference(best), 0.8 * RMS_PX * noise
    if least > HOPELESS * bound:
        return None
    corners = any(len(line.pieces) + line.closed > 1 for line in lines)
    for join in ("miter", "bevel") if corners else ():
        stroke = replace(best, join=join)
        if (apart := shown.difference(stroke)) < least - TIE_PX:
            best, least = stroke, apart
    if least > LIKELY * bound:
        return None
    best = _stroke(lines, area.width, best.cap, best.join if corners else "miter", noise, rounds=SETTLING) or best
    return best if shown.is_covered(best, bound) else None


def _cap(lines: Sequence[Line], area: Area) -> str:
    """``butt`` if the tips of ``lines`` are flat, else ``round``. A square cap is a longer line with a flat tip."""
    starts, directions = [], []
    for line in lines:
        for side in (0, 1):
            if line.tips[side]:
                points = line.pieces[-side].points[:: 1 if side else -1]
                direction = points[-1] - points[max(-len(points), -4)]
                direction = direction / max(1e-9, float(np.hypot(*direction)))
                across = OFF_AXIS * area.width * np.array([direction[1], -direction[0]])
                back = points[-1] - direction * area.width
                starts += [back + across, back - across]
                directions += [direction, direction]
    if not starts:
        return "butt"
    reach = cast(area.edges, np.array(starts), np.array(directions))
    return "butt" if float(np.mean(np.minimum(reach, 1.2 * area.width))) > FLAT * area.width else "round"


def _stroke(lines: Sequence[Line], width: float, cap: str, join: str, noise: float, rounds: int = 0) -> Stroke | None:
    fitted = [_fitted(line, width, cap, noise, rounds) for line in lines]
    if any(one is None or not len(one) for one in fitted):
        return None
    return Stroke(
        tuple(one for one in fitted if one is not None), tuple(line.closed for line in lines), width, cap, join
    )


def _fitted(line: Line, width: float, cap: str, noise: float, rounds: int) -> Segments | None:
    """``line`` (n, 9) with its tips drawn back by what the cap adds; None if nothing is left."""
    parts: list[Segments] = []
    for i, piece in enumerate(line.pieces):
        points = piece.points
        if line.tips[0] and i == 0:
            points = _drawn_back(points[::-1], width, cap)[::-1]
        if line.tips[1] and i == len(line.pieces) - 1:
            points = _drawn_back(points, width, cap)
        points = points[np.concatenate([[True], np.hypot(*np.diff(points, axis=0).T) > 1e-6])]
        if len(points) < 2:
            return None
        if piece.straight and _is_straight(points, noise):
            parts.append(_straight(points[0], points[-1]))
            continue
        smooth = line.closed and len(line.pieces) == 1 and bool(np.hypot(*(points[0] - points[-1])) < 1e-6)
        weighted = np.concatenate([points, np.ones((len(points), 1))], axis=1)
        curve = fit_open(weighted, TOLERANCE_PX * noise, smooth)
        parts.append(settled(curve, points[:-1] if smooth else points, closed=smooth, rounds=rounds))
    return np.concatenate(parts)


def _drawn_back(points: Floats, width: float, cap: str) -> Floats:
    """``points`` to the outline, without what the cap at their last adds."""
    tip, before = points[-1], points[:-1]
    back = before[max(0, len(before) - 3)] if len(before) > 1 else before[0]
    direction = tip - back
    direction = direction / max(1e-9, float(np.hypot(*direction)))
    end = tip - direction * (0.0 if cap == "butt" else width / 2)
    beyond = (before - end) @ direction > -0.15 * width
    beyond &= np.hypot(*(before - end).T) < width
    kept = before[~beyond]
    return np.concatenate([kept if len(kept) else before[:1], end[None]])


def _is_straight(points: Floats, noise: float) -> bool:
    chord = points[-1] - points[0]
    off = points - points[0]
    away = abs(off[:, 0] * chord[1] - off[:, 1] * chord[0]) / max(1e-9, float(np.hypot(*chord)))
    return bool(away.max() < 2 * BAND_PX * noise)


def _straight(start: Floats, end: Floats) -> Segments:
    return np.concatenate([[1.0], *(start + (end - start) * share / 3 for share in range(4))])[None]


class _Shown:
    """What an area covers, rendered once."""

    def __init__(self, outlines: Sequence[Segments], area: Area) -> None:
        low, high = area.corners
        low, side = low - 3, high - low + 6
        self._scale = min(FINE, MOST_SIDE / float(side.max()))
        self._size = [max(1, round(float(one) * self._scale)) for one in side]
        box = " ".join(number(float(one), 2) for one in (*low, *side))
        self._head = f'<svg xmlns="{NAMESPACE}" viewBox="{box}">'
        self._length = area.length
        data = "".join(outline_data(outline, 2) for outline in outlines)
        self._filled = self._drawn(f'<path fill-rule="evenodd" d="{data}"/>')

    def _drawn(self, body: str) -> npt.NDArray[np.uint8]:
        return render(f"{self._head}{body}</svg>", *self._size)[..., 3]

    def _apart(self, stroke: Stroke) -> npt.NDArray[np.uint8]:
        drawn = self._drawn(f'<path stroke="#000" {stroke.attributes(2)} d="{stroke.data(2)}"/>')
        return np.asarray(cv2.absdiff(self._filled, drawn))

    def difference(self, stroke: Stroke) -> float:
        """Mean distance in pixels to the outline of what ``stroke`` covers."""
        return self._mean(self._apart(stroke))

    def _mean(self, apart: npt.NDArray[np.uint8]) -> float:
        return float(apart.sum()) / 255 / self._scale**2 / self._length

    def is_covered(self, stroke: Stroke, within: float) -> bool:
        """Whether ``stroke`` differs by less than ``within`` on average, and nowhere by a patch of WORST_PX."""
        apart = self._apart(stroke)
        thick = max(2, math.ceil(WORST_PX * self._scale))
        patches = cv2.erode(apart, np.ones((thick, thick), np.uint8)) > 128
        return self._mean(apart) < within and not patches.any()
