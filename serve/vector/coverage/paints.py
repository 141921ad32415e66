"""Paints: a flat colour, a linear gradient or a radial one.

All paints of a picture live in one `PaintTable` of plain arrays, so that kernels evaluate any of them at any point.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serve.vector.coverage.kernel import kernel

SOLID, LINEAR, RADIAL = 0, 1, 2
MAX_STOPS = 6

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class PaintTable:
    """Arrays over k paints; geometry and colours in pixels and premultiplied RGBA.

    kind (k,): SOLID, LINEAR or RADIAL. geometry (k, 4): linear (ux, uy, t0, t1) with t = ux x + uy y;
    radial (cx, cy, radius, 0). offsets (k, MAX_STOPS) in 0..1, colors (k, MAX_STOPS, 4), stops (k,) how many.
    """

    kind: npt.NDArray[np.int8]
    geometry: Floats
    stops: npt.NDArray[np.int32]
    offsets: Floats
    colors: Floats

    def __len__(self) -> int:
        return len(self.kind)

    @classmethod
    def solid(cls, colors: Floats) -> PaintTable:
        """Flat paints of premultiplied ``colors`` (k, 4)."""
        k = len(colors)
        spread = np.zeros((k, MAX_STOPS, 4), np.float32)
        spread[:, 0] = colors
        return cls(
            np.zeros(k, np.int8),
            np.zeros((k, 4), np.float32),
            np.ones(k, np.int32),
            np.zeros((k, MAX_STOPS), np.float32),
            spread,
        )

    def join(self, other: PaintTable) -> PaintTable:
        """These paints followed by ``other``'s."""
        return PaintTable(
            np.concatenate([self.kind, other.kind]),
            np.concatenate([self.geometry, other.geometry]),
            np.concatenate([self.stops, other.stops]),
            np.concatenate([self.offsets, other.offsets]),
            np.concatenate([self.colors, other.colors]),
        )

    def alpha(self) -> Floats:
        """Lowest alpha of each paint's stops, shape (k,), 0..255."""
        return np.array([self.colors[i, : self.stops[i], 3].min() for i in range(len(self))], np.float32)

    def peak_alpha(self) -> Floats:
        """Highest alpha of each paint's stops, shape (k,), 0..255."""
        return np.array([self.colors[i, : self.stops[i], 3].max() for i in range(len(self))], np.float32)


@kernel
def paint_at(
    k: int,
    x: float,
    y: float,
    kind: npt.NDArray[np.int8],
    geometry: Floats,
    stops: npt.NDArray[np.int32],
    offsets: Floats,
    colors: Floats,
    out: Floats,
) -> None:
    """Write the premultiplied RGBA of paint ``k`` at (x, y), in pixels, to ``out`` (4,)."""
    if kind[k] == SOLID:
        for c in range(4):
            out[c] = colors[k, 0, c]
        return
    if kind[k] == LINEAR:
        t0, t1 = geometry[k, 2], geometry[k, 3]
        t = (geometry[k, 0] * x + geometry[k, 1] * y - t0) / (t1 - t0)
    else:
        t = math.hypot(x - geometry[k, 0], y - geometry[k, 1]) / geometry[k, 2]
    n = stops[k]
    if t <= offsets[k, 0]:
        for c in range(4):
            out[c] = colors[k, 0, c]
        return
    for i in range(1, n):
        if t <= offsets[k, i]:
            span = offsets[k, i] - offsets[k, i - 1]
            w = (t - offsets[k, i - 1]) / span if span > 1e-9 else 1.0
            for c in range(4):
                out[c] = colors[k, i - 1, c] * (1 - w) + colors[k, i, c] * w
            return
    for c in range(4):
        out[c] = colors[k, n - 1, c]
