"""The tracer of pictures that are no drawings: merge tree, cut, nested regions, outlines, text."""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from serve.vector.compare import composite
from serve.vector.coverage.flat import premultiply, shrink
from serve.vector.parameters import PictorialParameters
from serve.vector.pictorial.merging import MergeTree, merge
from serve.vector.pictorial.nesting import Nested, at_depth, nest
from serve.vector.pictorial.outlines import outlines, simplified
from serve.vector.pictorial.weights import tree_inputs
from serve.vector.pictorial.writer import path_text

Rgba = npt.NDArray[np.uint8]
Rgb = npt.NDArray[np.uint8]
Colors = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
CHROMA_WEIGHT = 5e-4
"""Weight of a squared difference of chroma, whatever lies around: small coloured areas keep their hue."""
CLEAR_APART = 1e4
"""Distance of clear pixels from opaque ones in colour: they join last."""
OPAQUE_FROM = 128
DARK = 16
"""Values up to this are rounded to whole numbers, whatever the step of colours: SSIM compares means by their ratio."""
PALETTE_ROUNDS = 8


def trace_pictorial(rgba: Rgba, parameters: PictorialParameters) -> str:
    """The SVG of a straight 8-bit RGBA picture (H, W, 4); pixels that are more clear than opaque are left out. The same
    picture and parameters give the same text."""
    height, width = rgba.shape[:2]
    rgb, clear = _seen(rgba, parameters.max_pixels)
    colors, weights, chroma = tree_inputs(rgb)
    apart = np.dstack([colors, CLEAR_APART * clear]).astype(np.float32) if clear.any() else colors
    tree = merge(apart, weights, chroma, CHROMA_WEIGHT)
    nested = nest(tree.parent, tree.time, _cut(tree, parameters), rgb.shape[:2])
    drawn = _region_colors(colors, weights, nested)
    if parameters.max_colors:
        drawn = _in_palette(drawn, np.bincount(nested.labels.ravel()), parameters.max_colors)
    steps = np.where(drawn < DARK, 1, parameters.color_step)
    rounded = np.clip(np.rint(drawn / steps) * steps, 0, 255).astype(np.int64)
    least = parameters.min_area * weights.size / (height * width)
    holes = np.bincount(nested.labels.ravel(), clear.ravel()) > 0.5 * np.bincount(nested.labels.ravel())
    return _to_svg(nested, rounded, holes, 2 * parameters.tolerance, least, (width, height))


def _cut(tree: MergeTree, parameters: PictorialParameters) -> int:
    """After how many steps the regions are drawn: those that are worth their price, between a quarter of the most and
    the most."""
    pixels = tree.parent.size
    worth = pixels - int(np.searchsorted(np.maximum.accumulate(tree.price), parameters.price))
    regions = min(parameters.regions, max(parameters.regions // 4, worth))
    return max(0, pixels - max(1, regions))


def _seen(rgba: Rgba, most: int) -> tuple[Rgb, npt.NDArray[np.bool_]]:
    """Colours (h, w, 3) of at most ``most`` pixels, and which of them are clear; those are white."""
    if rgba[..., 3].min() == 255:
        rgb = _reduced(composite(rgba), most)
        return rgb, np.zeros(rgb.shape[:2], np.bool_)
    pixels = shrink(premultiply(rgba), most)
    clear = pixels[..., 3] < OPAQUE_FROM
    straight = np.rint(255 * pixels[..., :3] / np.maximum(pixels[..., 3:], 1))
    straight[clear] = 255
    return np.ascontiguousarray(np.minimum(straight, 255), np.uint8), clear


def _reduced(rgb: Rgb, most: int) -> Rgb:
    height, width = rgb.shape[:2]
    scale = math.sqrt(most / (height * width))
    if scale >= 1:
        return rgb
    size = max(1, round(width * scale)), max(1, round(height * scale))
    smaller: Rgb = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    return smaller


def _region_colors(colors: Floats, weights: Floats, nested: Nested) -> Floats:
    """(n, 3): the weighted mean of each region."""
    labels, weight, n = nested.labels.ravel(), weights.ravel(), nested.parent.size
    mass = np.bincount(labels, weight, n)
    sums = [np.bincount(labels, weight * colors[..., c].ravel(), n) for c in range(3)]
    return np.asarray(np.clip(np.stack(sums, 1) / mass[:, None], 0, 255), np.float32)


def _in_palette(colors: Floats, pixels: npt.NDArray[np.int64], count: int) -> Floats:
    """``colors`` (n, 3) as the nearest of ``count`` means (Lloyd), from quantiles along the main axis."""
    if len(colors) <= count:
        return colors
    centred = colors - np.average(colors, axis=0, weights=pixels)
    axis = np.linalg.svd(centred * np.sqrt(pixels)[:, None], full_matrices=False)[2][0]
    order = np.argsort(centred @ axis, kind="stable")
    share = np.cumsum(pixels[order]) / pixels.sum()
    means = colors[order[np.searchsorted(share, (np.arange(count) + 0.5) / count).clip(0, len(colors) - 1)]]
    for _ in range(PALETTE_ROUNDS):
        nearest = ((colors[:, None] - means[None]) ** 2).sum(2).argmin(1)
        mass = np.bincount(nearest, pixels, count)
        sums = np.stack([np.bincount(nearest, pixels * colors[:, c], count) for c in range(3)], 1)
        means = np.where(mass[:, None] > 0, sums / np.maximum(mass, 1)[:, None], means).astype(np.float32)
    return np.asarray(means[nearest], np.float32)


def _to_svg(
    nested: Nested,
    colors: Colors,
    clear: npt.NDArray[np.bool_],
    tolerance: float,
    least: float,
    size: tuple[int, int],
) -> str:
    """``clear`` (n,): regions that are not drawn. ``tolerance`` in half pixels, ``least`` area in pixels of the labels;
    ``size`` of the SVG."""
    rows, columns = nested.labels.shape
    width, height = size
    names = [_hex(color) for color in colors.tolist()]
    key = colors @ np.array([1 << 16, 1 << 8, 1])
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
    across, down = (f"{length / cells / 2:.6g}" for length, cells in ((width, columns), (height, rows)))
    scale = across if across == down else f"{across} {down}"
    ground = "" if clear.any() else f'<path fill="{names[0]}" d="M0 0h{width}v{height}H0z"/>'
    parts = [head, f'{ground}<g transform="scale({scale})">']
    areas = np.bincount(nested.labels.ravel(), minlength=len(colors))
    for depth in range(1 if ground else 0, int(nested.depth.max()) + 1):
        points, starts, owners = outlines(at_depth(nested.labels, nested.parent, nested.depth, depth, clear))
        points, starts = simplified(points, starts, tolerance)
        drawn = np.flatnonzero((np.diff(starts) >= 3) & (areas[owners] >= least))
        drawn = drawn[np.argsort(key[owners[drawn]], kind="stable")]
        for group in np.split(drawn, np.flatnonzero(np.diff(key[owners[drawn]])) + 1):
            if group.size:
                parts.append(f'<path fill="{names[owners[group[0]]]}" d="{path_text(points, starts, group)}"/>')
    return "".join((*parts, "</g></svg>"))


def _hex(color: list[int]) -> str:
    text = "".join(f"{value:02x}" for value in color)
    return f"#{text[::2]}" if text[::2] == text[1::2] else f"#{text}"


def warm() -> None:
    """Load (or, the first time on a machine, compile) the kernels."""
    picture = np.full((24, 24, 4), 255, np.uint8)
    picture[4:20, 6:18, :3] = np.arange(16, dtype=np.uint8).reshape(16, 1, 1) * 15
    trace_pictorial(picture, PictorialParameters(regions=6))
