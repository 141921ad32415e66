"""The coverage tracer, step by step: flat areas, paints, shares, layers, whole shapes and curves, text."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from serve.vector.coverage.flat import FloatImage, Source, prepare
from serve.vector.coverage.gradients import Areas, find_areas
from serve.vector.coverage.grid import Grid
from serve.vector.coverage.layers import Layer, stack
from serve.vector.coverage.ordering import ordered, with_uses
from serve.vector.coverage.paints import Floats, PaintTable
from serve.vector.coverage.palette import fade, unfade
from serve.vector.coverage.primitives import CIRCLE, Primitive, is_within
from serve.vector.coverage.refine import refine
from serve.vector.coverage.shapes import draw_shapes
from serve.vector.coverage.unmix import Labels, Shares, noise_floor, settle, unexplained_share, unmix
from serve.vector.coverage.writer import Shape, to_svg
from serve.vector.ids import with_own_ids
from serve.vector.parameters import CoverageParameters

RESIDUAL_ROUNDS = 2
RESIDUAL_COLORS = 4
"""Most colours added in a round."""
MIN_RESIDUAL = 900.0
MIN_RESIDUAL_DISTANCE = 400.0
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
BLEEDING = np.ones((5, 5), np.uint8)
"""How far the chroma of a JPEG with halved chroma reaches across an edge."""
RINGING = 14.0
"""By how much JPEG's luma overshoots at an edge, in 8-bit steps."""
MAX_PAINTS = 64
MAX_CONTOURS = 1500
MAX_UNEXPLAINED, MIN_TEXTURE_PIXELS = 0.2, 1 << 14
"""A picture with a larger share of colours that no mix explains is a texture; it is halved down to so many pixels."""


@dataclass(frozen=True)
class Drawing:
    """Shapes whose boundaries are not refined yet; ``size`` is the (width, height) in pixels that they were traced at.

    It is small: a few KB for each KB of SVG.
    """

    shapes: list[Shape]
    paints: PaintTable
    size: tuple[int, int]


def trace_coverage(rgba: npt.NDArray[np.uint8], parameters: CoverageParameters) -> str:
    """The SVG of a straight 8-bit RGBA picture (H, W, 4); the same picture and parameters give the same text.

    Pictures of more than MAX_PIXELS, dense textures and what has more than MAX_CONTOURS contours are traced at a
    reduced size, so that time and text stay bounded.
    """
    return draw_coverage(rgba, parameters)[0]


def draw_coverage(
    rgba: npt.NDArray[np.uint8], parameters: CoverageParameters, drawing: Drawing | None = None
) -> tuple[str, Drawing]:
    """As `trace_coverage`, returning the intermediate drawing too. A ``drawing`` from a call that differed only in
    ``refine``, ``decimals`` and ``reuse`` is reused and gives the same text."""
    source = prepare(rgba, parameters.denoise)
    if drawing is None:
        source, layers, grid, paints = _draw(source, parameters)
        while len(layers) > parameters.max_paths and (few := _with_fewer_paints(parameters, len(layers))) != parameters:
            parameters = few
            source, layers, grid, paints = _draw(source, parameters)
        shapes = draw_shapes(layers[: parameters.max_paths], grid, parameters, noisy=source.noisy or source.rings)
        drawing = Drawing(shapes, paints, source.size)
    while source.size != drawing.size:
        source = source.shrunk()
    shapes, paints = drawing.shapes, drawing.paints
    if parameters.refine:
        shapes = refine(shapes, paints, source.pixels, parameters.refine, parameters.decimals)
    size = rgba.shape[1], rgba.shape[0]
    if parameters.shapes:
        shapes = ordered(shapes, paints, source.pixels, parameters, noisy=source.noisy or source.rings)
    svg = to_svg(shapes, paints, drawing.size, size, parameters.decimals)
    if parameters.shapes and parameters.reuse:
        svg = with_uses(svg, parameters.decimals)
    return with_own_ids(svg), drawing


def _draw(source: Source, parameters: CoverageParameters) -> tuple[Source, list[Layer], Grid, PaintTable]:
    """The layers, their grid and paints, and the picture at the size at which it is simple enough."""
    while True:
        size = source.pixels[..., 0].size
        areas = find_areas(source, parameters)
        if size <= MIN_TEXTURE_PIXELS or not _is_texture(source.pixels, areas, parameters):
            shares, paints = _explain(source, areas, parameters)
            layers, grid = stack(shares, paints, parameters.min_area, MAX_CONTOURS)
            if size <= MIN_TEXTURE_PIXELS or sum(len(layer.contours) for layer in layers) <= MAX_CONTOURS:
                return source, layers, grid, paints
        source = source.shrunk()


def _with_fewer_paints(parameters: CoverageParameters, layers: int) -> CoverageParameters:
    """Parameters that lead to fewer than ``layers`` layers: fewer colours, and at last no gradients."""
    colors = min(parameters.max_colors, layers) - (layers - parameters.max_paths)
    if colors >= 2:
        return replace(parameters, max_colors=colors)
    return replace(parameters, max_colors=max(2, min(parameters.max_paths, parameters.max_colors)), gradient_rms=0.0)


def _is_texture(pixels: FloatImage, areas: Areas, parameters: CoverageParameters) -> bool:
    share = unexplained_share(pixels, areas.labels, areas.paints, areas.solids, parameters.flatness)
    return share > MAX_UNEXPLAINED


def _explain(source: Source, areas: Areas, parameters: CoverageParameters) -> tuple[Shares, PaintTable]:
    """Shares of every pixel, and the paints with those that were added; of noisy pictures in faded colours."""
    if not source.noisy:
        return _unmix(source.pixels, areas, parameters, rings=source.rings)
    faded = Areas(areas.labels, replace(areas.paints, colors=fade(areas.paints.colors)), fade(areas.solids))
    shares, paints = _unmix(fade(source.pixels), faded, parameters, rings=source.rings)
    return shares, replace(paints, colors=unfade(paints.colors))


def _unmix(
    pixels: FloatImage, areas: Areas, parameters: CoverageParameters, *, rings: bool
) -> tuple[Shares, PaintTable]:
    """Unmix every pixel; where colour is left unexplained, add it to the palette and unmix again."""
    solids, paints, labels = areas.solids, areas.paints, areas.labels
    extra = np.full(labels.shape, -1, np.int16)
    shares = unmix(pixels, labels, extra, paints, solids, parameters.flatness)
    for _ in range(RESIDUAL_ROUNDS):
        room = min(parameters.max_colors - len(solids), MAX_PAINTS - len(paints), RESIDUAL_COLORS)
        residual = _without_bleeding(pixels, shares, paints) if rings else shares.residual
        found = _unexplained(pixels, residual, solids, room, noise_floor(parameters.flatness))
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


def _without_bleeding(pixels: FloatImage, shares: Shares, paints: PaintTable) -> Floats:
    """The residual, zero in thin places whose luma lies between those of the paints around: there JPEG's coarse chroma
    bleeds across an edge, and no further colour is there."""
    luma = pixels[..., :3] @ LUMA
    around = (paints.colors[:, 0, :3] @ LUMA)[shares.first]
    within = (luma >= cv2.erode(around, BLEEDING) - RINGING) & (luma <= cv2.dilate(around, BLEEDING) + RINGING)
    high = (shares.residual > MIN_RESIDUAL).astype(np.uint8)
    thick = cv2.morphologyEx(high, cv2.MORPH_OPEN, BLEEDING)
    residual: Floats = np.where(within & (thick == 0), np.float32(0), shares.residual)
    return residual


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


def warm() -> None:
    """Trace pictures that together reach every kernel with every argument type: about 1 s from numba's cache, about a
    minute when compiling."""
    y, x = np.mgrid[0:64, 0:64].astype(np.float32)
    picture = np.full((64, 64, 4), 255, np.uint8)
    picture[8:24, 8:56, :3] = (200, 30, 40)
    picture[28:60, 4:30, 0] = (x[28:60, 4:30] * 8).astype(np.uint8)
    bowl = np.clip(255 - np.hypot(x - 46, y - 44) * 9, 0, 255).astype(np.uint8)
    picture[30:58, 34:60, 1] = bowl[30:58, 34:60]
    picture[12:20, 12:20, :3] = np.arange(64, dtype=np.uint8).reshape(8, 8, 1) * 4
    picture[:6, :, 3] = 0
    for left in (4, 44):  # crosses, within other shapes
        picture[45:57, left + 4 : left + 8, :3] = picture[49:53, left : left + 12, :3] = 0
    trace_coverage(picture, CoverageParameters(denoise=12.0, refine=1))
    trace_coverage(np.zeros((4, 4, 4), np.uint8), CoverageParameters())
    arc = np.full((64, 64, 4), 255, np.uint8)
    beyond = np.hypot(abs(x - 31.5) - 22, y - 43.5)
    arc[..., :3] = 255 * np.clip(np.where(y < 44, abs(np.hypot(x - 31.5, y - 43.5) - 22), beyond) - 3, 0, 1)[..., None]
    trace_coverage(arc, CoverageParameters(refine=1))  # a curved stroke
    hearts = np.full((64, 64, 4), 255, np.uint8)
    for middle in (16, 48):  # the same form again
        u, v = (x - middle) / 9, (36 - y) / 9
        hearts[(u**2 + v**2 - 1) ** 3 < u**2 * v**3, :3] = 0
    trace_coverage(hearts, CoverageParameters())
    is_within(Primitive(CIRCLE, np.zeros(6)), np.zeros((1, 3)))  # which few pictures reach
