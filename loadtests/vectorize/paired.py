"""Paired comparisons: two methods on the same pictures.

The unit of resampling is the icon, not the picture: an icon's seven conditions are not seven independent draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from loadtests.vectorize.measure import Measurement

RESAMPLES = 2000
SEED = 7
TIE = 1e-4
"""SSIM values closer than this are equal: the metric's own precision."""


@dataclass(frozen=True)
class Comparison:
    """``removed`` = 1 - sum(1 - ssim) / sum(1 - ssim of the base), with a bootstrap 95 % interval over icons.

    ``relative_gain`` is the mean of (ssim - base) / base, the other reading of "SSIM +20 %" (D-051).
    ``base_wins`` and ``base_wins4`` are the shares of pictures where the base's SSIM is higher, at 1x and at 4x.
    """

    pictures: int
    icons: int
    removed: float
    low: float
    high: float
    removed4: float
    relative_gain: float
    bytes_ratio: float
    base_wins: float
    base_wins4: float


def pair(rows: Sequence[Measurement], base: Sequence[Measurement]) -> list[tuple[Measurement, Measurement]]:
    """(row, base row) for every picture that both have."""
    by_sample = {b.picture: b for b in base}
    return [(r, by_sample[r.picture]) for r in rows if r.picture in by_sample]


def compare(rows: Sequence[Measurement], base: Sequence[Measurement]) -> Comparison | None:
    """None when the two share no picture."""
    pairs = pair(rows, base)
    if not pairs:
        return None
    ours, theirs = _columns([a for a, _ in pairs]), _columns([b for _, b in pairs])
    icons = np.unique([a.icon for a, _ in pairs], return_inverse=True)[1]
    low, high = interval(1 - ours["ssim"], 1 - theirs["ssim"], icons)
    return Comparison(
        pictures=len(pairs),
        icons=int(icons.max()) + 1,
        removed=_removed(ours["ssim"], theirs["ssim"]),
        low=low,
        high=high,
        removed4=_removed(ours["ssim4"], theirs["ssim4"]),
        relative_gain=float(np.mean((ours["ssim"] - theirs["ssim"]) / np.maximum(theirs["ssim"], 1e-6))),
        bytes_ratio=float(ours["bytes"].sum() / max(theirs["bytes"].sum(), 1)),
        base_wins=float(np.mean(theirs["ssim"] > ours["ssim"] + TIE)),
        base_wins4=float(np.mean(theirs["ssim4"] > ours["ssim4"] + TIE)),
    )


def _columns(rows: Sequence[Measurement]) -> dict[str, npt.NDArray[np.float64]]:
    return {name: np.array([getattr(r, name) for r in rows], np.float64) for name in ("ssim", "ssim4", "bytes")}


def _removed(ssim: npt.NDArray[np.float64], base: npt.NDArray[np.float64]) -> float:
    return float(1 - (1 - ssim).sum() / max((1 - base).sum(), 1e-12))


def interval(
    errors: npt.NDArray[np.float64], base_errors: npt.NDArray[np.float64], icons: npt.NDArray[np.int64]
) -> tuple[float, float]:
    """Bootstrap 95 % interval of 1 - sum(errors) / sum(base_errors); ``icons`` numbers each picture's icon."""
    count = int(icons.max()) + 1
    ours = np.bincount(icons, errors, count)
    theirs = np.bincount(icons, base_errors, count)
    draws = np.random.default_rng(SEED).multinomial(count, np.full(count, 1 / count), RESAMPLES)
    values = 1 - (draws @ ours) / np.maximum(draws @ theirs, 1e-12)
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)
