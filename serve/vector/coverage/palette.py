"""The flat colours of a picture, found from its flat pixels only, so that blends at edges never become colours."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from serve.vector.coverage.flat import FloatImage
from serve.vector.coverage.kernel import kernel

Colors = npt.NDArray[np.float32]

BINS = 1 << 19
"""Histogram cells: 5 bits for each of R, G and B, 4 for alpha."""
MIN_SHARE = 2e-4
"""Smallest share of the picture that a colour's flat pixels may have."""
KMEANS_ROUNDS = 2
HEAVY, HEAVY_AREA = 0.05, 10.0
"""A colour with this share of a kept one's pixels, and this many times the least, is one of the picture's own..."""
HEAVY_DISTANCE = 0.5
"""...and may come this much nearer to it."""
SCATTERED = 2.0
"""Distances from all other colours, in units of the palette's, from which a colour may be scattered over cells."""
OFF_MIXES = 32.0
"""Steps of 255 that such a colour is from every mix of two others."""
CHROMA = 0.5
"""What chroma counts for beside luma at the edges of noisy pictures: JPEG keeps it at half of the resolution."""
SNAP = 2.0
"""Steps of 255 from an end of the scale within which a noisy channel is taken for that end."""

# Björn Ottosson, "A perceptual color space for image processing", 2020: linear sRGB → LMS, cube root → Lab.
_LMS = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ],
    np.float32,
)
_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ],
    np.float32,
)

_FADE = np.eye(4, dtype=np.float32)
_FADE[:3, :3] = CHROMA * np.eye(3) + (1 - CHROMA) * np.array([0.299, 0.587, 0.114])
_UNFADE = np.linalg.inv(_FADE).astype(np.float32)


def oklab(rgb: npt.ArrayLike) -> Colors:
    """sRGB in 0..255, shape (..., 3) → OKLab, same shape; L from 0 to 1."""
    c = np.asarray(rgb, np.float32) / 255
    linear = np.where(c <= 0.04045, c / 12.92, ((np.maximum(c, 0) + 0.055) / 1.055) ** 2.4).astype(np.float32)
    lab: Colors = np.cbrt(np.maximum(linear @ _LMS.T, 0)) @ _LAB.T
    return lab


def appearance(premultiplied: Colors) -> Colors:
    """Premultiplied RGBA (n, 4) → coordinates (n, 4) whose Euclidean distance is OKLab's between opaque colours.

    Colour counts for as much as it covers, and coverage is a fourth axis.
    """
    alpha = np.maximum(premultiplied[:, 3:], 1e-3) / 255
    lab = oklab(np.clip(premultiplied[:, :3] / alpha, 0, 255)) * alpha
    stacked: Colors = np.concatenate([lab, alpha], 1).astype(np.float32)
    return stacked


@kernel
def bin_of(r: float, g: float, b: float, a: float) -> int:
    """The histogram cell of a premultiplied colour."""
    key = (min(255, max(0, int(r))) >> 3) << 10 | (min(255, max(0, int(g))) >> 3) << 5 | min(255, max(0, int(b))) >> 3
    return (15 - (min(255, max(0, int(a))) >> 4)) << 15 | key


@kernel
def _add(sums: npt.NDArray[np.float64], counts: npt.NDArray[np.int32], s: int, color: Colors, times: int) -> None:
    """Add ``times`` pixels of ``color`` (4,) to cell ``s``."""
    if times:
        counts[s] += times
        for c in range(4):
            sums[s, c] += times * color[c]


@kernel
def histogram(
    pixels: FloatImage, mask: npt.NDArray[np.uint8]
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32], npt.NDArray[np.int32]]:
    """Of the pixels in ``mask``: occupied cells (n,), their mean colours (n, 4) and pixel counts (n,)."""
    height, width = mask.shape
    slot = np.full(BINS, -1, np.int32)
    cells = np.empty(BINS, np.int32)
    sums = np.zeros((4096, 4), np.float64)
    counts = np.zeros(4096, np.int32)
    used, s, run = 0, -1, 0
    last = np.full(4, -1.0, np.float32)
    for y in range(height):
        for x in range(width):
            if mask[y, x] == 0:
                continue
            p = pixels[y, x]
            if p[0] == last[0] and p[1] == last[1] and p[2] == last[2] and p[3] == last[3]:
                run += 1
                continue
            _add(sums, counts, s, last, run)
            run = 1
            for c in range(4):
                last[c] = p[c]
            cell = bin_of(p[0], p[1], p[2], p[3])
            s = slot[cell]
            if s < 0:
                if used == sums.shape[0]:
                    sums = np.concatenate((sums, np.zeros_like(sums)))
                    counts = np.concatenate((counts, np.zeros_like(counts)))
                s = used
                slot[cell] = s
                cells[s] = cell
                used += 1
    _add(sums, counts, s, last, run)
    means = np.empty((used, 4), np.float32)
    for s in range(used):
        for c in range(4):
            means[s, c] = sums[s, c] / counts[s]
    return cells[:used].copy(), means, counts[:used].copy()


def find_palette(pixels: FloatImage, mask: npt.NDArray[np.uint8], distance: float, max_colors: int) -> Colors:
    """At most ``max_colors`` premultiplied colours (k, 4), the most frequent first, ``distance`` apart in OKLab.

    Only pixels in ``mask`` count; where there are fewer than 16 of them, all pixels do.
    """
    area = mask.size
    if int(mask.sum()) < 16:
        mask = np.ones_like(mask)
    _, means, counts = histogram(pixels, mask)
    order = np.argsort(-counts, kind="stable")
    means, counts = means[order], counts[order]
    look = appearance(means)
    least = max(4.0, MIN_SHARE * area)
    kept = _separate(look, counts, distance, max_colors, least)
    kept += _scattered(means, look, counts, kept, distance, max_colors - len(kept), least)
    colors = means[kept]
    for _ in range(KMEANS_ROUNDS):
        nearest = nearest_color(look, appearance(colors))
        weight = np.bincount(nearest, counts, len(colors))
        sums = np.stack([np.bincount(nearest, counts * means[:, c], len(colors)) for c in range(4)], 1)
        colors = np.where(weight[:, None] > 0, sums / np.maximum(weight, 1)[:, None], colors).astype(np.float32)
    return colors


@kernel
def _levels(pixels: FloatImage, labels: npt.NDArray[np.int16], k: int) -> npt.NDArray[np.int32]:
    """How many pixels of each of ``k`` labels have each level in each channel: shape (k, 4, 256)."""
    counts = np.zeros((k, 4, 256), np.int32)
    height, width = labels.shape
    for y in range(height):
        for x in range(width):
            if 0 <= labels[y, x] < k:
                for c in range(4):
                    counts[labels[y, x], c, min(255, max(0, int(pixels[y, x, c] + 0.5)))] += 1
    return counts


def median_colors(pixels: FloatImage, labels: npt.NDArray[np.int16], colors: Colors) -> Colors:
    """``colors`` (k, 4) with the channel-wise median of the pixels labelled with each, where there are some.

    Noise at an end of the scale is cut off there, so a mean lies inside: black becomes dark grey. A median stays.
    """
    below = _levels(pixels, labels, len(colors)).cumsum(2)
    half = (below >= 0.5 * below[:, :, -1:]).argmax(2)
    medians = np.where(below[:, :, -1] > 0, half, colors)
    top = np.where(np.arange(4) == 3, np.float32(255), medians[:, 3:])
    snapped: Colors = np.where(medians <= SNAP, 0, np.where(medians >= top - SNAP, top, medians)).astype(np.float32)
    return snapped


def fade(colors: Colors) -> Colors:
    """Colours (..., 4) with their difference from grey of the same luma times CHROMA."""
    faded: Colors = np.asarray(colors, np.float32) @ _FADE.T
    return np.ascontiguousarray(faded)


def unfade(faded: Colors) -> Colors:
    """The inverse of `fade`."""
    colors: Colors = np.asarray(faded, np.float32) @ _UNFADE.T
    return np.ascontiguousarray(colors)


def nearest_color(look: Colors, palette_look: Colors) -> npt.NDArray[np.intp]:
    """Index (n,) of the palette entry nearest to each of ``look`` (n, 4)."""
    cross = look @ palette_look.T
    nearest: npt.NDArray[np.intp] = ((palette_look**2).sum(1) - 2 * cross).argmin(1)
    return nearest


def _separate(look: Colors, counts: npt.NDArray[np.int32], distance: float, most: int, least: float) -> list[int]:
    """Greedily the most frequent entries that lie ``distance`` from all kept before, heavy ones less; at least one."""
    kept = [0]
    for i in range(1, len(look)):
        if counts[i] < least or len(kept) >= most:
            break
        apart = np.sqrt(((look[kept] - look[i]) ** 2).sum(1))
        heavy = counts[i] >= np.maximum(HEAVY * counts[kept], HEAVY_AREA * least)
        if (apart > np.where(heavy, HEAVY_DISTANCE * distance, distance)).all():
            kept.append(i)
    return kept


def _scattered(
    means: Colors,
    look: Colors,
    counts: npt.NDArray[np.int32],
    kept: list[int],
    distance: float,
    room: int,
    least: float,
) -> list[int]:
    """Up to ``room`` further entries: colours whose pixels noise has spread over several cells. Each lies far from all
    ``kept`` and from every mix of two of them, as no edge between those does."""
    found: list[int] = []
    apart = np.sqrt(((look[:, None] - look[kept]) ** 2).sum(2)).min(1)
    left = apart > SCATTERED * distance
    while room > len(found) and left.any():
        i = int(np.argmax(np.where(left, counts, 0)))
        near = left & (np.sqrt(((look - look[i]) ** 2).sum(1)) <= distance)
        if counts[near].sum() >= least and _off_mixes(means[i], means[[*kept, *found]]) > OFF_MIXES:
            found.append(i)
        left &= ~near
    return found


def _off_mixes(color: Colors, others: Colors) -> float:
    """The least distance in steps of 255 from ``color`` (4,) to a mix of two of ``others`` (k, 4)."""
    start, step = others[:, None], others[None] - others[:, None]
    share = ((color - start) * step).sum(2) / np.maximum((step**2).sum(2), 1e-6)
    mixed = start + np.clip(share, 0, 1)[..., None] * step
    return float(np.sqrt(((color - mixed) ** 2).sum(2)).min())
