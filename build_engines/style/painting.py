"""Painting filters: a picture (RGB, float32 from 0 to 1) painted by hand, cut, printed or laid in stones.

Each filter takes the picture, texture fields of its size (`serve.vector.textures`) that say where its stones, dots,
lines and strokes lie, and a random generator for colours and contrasts. The network gets the same fields: so what it
paints is compared with a filter's painting stone by stone.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from build_engines.style.scenes import Floats, Rng, palette
from serve.vector.textures import (
    BLOCKS,
    BORDERS,
    CROSSING,
    DABS,
    DISTANCE,
    DOTS,
    LINES,
    STROKES,
    VALUES,
    WHITE,
    WIDE_BORDERS,
    WIDE_VALUES,
)

Painter = Callable[[Floats, Floats, Rng], Floats]


def luminance(picture: Floats) -> Floats:
    return np.asarray(picture @ np.asarray([0.299, 0.587, 0.114], np.float32), np.float32)


def recolour(picture: Floats, colours: Floats, amount: float) -> Floats:
    """Tones mapped to ``colours`` (dark to light), mixed with the picture's own by ``amount``."""
    at = np.clip(luminance(picture), 0, 1) * (len(colours) - 1)
    low = np.minimum(at.astype(int), len(colours) - 2)
    mapped = colours[low] + (at - low)[..., None] * (colours[low + 1] - colours[low])
    return np.asarray(picture * (1 - amount) + mapped * amount, np.float32)


def _one(value: Floats, rng: Rng, low: float, high: float) -> Floats:
    """``value`` (H, W) as (H, W, 1), times a random contrast."""
    return value[..., None] * np.float32(rng.uniform(low, high))


def _step(value: Floats, steepness: float) -> Floats:
    return np.asarray(1 / (1 + np.exp(np.clip(-steepness * value, -30, 30))), np.float32)


def _means(picture: Floats, values: Floats) -> Floats:
    """The mean colour of each cell, which is where ``values`` are equal."""
    _, flat = np.unique(values.ravel(), return_inverse=True)
    sizes = np.bincount(flat)
    sums = [np.bincount(flat, picture[..., c].ravel()) / sizes for c in range(3)]
    return np.stack(sums, 1).astype(np.float32)[flat].reshape(picture.shape)


def _mixed(under: Floats, over: Floats, cover: Floats) -> Floats:
    return np.asarray(np.clip(under + cover[..., None] * (over - under), 0, 1), np.float32)


def brush(picture: Floats, fields: Floats, rng: Rng) -> Floats:
    """Long, thick strokes of oil: ridges of light and dark, and of other colours, that turn."""
    soft = cv2.GaussianBlur(picture, (0, 0), 1.6)
    tint = palette(rng, 5)[int(rng.integers(1, 5))] - 0.5
    painted = soft * (1 + _one(fields[..., STROKES], rng, 0.14, 0.26)) + 0.06 * fields[..., STROKES, None]
    return np.asarray(np.clip(painted + _one(fields[..., DABS], rng, 0.05, 0.12) * tint, 0, 1), np.float32)


def dabs(picture: Floats, fields: Floats, rng: Rng) -> Floats:
    """Short dabs of broken colour, light ones beside dark ones."""
    soft = cv2.GaussianBlur(picture, (0, 0), 2.0)
    one, other = (palette(rng, 5)[int(i)] for i in rng.integers(1, 5, 2))
    cover = _step(fields[..., DABS] - 0.6, 5) * np.float32(rng.uniform(0.3, 0.6))
    darker = _step(-fields[..., DABS] - 0.7, 5) * np.float32(rng.uniform(0.2, 0.5))
    painted = _mixed(soft, 0.5 * soft + 0.5 * one, cover)
    return _mixed(painted, 0.6 * soft * other + 0.1, darker)


def stipple(picture: Floats, fields: Floats, rng: Rng) -> Floats:
    """Round dots on paper, large where it is dark; in ink or in colour."""
    paper = np.asarray([rng.uniform(0.9, 1), rng.uniform(0.88, 1), rng.uniform(0.8, 1)], np.float32)
    dark = 1 - luminance(picture)
    ink = palette(rng, 5)[0] if rng.random() < 0.5 else picture * 0.9
    dots = _step(dark * 3.4 - 1.9 - fields[..., DISTANCE], 6)
    return _mixed(np.broadcast_to(paper, picture.shape), np.broadcast_to(ink, picture.shape), dots)


def mosaic(picture: Floats, fields: Floats, rng: Rng) -> Floats:
    """Small stones in mortar, each of one colour."""
    stones = _means(picture, fields[..., VALUES]) * (1 + _one(fields[..., VALUES], rng, 0.06, 0.14))
    mortar = palette(rng, 5)[int(rng.choice([0, 4]))] * 0.8 + 0.1
    return _mixed(stones, np.broadcast_to(mortar, picture.shape), _step(fields[..., BORDERS] - 0.6, 4))


def stained_glass(picture: Floats, fields: Floats, rng: Rng) -> Floats:
    """Large panes of glowing colour between dark leads."""
    means = _means(picture, fields[..., WIDE_VALUES])
    vivid = np.clip(means + rng.uniform(0.3, 0.8) * (means - means.mean(-1, keepdims=True)), 0, 1)
    panes = vivid * (1 + _one(fields[..., WIDE_VALUES], rng, 0.08, 0.18))
    return _mixed(panes.astype(np.float32), np.full_like(picture, 0.05), _step(fields[..., WIDE_BORDERS] - 0.3, 4))


def cubist(picture: Floats, fields: Floats, rng: Rng) -> Floats:
    """Facets, each lighter or darker than the next, with soft dark edges."""
    facets = 0.4 * picture + 0.6 * _means(picture, fields[..., WIDE_VALUES])
    shaded = facets * (1 + _one(fields[..., WIDE_VALUES], rng, 0.16, 0.3))
    return _mixed(shaded, shaded * 0.35, _step(fields[..., WIDE_BORDERS] - 1.2, 3) * np.float32(rng.uniform(0.5, 0.9)))


def woodcut(picture: Floats, fields: Floats, rng: Rng) -> Floats:
    """Gouged strokes that swell with the light, in one ink on paper."""
    colours = palette(rng, 5)
    cut = _step(0.8 * fields[..., STROKES] + (luminance(picture) - 0.5) * 4.0, 5)
    return _mixed(np.broadcast_to(colours[0] * 0.5, picture.shape), np.broadcast_to(colours[-1], picture.shape), cut)


def engraving(picture: Floats, fields: Floats, rng: Rng) -> Floats:
    """Parallel lines, thick where it is dark."""
    colours = palette(rng, 5)
    cut = _step(0.7 * fields[..., LINES] + 3.2 * (luminance(picture) - 0.45), 4)
    return _mixed(np.broadcast_to(colours[0] * 0.6, picture.shape), np.broadcast_to(colours[-1], picture.shape), cut)


def hatching(picture: Floats, fields: Floats, rng: Rng) -> Floats:
    """Pen strokes in two directions, the second where it is dark, over faint washes."""
    tone, ink = luminance(picture), np.ones(picture.shape[:2], np.float32)
    for field, level in ((LINES, 0.8), (CROSSING, 0.5)):
        ink = ink * (1 - _step(-fields[..., field] - 0.5, 6) * np.clip((level - tone) * 6, 0, 1))
    wash = float(rng.choice([0.0, 0.4]))
    paper = 1 - wash + wash * picture
    return np.asarray(np.clip(paper * (0.08 + 0.92 * ink[..., None]), 0, 1), np.float32)


def watercolour(picture: Floats, fields: Floats, rng: Rng) -> Floats:
    """Washes with dark rims, pigment that settles in the grain of the paper."""
    flat = picture
    for _ in range(2):
        flat = cv2.bilateralFilter(flat, 7, 0.25, 4.0)
    rims = np.abs(cv2.GaussianBlur(flat, (0, 0), 0.8) - cv2.GaussianBlur(flat, (0, 0), 2.5)).max(2)
    blotches = cv2.GaussianBlur(fields[..., STROKES], (0, 0), 2.0)
    density = rng.uniform(0.6, 0.85) + 2.2 * rims + 0.12 * blotches + 0.05 * fields[..., WHITE]
    return np.asarray(np.clip(1 - (1 - flat) * np.clip(density, 0, 1.6)[..., None], 0, 1), np.float32)


def pixels(picture: Floats, fields: Floats, rng: Rng) -> Floats:
    """Large square pixels in few colours."""
    levels = int(rng.integers(3, 6))
    return np.asarray(np.round(np.clip(_means(picture, fields[..., BLOCKS]), 0, 1) * levels) / levels, np.float32)


def halftone(picture: Floats, fields: Floats, rng: Rng) -> Floats:
    """Printed dots of three inks."""
    soft = cv2.GaussianBlur(picture, (0, 0), 1.5)
    return _step(1.2 * fields[..., DOTS, None] + 6 * (soft - rng.uniform(0.45, 0.55)), 2.5)


def pastel(picture: Floats, fields: Floats, rng: Rng) -> Floats:
    """Chalk that catches only on the grain of a toned paper."""
    paper = palette(rng, 5)[int(rng.integers(0, 3))]
    cover = _step(fields[..., DABS] + rng.uniform(0.5, 1.0), 3)
    return _mixed(np.broadcast_to(paper, picture.shape), cv2.GaussianBlur(picture, (0, 0), 1.5), cover)


def paper_cut(picture: Floats, fields: Floats, rng: Rng) -> Floats:
    """Layers of paper, each with its shadow on the one below."""
    colours = palette(rng, 5)
    tone = cv2.GaussianBlur(luminance(picture), (0, 0), 1.5)
    made = np.broadcast_to(colours[0], picture.shape).copy()
    for i in range(1, len(colours)):
        layer = _step(tone - i / len(colours), 60)
        shadow = cv2.GaussianBlur(np.roll(layer, (2, 2), (0, 1)), (0, 0), 1.5)
        made = made * (1 - 0.45 * shadow[..., None])
        made = _mixed(made, np.broadcast_to(colours[i], picture.shape), layer)
    return np.asarray(np.clip(made + 0.02 * fields[..., WHITE, None], 0, 1), np.float32)


def plain(picture: Floats, fields: Floats, rng: Rng) -> Floats:
    """The picture as it is, a little softer or not."""
    del fields
    return picture if rng.random() < 0.5 else np.asarray(cv2.GaussianBlur(picture, (0, 0), 1.2), np.float32)


PAINTERS: dict[str, Painter] = {
    p.__name__: p
    for p in (
        brush, dabs, stipple, mosaic, stained_glass, cubist, woodcut, engraving, hatching, watercolour, pixels,
        halftone, pastel, paper_cut, plain,
    )
}  # fmt: skip
