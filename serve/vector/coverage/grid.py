"""The grid that layers are made on: shares of every pixel, padded by two, and what lies on what there.

Of the two pixels of padding, one repeats the picture's edge, and the outermost is empty, so that every contour closes
and shapes at the edge run one pixel past it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from serve.vector.coverage.contours import Points
from serve.vector.coverage.kernel import kernel
from serve.vector.coverage.paints import Floats
from serve.vector.coverage.unmix import Labels, Shares

Scalar = TypeVar("Scalar", bound=np.generic)

PAD = 2
ORIGIN = PAD - 0.5
"""Grid coordinates less those of the picture, whose pixel centres are at halves."""
COVERED = 0.98
HIDDEN_RIGIDITY = 0.15
"""A curve may stray six times as far from a hidden stretch of contour: the trap leaves it the room."""
ANY, OTHERS, OWN = 0, 1, 2
_AROUND = np.ones((3, 3), np.uint8)


@dataclass(frozen=True)
class Grid:
    """Padded shares, the rank of each paint in the stack, and each paint's own pixels."""

    first: Labels
    second: Labels
    share: Floats
    rank: npt.NDArray[np.int32]
    opaque: npt.NDArray[np.uint8]
    start: npt.NDArray[np.int64]
    own: npt.NDArray[np.int32]

    def is_hidden(self, polygons: Sequence[Points], k: int) -> bool:
        """Whether layers after ``k`` cover ``polygons`` (even-odd) all over, so that they need not be cut out."""
        mask, place = self._mask(polygons)
        shown, area = self._uncovered(mask, place, k, ANY)
        return area > 0 and shown <= 0.5 + 0.03 * area

    def can_replace(self, contour: Points, whole: Points, holes: Sequence[Points], k: int) -> bool:
        """Whether paint ``k`` may fill the polygon ``whole`` (n, 2) instead of ``contour``, ``holes`` left out of both:
        nothing but itself and opaque later layers shows in the first, and nothing of it outside of that in the
        second. Rims of a pixel do not count."""
        everything = np.concatenate([contour, whole])
        drawn, place = self._mask([whole, *holes], everything)
        before, _ = self._mask([contour, *holes], everything)
        gained, area = self._uncovered(cv2.erode(drawn, _AROUND), place, k, OTHERS)
        lost, _ = self._uncovered(cv2.erode(before & ~drawn, _AROUND), place, k, OWN)
        return gained <= 1.0 + 0.0005 * area and lost <= 0.5

    def _mask(
        self, polygons: Sequence[Points], within: Points | None = None
    ) -> tuple[npt.NDArray[np.uint8], tuple[int, int]]:
        """Pixels of ``polygons`` (even-odd) in the box of ``within``, or of their own; and the box's first (y, x)."""
        points = np.concatenate(polygons) if within is None else within
        low = np.maximum(np.floor(points.min(0)).astype(int) - 1, 0)
        high = np.maximum(low, np.minimum(np.ceil(points.max(0)).astype(int) + 2, self.first.shape[::-1]))
        mask = np.zeros((high[1] - low[1], high[0] - low[0]), np.uint8)
        if mask.size:
            cv2.fillPoly(mask, [np.round((p - low) * 16).astype(np.int32) for p in polygons], 1, shift=4)
        return mask, (int(low[1]), int(low[0]))

    def _uncovered(
        self, mask: npt.NDArray[np.uint8] | cv2.Mat, place: tuple[int, int], k: int, of: int
    ) -> tuple[float, int]:
        y, x = place
        shown, area = _uncovered(
            np.ascontiguousarray(mask), y, x, k, self.first, self.second, self.share, self.rank, self.opaque, of
        )
        return shown, area


@kernel
def _own_pixels(first: Labels, second: Labels, k: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """Pixels at the rim of each paint, as runs of flat indices: start (k + 1,) and indices.

    A pixel well inside an area (it and its eight neighbours are that paint alone) is left out: nothing happens there.
    """
    height, width = first.shape
    rim = np.ones((height, width), np.bool_)
    start = np.zeros(k + 1, np.int64)
    for y in range(height):
        for x in range(width):
            label = first[y, x]
            if label >= 0 and second[y, x] < 0 and _surrounded(first, second, label, y, x):
                rim[y, x] = False
                continue
            if label >= 0:
                start[label + 1] += 1
            if second[y, x] >= 0:
                start[second[y, x] + 1] += 1
    for i in range(k):
        start[i + 1] += start[i]
    fill = start[:-1].copy()
    own = np.empty(start[k], np.int32)
    for y in range(height):
        for x in range(width):
            if not rim[y, x]:
                continue
            for label in (first[y, x], second[y, x]):
                if label >= 0:
                    own[fill[label]] = y * width + x
                    fill[label] += 1
    return start, own


@kernel
def _surrounded(first: Labels, second: Labels, k: int, y: int, x: int) -> bool:
    """Whether (y, x) and its eight neighbours are all paint ``k`` alone."""
    height, width = first.shape
    if y < 1 or x < 1 or y >= height - 1 or x >= width - 1:
        return False
    for dy in range(-1, 2):
        for dx in range(-1, 2):
            if first[y + dy, x + dx] != k or second[y + dy, x + dx] >= 0:
                return False
    return True


@kernel
def _is_covered(
    y: int,
    x: int,
    k: int,
    first: Labels,
    second: Labels,
    share: Floats,
    rank: npt.NDArray[np.int32],
    opaque: npt.NDArray[np.uint8],
) -> bool:
    """Whether layers after ``k`` cover pixel (y, x) of the grid."""
    if y < 0 or x < 0 or y >= first.shape[0] or x >= first.shape[1]:
        return False
    later = 0.0
    a, b = first[y, x], second[y, x]
    if a >= 0 and rank[a] > rank[k] and opaque[a]:
        later += share[y, x]
    if b >= 0 and rank[b] > rank[k] and opaque[b]:
        later += 1 - share[y, x]
    return later >= COVERED


@kernel
def rigidity(
    points: Points,
    k: int,
    first: Labels,
    second: Labels,
    share: Floats,
    rank: npt.NDArray[np.int32],
    opaque: npt.NDArray[np.uint8],
) -> Points:
    """``points`` (n, 2) of a contour of paint ``k``, in grid pixels, with their rigidity: (n, 3)."""
    n = points.shape[0]
    out = np.ones((n, 3))
    for i in range(n):
        out[i, 0], out[i, 1] = points[i, 0], points[i, 1]
        y, x = math.floor(points[i, 1] + 0.5), math.floor(points[i, 0] + 0.5)
        hidden = True
        for dy in range(-1, 2):
            for dx in range(-1, 2):
                hidden = hidden and _is_covered(y + dy, x + dx, k, first, second, share, rank, opaque)
        if hidden:
            out[i, 2] = HIDDEN_RIGIDITY
    return out


@kernel
def _uncovered(
    mask: npt.NDArray[np.uint8],
    y0: int,
    x0: int,
    k: int,
    first: Labels,
    second: Labels,
    share: Floats,
    rank: npt.NDArray[np.int32],
    opaque: npt.NDArray[np.uint8],
    of: int,
) -> tuple[float, int]:
    """Area of ``mask``, laid at (y0, x0), that layers after ``k`` leave open to ANY paint, to OTHERS than ``k`` or to
    its OWN; and the area of the mask."""
    area, shown = 0, 0.0
    for dy in range(mask.shape[0]):
        for dx in range(mask.shape[1]):
            if mask[dy, dx] == 0:
                continue
            area += 1
            y, x = y0 + dy, x0 + dx
            a, b = first[y, x], second[y, x]
            if a >= 0 and (of == ANY or (a == k) == (of == OWN)) and not (rank[a] > rank[k] and opaque[a]):
                shown += share[y, x]
            if b >= 0 and (of == ANY or (b == k) == (of == OWN)) and not (rank[b] > rank[k] and opaque[b]):
                shown += 1 - share[y, x]
    return shown, area


def padded(shares: Shares, order: list[int], opaque: npt.NDArray[np.bool_]) -> Grid:
    """``shares`` on the padded grid, with the rank of each paint in ``order``."""
    first, second, share = _pad(shares.first), _pad(shares.second), _pad(shares.share)
    rank = np.empty(len(order), np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    start, own = _own_pixels(first, second, len(order))
    return Grid(first, second, share, rank, opaque.astype(np.uint8), start, own)


def _pad(plane: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
    padded: npt.NDArray[Scalar] = np.pad(plane, PAD, mode="edge")
    empty = -1 if plane.dtype == np.int16 else 0
    for edge in (padded[0], padded[-1], padded[:, 0], padded[:, -1]):
        edge[...] = empty
    return padded
