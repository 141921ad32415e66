"""Shares: every pixel is one paint or a mix of two.

Flat pixels belong to their area's paint. Any other pixel is explained by the paints of the flat areas near it, one or
two of them, by least squares in premultiplied colour; where none near explains it, by any colour of the palette.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serve.vector.coverage.flat import FloatImage
from serve.vector.coverage.kernel import kernel
from serve.vector.coverage.paints import Floats, PaintTable, paint_at

RADIUS = 2
"""How far, in pixels, the flat areas may lie whose paints explain a blend."""
MAX_CANDIDATES = 8
UNKNOWN = -1
TEXTURE_SAMPLES = 4096
SLACK = 0.47
"""A single paint is preferred to a mix that is better by up to this, times flatness squared."""
SETTLE_ROUNDS = 3
RARITY = 6.0
"""Price, in noise floors times pixels, of a paint that covers little around a blend."""

Labels = npt.NDArray[np.int16]


@dataclass(frozen=True)
class Shares:
    """Per pixel (H, W): ``first`` covers ``share`` of it and ``second`` the rest; second is -1 where first is all.

    ``residual`` is the squared colour distance left unexplained, summed over premultiplied RGBA.
    """

    first: Labels
    second: Labels
    share: Floats
    residual: Floats

    def planes(self) -> tuple[Labels, Labels, Floats, Floats]:
        """The four arrays, in the order above."""
        return self.first, self.second, self.share, self.residual

    def copy(self) -> Shares:
        """The same shares in arrays of their own."""
        return Shares(self.first.copy(), self.second.copy(), self.share.copy(), self.residual.copy())


@kernel
def _gather(labels: Labels, extra: Labels, y: int, x: int, found: npt.NDArray[np.int64]) -> int:
    """Distinct labels of the flat pixels within RADIUS of (y, x), nearest rings first; returns how many."""
    height, width = labels.shape
    n = 0
    for ring in range(RADIUS + 1):
        for dy in range(-ring, ring + 1):
            for dx in range(-ring, ring + 1):
                if max(abs(dy), abs(dx)) != ring or abs(dy) + abs(dx) > RADIUS + 1:
                    continue
                yy, xx = y + dy, x + dx
                if yy < 0 or xx < 0 or yy >= height or xx >= width:
                    continue
                for source in range(2):
                    label = labels[yy, xx] if source == 0 else extra[yy, xx]
                    if label < 0 or n == MAX_CANDIDATES:
                        continue
                    known = False
                    for i in range(n):
                        known = known or found[i] == label
                    if not known:
                        found[n] = label
                        n += 1
    return n


@kernel
def _nearest_solid(pixel: Floats, solids: Floats) -> int:
    """Index of the palette colour nearest to ``pixel`` (4,)."""
    best, which = 1e18, -1
    for k in range(solids.shape[0]):
        d = 0.0
        for c in range(4):
            e = pixel[c] - solids[k, c]
            d += e * e
        if d < best:
            best, which = d, k
    return which


@kernel
def _mix(pixel: Floats, a: Floats, b: Floats) -> tuple[float, float]:
    """Squared error of the best mix of ``a`` and ``b`` for ``pixel``, and the share of ``a``."""
    dot = norm = 0.0
    for c in range(4):
        d = a[c] - b[c]
        dot += (pixel[c] - b[c]) * d
        norm += d * d
    if norm < 1.0:
        return 1e18, 1.0
    t = min(1.0, max(0.0, dot / norm))
    error = 0.0
    for c in range(4):
        e = pixel[c] - b[c] - t * (a[c] - b[c])
        error += e * e
    return error, t


@kernel
def _best_mix(pixel: Floats, paint: Floats, n: int, solids: Floats) -> tuple[float, int, float, int, int, float]:
    """Best single and best pair for ``pixel``: (error, index), (error, i, j, share of i).

    Singles and the first of a pair are among the ``n`` rows of ``paint``; the second is another of them or, with an
    index of n and more, one of ``solids``.
    """
    single, which = 1e18, -1
    pair, first, second, share = 1e18, -1, -1, 1.0
    for i in range(n):
        d = 0.0
        for c in range(4):
            e = pixel[c] - paint[i, c]
            d += e * e
        if d < single:
            single, which = d, i
        for j in range(i + 1, n + solids.shape[0]):
            error, t = _mix(pixel, paint[i], paint[j] if j < n else solids[j - n])
            if error < pair:
                pair, first, second, share = error, i, j, t
    return single, which, pair, first, second, share


@kernel
def _unmix(
    pixels: FloatImage,
    labels: Labels,
    extra: Labels,
    todo: npt.NDArray[np.int64],
    tables: tuple[npt.NDArray[np.int8], Floats, npt.NDArray[np.int32], Floats, Floats],
    solids: Floats,
    gain: float,
    slack: float,
    first: Labels,
    second: Labels,
    share: Floats,
    residual: Floats,
) -> None:
    width = labels.shape[1]
    found = np.empty(MAX_CANDIDATES + 1, np.int64)
    paint = np.empty((MAX_CANDIDATES + 1, 4), np.float32)
    none = solids[:0]
    for at in todo:
        y, x = at // width, at % width
        n = _gather(labels, extra, y, x, found)
        for i in range(n):
            paint_at(found[i], x + 0.5, y + 0.5, tables[0], tables[1], tables[2], tables[3], tables[4], paint[i])
        single, which, pair, a, b, t = _best_mix(pixels[y, x], paint, n, none)
        if min(single, pair) > gain and solids.shape[0] > 0:
            found[n] = _nearest_solid(pixels[y, x], solids)
            paint[n] = solids[found[n]]
            n += 1
            single, which, pair, a, b, t = _best_mix(pixels[y, x], paint, n, solids)
        residual[y, x] = min(single, pair)
        if a < 0 or single <= pair + slack:
            first[y, x], second[y, x], share[y, x] = found[which], UNKNOWN, 1.0
        else:
            first[y, x], second[y, x], share[y, x] = found[a], found[b] if b < n else b - n, t


@kernel
def _support(
    first: Labels, second: Labels, share: Floats, y: int, x: int, found: npt.NDArray[np.int64], area: Floats
) -> int:
    """Paints present within RADIUS of (y, x) and the area that each covers there; returns how many."""
    height, width = first.shape
    n = 0
    for yy in range(max(0, y - RADIUS), min(height, y + RADIUS + 1)):
        for xx in range(max(0, x - RADIUS), min(width, x + RADIUS + 1)):
            for source in range(2):
                label = first[yy, xx] if source == 0 else second[yy, xx]
                if label < 0:
                    continue
                covered = share[yy, xx] if source == 0 else 1 - share[yy, xx]
                i = 0
                while i < n and found[i] != label:
                    i += 1
                if i == n:
                    if n == MAX_CANDIDATES:
                        continue
                    found[n] = label
                    area[n] = 0.0
                    n += 1
                area[i] += covered
    return n


@kernel
def _settle(
    pixels: FloatImage,
    todo: npt.NDArray[np.int64],
    tables: tuple[npt.NDArray[np.int8], Floats, npt.NDArray[np.int32], Floats, Floats],
    rarity: float,
    slack: float,
    shares: tuple[Labels, Labels, Floats, Floats],
    out: tuple[Labels, Labels, Floats, Floats],
) -> None:
    """Choose again among the paints around each pixel, at a price of ``rarity`` over the area a paint has there."""
    first, second, share, _ = shares
    width = first.shape[1]
    found = np.empty(MAX_CANDIDATES, np.int64)
    area = np.empty(MAX_CANDIDATES, np.float32)
    paint = np.empty((MAX_CANDIDATES, 4), np.float32)
    for at in todo:
        y, x = at // width, at % width
        n = _support(first, second, share, y, x, found, area)
        best, bi, bj, bt, bare = 1e18, 0, -1, 1.0, 0.0
        for i in range(n):
            paint_at(found[i], x + 0.5, y + 0.5, tables[0], tables[1], tables[2], tables[3], tables[4], paint[i])
        for i in range(n):
            error = 0.0
            for c in range(4):
                e = pixels[y, x, c] - paint[i, c]
                error += e * e
            cost = error + rarity / (0.5 + area[i]) - slack
            if cost < best:
                best, bi, bj, bt, bare = cost, i, -1, 1.0, error
            for j in range(i + 1, n):
                error, t = _mix(pixels[y, x], paint[i], paint[j])
                cost = error + rarity / (0.5 + area[i]) + rarity / (0.5 + area[j])
                if cost < best:
                    best, bi, bj, bt, bare = cost, i, j, t, error
        out[0][y, x], out[1][y, x] = found[bi], found[bj] if bj >= 0 else UNKNOWN
        out[2][y, x], out[3][y, x] = bt, bare


def unmix(
    pixels: FloatImage, labels: Labels, extra: Labels, paints: PaintTable, solids: Floats, flatness: float
) -> Shares:
    """Shares of every pixel of ``pixels`` (H, W, 4).

    labels (H, W): the paint of each flat pixel, -1 for the others. extra (H, W): a paint that explains a blend
    nearby though it is flat nowhere, or -1. solids (m, 4): the colours of the first m paints.
    ``flatness`` scales how much unexplained colour is taken for noise.
    """
    todo = np.flatnonzero(labels.ravel() < 0)
    return _unmix_some(pixels, labels, extra, paints, solids, flatness, todo)


def unexplained_share(pixels: FloatImage, labels: Labels, paints: PaintTable, solids: Floats, flatness: float) -> float:
    """Share of the picture, estimated from TEXTURE_SAMPLES blends, whose colour no mix of paints explains."""
    todo = np.flatnonzero(labels.ravel() < 0)
    if not len(todo):
        return 0.0
    sample = todo[:: max(1, len(todo) // TEXTURE_SAMPLES)]
    extra = np.full(labels.shape, -1, np.int16)
    shares = _unmix_some(pixels, labels, extra, paints, solids, flatness, sample)
    high = (shares.residual.ravel()[sample] > noise_floor(flatness)).mean()
    return float(high) * len(todo) / labels.size


def _unmix_some(
    pixels: FloatImage,
    labels: Labels,
    extra: Labels,
    paints: PaintTable,
    solids: Floats,
    flatness: float,
    todo: npt.NDArray[np.int64],
) -> Shares:
    first, share = labels.copy(), np.ones(labels.shape, np.float32)
    second = np.full(labels.shape, UNKNOWN, np.int16)
    residual = np.zeros(labels.shape, np.float32)
    tables = (paints.kind, paints.geometry, paints.stops, paints.offsets, paints.colors)
    _unmix(
        pixels, labels, extra, todo, tables, solids, noise_floor(flatness), SLACK * flatness * flatness,
        first, second, share, residual,
    )  # fmt: skip
    return Shares(first, second, share, residual)


def settle(pixels: FloatImage, labels: Labels, shares: Shares, paints: PaintTable, flatness: float) -> Shares:
    """Shares in which a blend prefers paints that its neighbourhood has: no stripes of two near colours on thin lines.

    Arguments as for `unmix`, and its result.
    """
    todo = np.flatnonzero(labels.ravel() < 0)
    tables = (paints.kind, paints.geometry, paints.stops, paints.offsets, paints.colors)
    rarity, slack = RARITY * noise_floor(flatness), SLACK * flatness * flatness
    for _ in range(SETTLE_ROUNDS):
        out = shares.copy()
        _settle(pixels, todo, tables, rarity, slack, shares.planes(), out.planes())
        shares = out
    return shares


def noise_floor(flatness: float) -> float:
    """Squared colour distance up to which a mix is taken to explain a pixel (300 at the default flatness of 8)."""
    return 4.7 * flatness * flatness
