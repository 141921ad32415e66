"""Regions of a picture over latents: which share of each latent belongs to which prompt.

Each region predicts the noise of the whole picture with its own prompt, and the predictions are summed with these
shares at every evaluation (Bar-Tal et al. 2023, "MultiDiffusion", section 4.2). Regions are layers: a later one lies
over the earlier ones, and the base prompt has what all of them leave.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from serve.errors import InvalidRequest

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]

_TOLERANCE = 1e-6
"""Of sums of fractions."""
_LEAST_SIDE = 0.001
"""Of boxes within boxes."""


@dataclass(frozen=True)
class Box:
    """A part of a picture, in fractions of its width and height. Raises InvalidRequest naming ``box`` or a side."""

    left: float
    top: float
    width: float
    height: float

    def __post_init__(self) -> None:
        for side in fields(self):
            value = getattr(self, side.name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise InvalidRequest("must be a finite number from 0 to 1", f"box.{side.name}")
            if not 0 <= value <= 1:
                raise InvalidRequest("must be from 0 to 1: a fraction of the picture", f"box.{side.name}")
        if self.width <= 0 or self.height <= 0:
            raise InvalidRequest("must be wider and higher than 0", "box")
        if self.right > 1 + _TOLERANCE or self.bottom > 1 + _TOLERANCE:
            raise InvalidRequest("reaches outside of the picture: left + width and top + height are at most 1", "box")

    @property
    def right(self) -> float:
        return self.left + self.width

    @property
    def bottom(self) -> float:
        return self.top + self.height

    def part(self, left: float, top: float, width: float, height: float) -> Box:
        """The box at these fractions of this one, moved and widened where that has no side of _LEAST_SIDE."""
        x, y = self.left + left * self.width, self.top + top * self.height
        x, y = min(x, 1.0 - _LEAST_SIDE), min(y, 1.0 - _LEAST_SIDE)
        wide, high = max(width * self.width, _LEAST_SIDE), max(height * self.height, _LEAST_SIDE)
        return Box(x, y, min(wide, 1.0 - x), min(high, 1.0 - y))

    def mask(self, width_px: int, height_px: int) -> Bytes:
        """255 in the box, 0 outside, shape (height_px, width_px); at least one pixel is in it."""
        mask = np.zeros((height_px, width_px), np.uint8)
        columns, rows = _span(self.left, self.right, width_px), _span(self.top, self.bottom, height_px)
        mask[rows, columns] = 255
        return mask


def _span(low: float, high: float, size: int) -> slice:
    start = min(round(low * size), size - 1)
    return slice(start, max(start + 1, round(high * size)))


def layer_shares(masks: Sequence[Floats], weights: Sequence[float]) -> Floats:
    """Shares of the base prompt and of each region, (1 + regions, h, w); they sum to 1 everywhere.

    ``masks``: 0 to 1 over latents, (h, w) each, from the lowest to the highest. ``weights``: 0 to 1; what a region
    leaves is shared by those below it.
    """
    rest = np.ones_like(masks[0])
    shares: list[Floats] = []
    for mask, weight in zip(reversed(masks), reversed(weights), strict=True):
        share = rest * mask * np.float32(weight)
        shares.append(share)
        rest = rest - share
    return np.stack([rest, *reversed(shares)])


def sum_layers(predictions: Sequence[Floats], shares: Floats) -> Floats:
    """The predictions of all layers, (C, h, w) each, as one: (C, h, w)."""
    total: Floats = (np.stack(predictions) * shares[:, None]).sum(axis=0, dtype=np.float32)
    return total
