"""What a picture is made of, counted: its colours, areas, parts and glyphs, and how much of it changes slowly.

Made to count the same in a picture and in its degraded versions: on the picture reduced to 256 px, with its noise
filtered out, in pixels off the edges. Areas are counted twice, by colour and between edges, and from several sizes on:
what is small is lost first when a picture is degraded, and gradients are areas only between edges.

One implementation, used to train `logo_type` and to serve it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from serve.vector.compare import composite
from serve.vector.views import continued, local_range, reduced

Rgba = npt.NDArray[np.uint8]
Rgb = npt.NDArray[np.uint8]
Plane = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]
Counts = tuple[int, ...]
Shares = tuple[float, ...]

STRUCTURE = 40
"""Length of `Structure.to_vector`, the engine input ``structure``."""

AREA_SHARES = (0.0005, 0.001, 0.004, 0.01)
"""The least shares of the picture from which areas are counted."""
PART_SHARES = (0.001, 0.005)
"""The least shares of the picture from which drawn parts, and areas of background, are counted."""
SHADE_SHARES = (0.0003, 0.0015)
"""The least shares of the picture from which colours are counted as they are, at 5 bits a channel."""
COLOR_MERGES = ((3.0, 0.0015), (6.0, 0.005), (10.0, 0.02))
"""CIELAB distances under which two colours are one, each with the least share of the picture that then counts."""
EDGE_STEPS = (10, 20, 36)
"""The ranges in 3 x 3 pixels, in 8-bit steps, from which a pixel lies on an edge: of shades, of colours, of shapes."""
VISIBLE_STEPS = (6, 10, 16)
"""The least differences from a segment's mean colour, in 8-bit steps, from which a pixel counts as unlike it."""

_SIDE_PX = 256
_LEAST_SIDE_PX = 8  # smaller pictures are continued by their edge pixels
_OPAQUE = 128
_TRANSPARENT_SHARE = 0.01  # from here the background is what is not opaque
_FLAT_STEP = 8  # the largest range in 2 x 2 pixels within one colour
_BACKGROUND_STEP = 28  # from here a pixel is told from the border's colour
_MOST_SHADES = 128
_AREA_MERGE = 6.0  # CIELAB distance under which two neighbours are one area
_GLYPH_HEIGHT = 0.12  # of the picture's


@dataclass(frozen=True)
class Structure:
    """Shares are of the picture, or of what is drawn on its background where they say so; from 0 to 1.

    ``drawn_share``       that is not background: transparent, or else of about the border's median colour
    ``border_clear``, ``border_same``  shares of the border that are transparent, and of about its median colour
    ``aspect``            log2 of width over height
    ``parts``, ``background``  separate parts of what is drawn and of the background, from each of PART_SHARES on
    ``glyphs``            most drawn parts of about one height beside each other
    ``shades``            colours of flat pixels, from each of SHADE_SHARES on
    ``colors``            colours of flat pixels, merged by each of COLOR_MERGES
    ``color_entropy``     of the shares of merged colours, in bits
    ``areas``             connected areas of one merged colour, from each of AREA_SHARES on
    ``segments``          connected areas between edges: for each of EDGE_STEPS, from each of AREA_SHARES on
    ``varied``            share of the drawn that is unlike its segment's mean: for each of EDGE_STEPS, by each of
                          VISIBLE_STEPS
    """

    drawn_share: float
    border_clear: float
    border_same: float
    aspect: float
    parts: Counts
    background: Counts
    glyphs: int
    shades: Counts
    colors: Counts
    color_entropy: float
    areas: Counts
    segments: Counts
    varied: Shares

    def to_vector(self) -> Floats:
        """Shape (STRUCTURE,): shares as square roots, counts as logarithms. The engine brings them to one scale."""
        shares = (self.drawn_share, *self.varied)
        counts = (
            *self.parts, *self.background, self.glyphs, *self.shades, *self.colors, *self.areas, *self.segments,
        )  # fmt: skip
        plain = (self.border_clear, self.border_same, self.aspect, self.color_entropy)
        return np.array([*np.sqrt(shares), *np.log2(np.add(counts, 1)), *plain], np.float32)


def structure_of(rgba: Rgba) -> Structure:
    """The structure of ``rgba``: shape (H, W, 4), straight alpha, at least 1 x 1."""
    small = continued(reduced(rgba, _SIDE_PX), _LEAST_SIDE_PX)
    opaque = small[..., 3] >= _OPAQUE
    rgb: Rgb = cv2.bilateralFilter(composite(small), 5, 24, 2)
    rim = _rim(rgb)
    border = np.median(rim, axis=0)
    drawn = _drawn(rgb, opaque, border)
    parts, glyphs = _parts(drawn)
    shades, colors, entropy, areas = _colors(rgb, (_range(rgb, 2) < _FLAT_STEP) & opaque)
    edges, smooth = _range(rgb, 3), cv2.blur(rgb, (3, 3))
    segments = [_segments(smooth, (edges < step) & opaque, drawn) for step in EDGE_STEPS]
    return Structure(
        drawn_share=float(drawn.mean()),
        border_clear=1.0 - float(_rim(opaque).mean()),
        border_same=float((np.abs(rim - border).max(axis=1) < _BACKGROUND_STEP).mean()),
        aspect=math.log2(rgba.shape[1] / rgba.shape[0]),
        parts=parts,
        background=_counted(_area_shares(~drawn), PART_SHARES),
        glyphs=glyphs,
        shades=shades,
        colors=colors,
        color_entropy=entropy,
        areas=areas,
        segments=tuple(count for counts, _ in segments for count in counts),
        varied=tuple(share for _, shares in segments for share in shares),
    )


def _rim(plane: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The outermost pixels as one row; corners appear twice."""
    return np.concatenate([plane[0], plane[-1], plane[:, 0], plane[:, -1]])


def _range(rgb: Rgb, size: int) -> Plane:
    """Per pixel, the largest range of a channel in ``size`` x ``size`` pixels."""
    return _largest(cv2.split(local_range(rgb, size)))


def _largest(channels: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """Per-pixel maximum; faster than numpy's over a last axis of three."""
    red, green, blue = channels
    return np.maximum(np.maximum(red, green), blue)


def _drawn(rgb: Rgb, opaque: Mask, border: npt.NDArray[np.float64]) -> Mask:
    if opaque.mean() < 1 - _TRANSPARENT_SHARE:
        return opaque
    low, high = border - _BACKGROUND_STEP, border + _BACKGROUND_STEP
    return np.asarray(cv2.inRange(rgb, low, high) == 0)


def _counted(shares: npt.NDArray[Any], least: Sequence[float]) -> Counts:
    """How many of ``shares`` are at least as large, for each of ``least``."""
    return tuple(int((shares >= limit).sum()) for limit in least)


def _area_shares(mask: Mask, connectivity: int = 4) -> npt.NDArray[np.float64]:
    """The connected areas of ``mask``, as shares of the picture."""
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=connectivity)
    return np.asarray(stats[1:, cv2.CC_STAT_AREA] / mask.size)


def _parts(drawn: Mask) -> tuple[Counts, int]:
    """(parts, glyphs)."""
    _, _, stats, centroids = cv2.connectedComponentsWithStats(drawn.astype(np.uint8), connectivity=8)
    parts = _counted(stats[1:, cv2.CC_STAT_AREA] / drawn.size, PART_SHARES)
    return parts, glyphs_among(stats, centroids, drawn.shape[0])


def glyphs_among(stats: npt.NDArray[np.int32], centroids: npt.NDArray[np.float64], height: int) -> int:
    """The most shapes of about one height in a line, of those in OpenCV's ``stats`` and ``centroids`` (0 is none).

    They are alike in height within 40 % and in a line by their middles, as in a word, and not tiny beside ``height``.
    """
    heights, middles = stats[1:, cv2.CC_STAT_HEIGHT].astype(float), centroids[1:, 1]
    tall = heights >= _GLYPH_HEIGHT * height
    heights, middles = heights[tall], middles[tall]
    ratio = heights[None] / heights[:, None]
    alike = (ratio > 0.6) & (ratio < 1 / 0.6) & (np.abs(middles[None] - middles[:, None]) < 0.4 * heights[:, None])
    return int(alike.sum(axis=1).max(initial=0))


def _colors(rgb: Rgb, flat: Mask) -> tuple[Counts, Counts, float, Counts]:
    """(shades, colors, color_entropy, areas) of the ``flat`` pixels."""
    high = (rgb >> 3).astype(np.int32)
    packed = high[..., 0] << 10 | high[..., 1] << 5 | high[..., 2]
    counts = np.bincount(packed[flat], minlength=1 << 15)
    bins = np.argsort(-counts, kind="stable")[:_MOST_SHADES]
    shares = counts[bins] / flat.size
    bins, shares = bins[shares >= SHADE_SHARES[0]], shares[shares >= SHADE_SHARES[0]]
    apart = _distances(bins)
    colors = tuple(_counted(np.bincount(_merged(apart < d), shares), (least,))[0] for d, least in COLOR_MERGES)
    color_of = _merged(apart < _AREA_MERGE)
    part = np.bincount(color_of, shares) / shares.sum()
    entropy = float(-(part * np.log2(part)).sum())
    table = np.zeros(1 << 15, np.uint8)
    table[bins] = color_of + 1
    areas = _counted(_area_shares(_alike(table[packed]) & flat), AREA_SHARES)
    return _counted(shares, SHADE_SHARES), colors, entropy, areas


def _distances(bins: npt.NDArray[np.int64]) -> Floats:
    """(n, n): CIELAB distances between 15-bit colours."""
    rgb = (np.stack([bins >> 10, bins >> 5 & 31, bins & 31], axis=1) * 8 + 4).astype(np.float32) / 255
    lab = cv2.cvtColor(rgb[None], cv2.COLOR_RGB2LAB)[0] if len(bins) else np.zeros((0, 3), np.float32)
    return np.asarray(np.linalg.norm(lab[:, None] - lab[None], axis=2), np.float32)


def _merged(near: Mask) -> npt.NDArray[np.int64]:
    """(n,): the colour of each shade; the first that has none yet takes all that are ``near`` it and have none."""
    color_of = np.full(len(near), -1)
    for shade, row in enumerate(near):
        if color_of[shade] < 0:
            color_of[row & (color_of < 0)] = color_of.max() + 1
    return color_of


def _alike(colors: Plane) -> Mask:
    """Pixels whose colour (not 0) equals that of their right and lower neighbour.

    Two areas of different colours therefore never touch, so one labelling finds the areas of all colours.
    """
    alike = colors > 0
    alike[:, :-1] &= colors[:, :-1] == colors[:, 1:]
    alike[:-1] &= colors[:-1] == colors[1:]
    return alike


def _segments(rgb: Rgb, calm: Mask, drawn: Mask) -> tuple[Counts, Shares]:
    """(segments, varied) for one step: ``calm`` pixels are those off its edges."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(calm.astype(np.uint8), connectivity=4)
    counts = _counted(stats[1:, cv2.CC_STAT_AREA] / calm.size, AREA_SHARES)
    inside = calm & drawn
    if not inside.any():
        return counts, (0.0,) * len(VISIBLE_STEPS)
    label = labels[inside]
    pixels = np.bincount(label).clip(1)
    unlike = _largest([np.abs(c - (np.bincount(label, c) / pixels)[label]) for c in rgb[inside].T.astype(np.float64)])
    return counts, tuple(float((unlike > step).sum() / drawn.sum()) for step in VISIBLE_STEPS)
