"""Flat and smooth areas with their paints, before edges are considered; a gradient that explains several is shared."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from serve.vector.coverage.flat import FloatImage, Source, block_mask, flat_mask
from serve.vector.coverage.gradient_fit import Numbers, fit_linear, fit_radial
from serve.vector.coverage.kernel import kernel
from serve.vector.coverage.paints import LINEAR, MAX_STOPS, RADIAL, Floats, PaintTable, paint_at
from serve.vector.coverage.palette import Colors, find_palette, median_colors
from serve.vector.coverage.unmix import Labels, noise_floor
from serve.vector.parameters import CoverageParameters

SAMPLES = 1200
MIN_GRADIENT_AREA = 60
MAX_GRADIENTS = 20
MIN_GRADIENT_RANGE = 12.0
MIN_GRADIENT_DEVIATION = 2.5
GOOD_LINEAR_RMS = 2.5
RADIAL_GAIN = 0.75
"""Share of a linear gradient's error that a radial one may leave to be preferred."""
MOST_LEFT = 0.4
"""Share of an area's deviation from its mean colour that a gradient may leave; one that leaves more fits noise."""


@kernel
def _region_pixels(
    labels: npt.NDArray[np.int32], counts: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """Pixels grouped by label: start of each label's run (n + 1,) and flat pixel indices in that order."""
    height, width = labels.shape
    start = np.zeros(counts.shape[0] + 1, np.int64)
    for i in range(counts.shape[0]):
        start[i + 1] = start[i] + counts[i]
    fill = start[:-1].copy()
    order = np.empty(height * width, np.int32)
    for y in range(height):
        for x in range(width):
            label = labels[y, x]
            order[fill[label]] = y * width + x
            fill[label] += 1
    return start, order


@kernel
def _spread(pixels: FloatImage, labels: npt.NDArray[np.int32], n: int) -> tuple[Floats, Numbers]:
    """Of each labelled region: the largest range of a channel, and its largest standard deviation. Shapes (n,)."""
    low = np.full((n, 4), 1e9, np.float32)
    high = np.full((n, 4), -1e9, np.float32)
    total = np.zeros((n, 4))
    square = np.zeros((n, 4))
    count = np.zeros(n)
    height, width = labels.shape
    for y in range(height):
        for x in range(width):
            label = labels[y, x]
            count[label] += 1
            for c in range(4):
                v = pixels[y, x, c]
                low[label, c] = min(low[label, c], v)
                high[label, c] = max(high[label, c], v)
                total[label, c] += v
                square[label, c] += v * v
    reach = np.zeros(n, np.float32)
    deviation = np.zeros(n)
    for i in range(n):
        if count[i] == 0:
            continue
        for c in range(4):
            reach[i] = max(reach[i], high[i, c] - low[i, c])
            mean = total[i, c] / count[i]
            deviation[i] = max(deviation[i], math.sqrt(max(0.0, square[i, c] / count[i] - mean * mean)))
    return reach, deviation


@kernel
def _paint_rms(
    k: int,
    x: Numbers,
    y: Numbers,
    color: Numbers,
    kind: npt.NDArray[np.int8],
    geometry: Floats,
    stops: npt.NDArray[np.int32],
    offsets: Floats,
    colors: Floats,
) -> float:
    """RMS error of paint ``k`` over samples."""
    out = np.empty(4, np.float32)
    error = 0.0
    for i in range(x.shape[0]):
        paint_at(k, x[i], y[i], kind, geometry, stops, offsets, colors, out)
        for c in range(4):
            e = out[c] - color[i, c]
            error += e * e
    return math.sqrt(error / x.shape[0])


@kernel
def _varying_regions(counts: npt.NDArray[np.int64], reach: Floats, deviation: Numbers) -> npt.NDArray[np.int64]:
    """Labels (from 1) of regions large and varied enough to carry a gradient, the largest first."""
    found = np.empty(counts.shape[0], np.int64)
    n = 0
    for i in range(1, counts.shape[0]):
        if counts[i] >= MIN_GRADIENT_AREA and reach[i] >= MIN_GRADIENT_RANGE and deviation[i] >= MIN_GRADIENT_DEVIATION:
            found[n] = i
            n += 1
    found = found[:n]
    return found[np.argsort(-counts[found])]


@kernel
def _samples(pixels: FloatImage, at: npt.NDArray[np.int32]) -> tuple[Numbers, Numbers, Numbers]:
    """Up to SAMPLES of the pixels at flat indices ``at``, spread evenly: x (n,) and y (n,), colours (n, 4)."""
    width, take = pixels.shape[1], min(SAMPLES, at.shape[0])
    x, y, color = np.empty(take), np.empty(take), np.empty((take, 4))
    for i in range(take):
        py, px = divmod(at[i * at.shape[0] // take], width)
        x[i], y[i] = px + 0.5, py + 0.5
        for c in range(4):
            color[i, c] = pixels[py, px, c]
    return x, y, color


@kernel
def _fit_best(
    x: Numbers, y: Numbers, color: Numbers, geometry: Floats, offsets: Floats, colors: Floats
) -> tuple[int, int, float]:
    """Kind, stops and RMS error of a linear gradient, or of a radial one where that is clearly better."""
    stops, error = fit_linear(x, y, color, geometry, offsets, colors)
    if error <= GOOD_LINEAR_RMS:
        return LINEAR, stops, error
    r_geometry, r_offsets, r_colors = geometry.copy(), offsets.copy(), colors.copy()
    r_stops, r_error = fit_radial(x, y, color, r_geometry, r_offsets, r_colors)
    if r_stops == 0 or r_error >= RADIAL_GAIN * error:
        return LINEAR, stops, error
    geometry[:], offsets[:], colors[:] = r_geometry, r_offsets, r_colors
    return RADIAL, r_stops, r_error


@kernel
def fit_gradients(
    pixels: FloatImage, labels: npt.NDArray[np.int32], counts: npt.NDArray[np.int64], max_rms: float
) -> tuple[
    npt.NDArray[np.int32],
    npt.NDArray[np.uint8],
    npt.NDArray[np.int8],
    Floats,
    npt.NDArray[np.int32],
    Floats,
    Floats,
]:
    """Fit gradients to the smooth regions of ``labels`` (H, W; 0 is none) that vary enough.

    Returns the paint of each label (-1: none), whether one was sought in vain, and the table's arrays. A paint that
    also explains another region is used again there, so a gradient cut in two by a shape stays one.
    """
    n = counts.shape[0]
    reach, deviation = _spread(pixels, labels, n)
    paint_of = np.full(n, -1, np.int32)
    unfitted = np.zeros(n, np.uint8)
    kind = np.zeros(MAX_GRADIENTS, np.int8)
    geometry = np.zeros((MAX_GRADIENTS, 4), np.float32)
    stops = np.zeros(MAX_GRADIENTS, np.int32)
    offsets = np.zeros((MAX_GRADIENTS, MAX_STOPS), np.float32)
    colors = np.zeros((MAX_GRADIENTS, MAX_STOPS, 4), np.float32)
    used = 0
    regions = _varying_regions(counts, reach, deviation)
    if regions.shape[0] == 0:
        return paint_of, unfitted, kind[:0], geometry[:0], stops[:0], offsets[:0], colors[:0]
    start, order = _region_pixels(labels, counts)
    for label in regions:
        x, y, color = _samples(pixels, order[start[label] : start[label + 1]])
        total = 0.0
        for c in range(4):
            total += color[:, c].var()
        limit = max(3.0, min(max_rms, 0.25 * math.sqrt(total)))
        for k in range(used):
            if _paint_rms(k, x, y, color, kind, geometry, stops, offsets, colors) <= min(limit, 3.5):
                paint_of[label] = k
                break
        if paint_of[label] >= 0 or used == MAX_GRADIENTS:
            continue
        kind[used], best_stops, best = _fit_best(x, y, color, geometry[used], offsets[used], colors[used])
        if best_stops > 0 and best <= min(limit, MOST_LEFT * math.sqrt(total)):
            stops[used] = best_stops
            paint_of[label] = used
            used += 1
        else:
            unfitted[label] = 1
    return paint_of, unfitted, kind[:used], geometry[:used], stops[:used], offsets[:used], colors[:used]


Integers = npt.NDArray[np.int32]

MIN_FLAT = 8
BANDING = 4.0
"""A flat pixel this many noise floors from its colour is a blend of two bands of an unfitted gradient."""
GRADIENT_MARGIN = 5
"""Side, in pixels, of the square around a gradient's pixel in which even blocks are part of the gradient."""


@dataclass(frozen=True)
class Areas:
    """Flat pixels labelled with paints (-1 elsewhere), the paints, and the flat colours they begin with."""

    labels: Labels
    paints: PaintTable
    solids: Floats


def find_areas(source: Source, parameters: CoverageParameters) -> Areas:
    """Areas of ``source`` with their paints: gradients where one varies smoothly, palette colours elsewhere."""
    pixels, flatness = source.pixels, parameters.flatness
    mask = flat_mask(pixels, flatness)
    gradient_of, gradients = _fit_gradients(source, mask, parameters)
    smooth = cv2.dilate((gradient_of >= 0).astype(np.uint8), np.ones((GRADIENT_MARGIN, GRADIENT_MARGIN), np.uint8))
    mask |= block_mask(pixels, flatness) & (1 - smooth)
    flat = (mask > 0) & (gradient_of < 0)
    counted = flat if flat.sum() >= MIN_FLAT else np.ones_like(flat)
    solids = find_palette(pixels, counted.astype(np.uint8), parameters.palette_distance, parameters.max_colors)
    labels = _label(pixels, flat.astype(np.uint8), gradient_of, solids, BANDING * noise_floor(flatness))
    if source.noisy:
        solids = median_colors(source.raw, labels, solids)
    return Areas(labels, PaintTable.solid(solids).join(gradients), solids)


def _fit_gradients(
    source: Source, mask: npt.NDArray[np.uint8], parameters: CoverageParameters
) -> tuple[Integers, PaintTable]:
    """Index of each pixel's gradient (H, W), -1 where there is none, and the gradients.

    An area that none fits is looked at again at half the flatness, which parts gradients that run into each other;
    not in noisy pictures, where it would part noise.
    """
    if parameters.gradient_rms < 1.0:
        return np.full(mask.shape, -1, np.int32), PaintTable.solid(np.zeros((0, 4), np.float32))
    pixels = source.pixels
    gradient_of, gradients, left = _fit_areas(pixels, mask, parameters.gradient_rms)
    if source.noisy or not left.any():
        return gradient_of, gradients
    parts = flat_mask(pixels, parameters.flatness / 2) * left
    part_of, more, _ = _fit_areas(pixels, parts, parameters.gradient_rms)
    return np.where(part_of >= 0, part_of + np.int32(len(gradients)), gradient_of), gradients.join(more)


def _fit_areas(
    pixels: FloatImage, mask: npt.NDArray[np.uint8], max_rms: float
) -> tuple[Integers, PaintTable, npt.NDArray[np.uint8]]:
    """As `_fit_gradients`, of the connected areas of ``mask``; and those (H, W) that vary but that none fits."""
    _, regions, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
    counts = stats[:, cv2.CC_STAT_AREA].astype(np.int64)
    paint_of, unfitted, kind, geometry, stops, offsets, colors = fit_gradients(pixels, regions, counts, max_rms)
    return paint_of[regions], PaintTable(kind, geometry, stops, offsets, colors), unfitted[regions]


@kernel
def _label(
    pixels: FloatImage, flat: npt.NDArray[np.uint8], gradient_of: npt.NDArray[np.int32], solids: Colors, limit: float
) -> Labels:
    """Paint of each flat pixel: its gradient's, else the nearest solid unless that is ``limit`` away (squared).

    Flat pixels that no paint fits lie in smooth areas between two colours; they are left to be unmixed.
    """
    height, width = flat.shape
    labels = np.full((height, width), -1, np.int16)
    k = solids.shape[0]
    for y in range(height):
        previous = 0
        for x in range(width):
            if gradient_of[y, x] >= 0:
                labels[y, x] = k + gradient_of[y, x]
            if flat[y, x] == 0 or k == 0:
                continue
            best, which = 1e18, -1
            for j in range(-1, k):
                i = previous if j < 0 else j
                d = 0.0
                for c in range(4):
                    e = pixels[y, x, c] - solids[i, c]
                    d += e * e
                if d < best:
                    best, which = d, i
                if best < 4.0:
                    break
            previous = which
            if best <= limit:
                labels[y, x] = which
    return labels
