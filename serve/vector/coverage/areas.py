"""Flat and smooth areas with their paints, before edges are considered."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from serve.vector.coverage.flat import FloatImage, Source, block_mask, flat_mask
from serve.vector.coverage.gradients import fit_gradients
from serve.vector.coverage.kernel import kernel
from serve.vector.coverage.paints import Floats, PaintTable
from serve.vector.coverage.palette import Colors, find_palette, median_colors
from serve.vector.coverage.unmix import Labels, noise_floor
from serve.vector.parameters import CoverageParameters

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
