"""The coverage tracer, step by step: flat areas, paints, shares, layers, curves, text."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from serve.vector.coverage.curves import fit_contour
from serve.vector.coverage.flat import FloatImage, denoise, flat_mask, premultiply
from serve.vector.coverage.gradients import fit_gradients
from serve.vector.coverage.kernel import kernel
from serve.vector.coverage.layers import Layer, stack
from serve.vector.coverage.paints import Floats, PaintTable
from serve.vector.coverage.palette import Colors, find_palette
from serve.vector.coverage.refine import refine
from serve.vector.coverage.unmix import Labels, Shares, noise_floor, settle, unexplained_share, unmix
from serve.vector.coverage.writer import Shape, to_svg
from serve.vector.parameters import CoverageParameters

RESIDUAL_ROUNDS = 2
RESIDUAL_COLORS = 4
"""Most colours added in a round."""
MIN_RESIDUAL = 900.0
MIN_RESIDUAL_DISTANCE = 400.0
MAX_PAINTS = 64
MIN_FLAT = 8
MAX_PIXELS = 2_000_000
MAX_CONTOURS = 1500
MAX_UNEXPLAINED, MIN_TEXTURE_PIXELS = 0.2, 1 << 14
"""A picture with a larger share of colours that no mix explains is a texture; it is halved down to so many pixels."""
BANDING = 4.0
"""A flat pixel this many noise floors from its colour is a blend of two bands of an unfitted gradient."""


@dataclass(frozen=True)
class _Areas:
    """Flat pixels labelled with paints (-1 elsewhere), the paints, and the flat colours they begin with."""

    labels: Labels
    paints: PaintTable
    solids: Floats


def trace_coverage(rgba: npt.NDArray[np.uint8], parameters: CoverageParameters) -> str:
    """The SVG of a straight 8-bit RGBA picture (H, W, 4); the same picture and parameters give the same text.

    Pictures of more than MAX_PIXELS, dense textures and what has more than MAX_CONTOURS contours are traced at a
    reduced size, so that time and text stay bounded.
    """
    height, width = rgba.shape[:2]
    pixels = denoise(_shrink(premultiply(rgba), MAX_PIXELS), parameters.denoise)
    pixels, layers, paints = _draw(pixels, parameters)
    while len(layers) > parameters.max_paths and (fewer := _with_fewer_paints(parameters, len(layers))) != parameters:
        parameters = fewer
        pixels, layers, paints = _draw(pixels, parameters)
    shapes = _fit(layers[: parameters.max_paths], parameters)
    if parameters.refine:
        shapes = refine(shapes, paints, pixels, parameters.refine, parameters.decimals)
    return to_svg(shapes, paints, (pixels.shape[1], pixels.shape[0]), (width, height), parameters.decimals)


def _draw(pixels: FloatImage, parameters: CoverageParameters) -> tuple[FloatImage, list[Layer], PaintTable]:
    """The layers and their paints, and the picture at the size at which it is simple enough to be drawn."""
    while True:
        small = pixels[..., 0].size <= MIN_TEXTURE_PIXELS
        areas = _find_areas(pixels, parameters)
        if small or not _is_texture(pixels, areas, parameters):
            shares, paints = _explain(pixels, areas, parameters)
            layers = stack(shares, paints, parameters.min_area, MAX_CONTOURS)
            if small or sum(len(layer.contours) for layer in layers) <= MAX_CONTOURS:
                return pixels, layers, paints
        pixels = _shrink(pixels, pixels[..., 0].size // 4)


def _with_fewer_paints(parameters: CoverageParameters, layers: int) -> CoverageParameters:
    """Parameters that lead to fewer than ``layers`` layers: fewer colours, and at last no gradients."""
    colors = min(parameters.max_colors, layers) - (layers - parameters.max_paths)
    if colors >= 2:
        return replace(parameters, max_colors=colors)
    return replace(parameters, max_colors=max(2, min(parameters.max_paths, parameters.max_colors)), gradient_rms=0.0)


def _shrink(pixels: FloatImage, most: int) -> FloatImage:
    """``pixels`` averaged down, proportions kept, to about ``most`` pixels where they are more."""
    height, width = pixels.shape[:2]
    if height * width <= most:
        return pixels
    scale = math.sqrt(most / (height * width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    smaller: FloatImage = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return smaller


def _is_texture(pixels: FloatImage, areas: _Areas, parameters: CoverageParameters) -> bool:
    share = unexplained_share(pixels, areas.labels, areas.paints, areas.solids, parameters.flatness)
    return share > MAX_UNEXPLAINED


def _find_areas(pixels: FloatImage, parameters: CoverageParameters) -> _Areas:
    """Flat areas with their paints: gradients where an area varies smoothly, palette colours elsewhere."""
    mask = flat_mask(pixels, parameters.flatness)
    gradient_of = np.full(mask.shape, -1, np.int32)
    gradients = PaintTable.solid(np.zeros((0, 4), np.float32))
    if parameters.gradient_rms >= 1.0:
        _, regions, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
        counts = stats[:, cv2.CC_STAT_AREA].astype(np.int64)
        paint_of, kind, geometry, stops, offsets, colors = fit_gradients(
            pixels, regions, counts, parameters.gradient_rms
        )
        if len(kind):
            gradients = PaintTable(kind, geometry, stops, offsets, colors)
            gradient_of = paint_of[regions]
    flat = (mask > 0) & (gradient_of < 0)
    source = flat if flat.sum() >= MIN_FLAT else np.ones_like(flat)
    solids = find_palette(pixels, source.astype(np.uint8), parameters.palette_distance, parameters.max_colors)
    labels = _label(pixels, flat.astype(np.uint8), gradient_of, solids, BANDING * noise_floor(parameters.flatness))
    return _Areas(labels, PaintTable.solid(solids).join(gradients), solids)


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


def _explain(pixels: FloatImage, areas: _Areas, parameters: CoverageParameters) -> tuple[Shares, PaintTable]:
    """Unmix every pixel; where colour is left unexplained, add it to the palette and unmix again."""
    solids, paints, labels = areas.solids, areas.paints, areas.labels
    extra = np.full(labels.shape, -1, np.int16)
    shares = unmix(pixels, labels, extra, paints, solids, parameters.flatness)
    for _ in range(RESIDUAL_ROUNDS):
        room = min(parameters.max_colors - len(solids), MAX_PAINTS - len(paints), RESIDUAL_COLORS)
        found = _unexplained(pixels, shares.residual, solids, room, noise_floor(parameters.flatness))
        if not found:
            break
        start = len(solids)
        solids = np.concatenate([solids, [color for color, _ in found]]).astype(np.float32)
        labels, extra = _shift(labels, start, len(found)), _shift(extra, start, len(found))
        for i, (_, where) in enumerate(found):
            extra[where] = start + i
        gradients = len(paints) - start
        keep = slice(start, start + gradients)
        paints = PaintTable.solid(solids).join(
            PaintTable(paints.kind[keep], paints.geometry[keep], paints.stops[keep],
                       paints.offsets[keep], paints.colors[keep])
        )  # fmt: skip
        shares = unmix(pixels, labels, extra, paints, solids, parameters.flatness)
    return settle(pixels, labels, shares, paints, parameters.flatness), paints


def _shift(labels: Labels, start: int, by: int) -> Labels:
    """Labels after ``by`` solids were put in before the gradients, which begin at ``start``."""
    shifted: Labels = np.where(labels >= start, labels + np.int16(by), labels)
    return shifted


def _unexplained(
    pixels: FloatImage, residual: Floats, solids: Floats, room: int, floor: float
) -> list[tuple[Floats, npt.NDArray[np.bool_]]]:
    """Up to ``room`` colours that no mix explains, each with the pixels around it; the worst patches first."""
    high = (residual > max(floor, MIN_RESIDUAL)).astype(np.uint8)
    if room <= 0 or int(high.sum()) < 3:
        return []
    count, patches, stats, _ = cv2.connectedComponentsWithStats(high, connectivity=8)
    weight = np.bincount(patches.ravel(), residual.ravel(), count)
    weight[0] = 0
    found: list[tuple[Floats, npt.NDArray[np.bool_]]] = []
    for i in np.argsort(-weight)[:RESIDUAL_COLORS]:
        x, y, w, h, area = stats[i]
        if i == 0 or area < 2 or len(found) >= room:
            continue
        box = np.s_[y : y + h, x : x + w]
        inside = patches[box] == i
        at = np.argmax(np.where(inside, residual[box], -1))
        color = pixels[box].reshape(-1, 4)[at]
        others = [*solids, *(c for c, _ in found)]
        if all(((color - c) ** 2).sum() > MIN_RESIDUAL_DISTANCE for c in others):
            where = cv2.dilate((patches == i).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
            found.append((color, where))
    return found


def _fit(layers: list[Layer], parameters: CoverageParameters) -> list[Shape]:
    """Curves for every contour; outlines that collapse to less than a triangle are dropped."""
    angle = math.radians(parameters.corner_angle)
    shapes = []
    for layer in layers:
        outlines = [fit_contour(c, parameters.tolerance, angle) for c in layer.contours]
        outlines = [o for o in outlines if len(o) > 2 or (len(o) and o[:, 0].min() == 0)]
        if outlines:
            shapes.append(Shape(layer.paint, outlines))
    return shapes
