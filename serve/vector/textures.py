"""Texture primitives: fields of cells, stones, dots, lines and strokes, from which a network composes brush work.

A network of convolutions can choose and bend a texture by what it sees, but hardly lay out a Voronoi diagram from white
noise. The fields are random, do not depend on the picture, and repeat by mirroring, so that pictures of any size have
them in constant memory.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

Field = npt.NDArray[np.float32]

SIDE_PX = 768
WHITE, BORDERS, VALUES, WIDE_BORDERS, WIDE_VALUES, DISTANCE, STROKES, DABS, LINES, CROSSING, DOTS, BLOCKS = range(12)
FIELDS = 12
"""White noise; borders and values of small cells and of large ones; the distance to the next dot; long and short
strokes; lines in two directions; a screen of dots; square blocks."""


@lru_cache(maxsize=4)
def fields(seed: int, side_px: int = SIDE_PX) -> Field:
    """(side, side, FIELDS), each field of mean 0 and variance 1. The same seed gives the same."""
    rng = np.random.default_rng(seed)
    height = width = side_px
    ys, xs = np.mgrid[:height, :width].astype(np.float32)
    wobble = _smooth(rng, side_px, 40)
    borders, values, _ = _cells(rng, side_px, 8, 0.25)
    wide_borders, wide_values, _ = _cells(rng, side_px, 15, 0.45)
    _, _, distance = _cells(rng, side_px, 5, 0.35)
    white = rng.standard_normal((height, width)).astype(np.float32)
    angles = np.pi * _smooth(rng, side_px, 36)
    strokes = _along(cv2.GaussianBlur(white, (0, 0), 1.0), angles, 10)
    dabs = _along(cv2.GaussianBlur(rng.standard_normal((height, width)).astype(np.float32), (0, 0), 1.2), angles, 4)
    lines = [np.sin((np.cos(a) * xs + np.sin(a) * ys + 4 * wobble) * 2 * np.pi / 5) for a in (0.8, 2.35)]
    dots = np.cos((xs + ys) * 2 * np.pi / 8.5) + np.cos((xs - ys) * 2 * np.pi / 8.5)
    small = rng.standard_normal((-(-height // 6), -(-width // 6))).astype(np.float32)
    blocks = small.repeat(6, 0).repeat(6, 1)[:height, :width]
    made = (
        white, borders, values, wide_borders, wide_values, distance, strokes, dabs, *lines, dots, blocks,
    )  # fmt: skip
    normal = [(one - one.mean()) / one.std() for one in made]
    return np.asarray(np.stack(normal, axis=-1), np.float32)


def window(seed: int, top: int, left: int, height: int, width: int) -> Field:
    """The part of the endless mirrored `fields` at (top, left), (height, width, FIELDS)."""
    bank = fields(seed)
    rows, columns = (_mirrored(start, length) for start, length in ((top, height), (left, width)))
    part: Field = bank[rows[:, None], columns[None]]
    return part


def _mirrored(start: int, length: int) -> npt.NDArray[np.int64]:
    places = np.arange(start, start + length) % (2 * SIDE_PX)
    return np.where(places < SIDE_PX, places, 2 * SIDE_PX - 1 - places)


def _smooth(rng: np.random.Generator, side_px: int, cell_px: int) -> Field:
    coarse = rng.uniform(-1, 1, (side_px // cell_px + 3,) * 2).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (side_px, side_px), interpolation=cv2.INTER_CUBIC), np.float32)


def _cells(rng: np.random.Generator, side_px: int, cell_px: int, jitter: float) -> tuple[Field, Field, Field]:
    """Voronoi cells of a jittered grid: borders, a random value for each cell, the distance to the site."""
    sites = np.full((side_px, side_px), 255, np.uint8)
    grid = np.stack(np.meshgrid(*[np.arange(cell_px / 2, side_px, cell_px)] * 2, indexing="ij"), -1).reshape(-1, 2)
    places = grid + rng.uniform(-jitter, jitter, grid.shape) * cell_px
    rows, columns = np.clip(places, 0, side_px - 1).astype(int).T
    sites[rows, columns] = 0
    distance, labels = cv2.distanceTransformWithLabels(sites, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    edge = np.zeros((side_px, side_px), np.float32)
    edge[:, 1:] = labels[:, 1:] != labels[:, :-1]
    edge[1:] = np.maximum(edge[1:], labels[1:] != labels[:-1])
    values = rng.standard_normal(int(labels.max()) + 1).astype(np.float32)[labels]
    return np.asarray(cv2.GaussianBlur(edge, (0, 0), 0.8), np.float32), values, np.asarray(distance, np.float32)


def _along(field: Field, angles: Field, length: int) -> Field:
    """The mean along straight strokes, ``length`` pixels each way."""
    height, width = field.shape
    ys, xs = np.mgrid[:height, :width].astype(np.float32)
    total = np.zeros_like(field)
    for step in range(-length, length + 1):
        x, y = xs + step * np.cos(angles), ys + step * np.sin(angles)
        total += cv2.remap(field, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return total / (2 * length + 1)
