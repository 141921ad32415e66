"""Which pixels are inside an area and which are a blend of two: the first step of the tracer.

Colours are *premultiplied* RGBA in 0..255 as float32 throughout the tracer: there an anti-aliased pixel is a linear
mix of its neighbours also where one of them is transparent.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from serve.vector.coverage.kernel import kernel

MAX_PIXELS = 2_000_000
"""Larger pictures are averaged down first."""
LEAST_SIGMA = 4.0
"""Range of the pre-filter below which there is none."""

BLOCK = 0.25
"""Share of the flatness within which four pixels are one area."""

FloatImage = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Source:
    """The input picture, (H, W, 4), after and before the pre-filter; one array if it is not applied. ``rings``: whether
    edges have the waves beside them that JPEG leaves."""

    pixels: FloatImage
    raw: FloatImage
    rings: bool = False

    @property
    def noisy(self) -> bool:
        return self.raw is not self.pixels

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.pixels.shape[1], self.pixels.shape[0]

    def shrunk(self) -> Source:
        """Averaged down to about a quarter of the pixels."""
        most = self.pixels[..., 0].size // 4
        pixels = shrink(self.pixels, most)
        return Source(pixels, shrink(self.raw, most) if self.noisy else pixels, self.rings)


def prepare(rgba: npt.NDArray[np.uint8], sigma: float) -> Source:
    """Straight 8-bit RGBA (H, W, 4), at most about MAX_PIXELS of it, filtered with range ``sigma``."""
    raw = shrink(premultiply(rgba), MAX_PIXELS)
    rings = ringing(rgba) > RINGING
    return Source(denoise(raw, max(sigma, RINGING_SIGMA) if rings else sigma), raw, rings)


EDGE_STEP = 24
"""Range of 3 x 3 pixels from which they lie on an edge, in 8-bit steps."""
RINGING = 0.6
"""Mean second difference beside edges from which a picture was a JPEG. Of 64 clean pictures of icons and shapes, 62 are
below, and of the same as JPEGs of quality 90 or 75 all but one above."""
RINGING_SIGMA = 16.0
"""Least range of the pre-filter for such a picture."""
SECOND_DIFFERENCE = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)


def ringing(rgba: npt.NDArray[np.uint8]) -> float:
    """How uneven the luma of ``rgba`` (H, W, 4) is three to five pixels off its edges: where a clean picture is flat or
    a gradient, a JPEG has waves. Mean absolute second difference (Immerkaer's mask), each at most 24."""
    gray = cv2.cvtColor(rgba, cv2.COLOR_RGBA2GRAY)
    around = np.ones((3, 3), np.uint8)
    edge = (cv2.subtract(cv2.dilate(gray, around), cv2.erode(gray, around)) >= EDGE_STEP).astype(np.uint8)
    ring = cv2.dilate(edge, np.ones((11, 11), np.uint8)) > cv2.dilate(edge, np.ones((5, 5), np.uint8))
    ring &= rgba[..., 3] == 255
    if np.count_nonzero(ring) < 16:
        return 0.0
    response = np.abs(cv2.filter2D(gray, cv2.CV_32F, SECOND_DIFFERENCE)[ring])
    return float(np.minimum(response, EDGE_STEP).mean())


def premultiply(rgba: npt.NDArray[np.uint8]) -> FloatImage:
    """Straight 8-bit RGBA (H, W, 4) → premultiplied float32 (H, W, 4) in 0..255."""
    pixels: FloatImage = np.ascontiguousarray(rgba, dtype=np.float32)
    if rgba[..., 3].min() < 255:
        pixels[..., :3] *= pixels[..., 3:] * np.float32(1 / 255)
    return pixels


def shrink(pixels: FloatImage, most: int) -> FloatImage:
    """``pixels`` averaged down, proportions kept, to about ``most`` pixels where they are more."""
    height, width = pixels.shape[:2]
    if height * width <= most:
        return pixels
    scale = math.sqrt(most / (height * width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    smaller: FloatImage = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return smaller


def denoise(pixels: FloatImage, sigma: float) -> FloatImage:
    """Bilateral filter of range ``sigma`` (8-bit steps) that evens out JPEG noise and keeps edges; below 4 nothing."""
    if sigma < LEAST_SIGMA:
        return pixels
    out = pixels.copy()
    out[..., :3] = cv2.bilateralFilter(np.ascontiguousarray(pixels[..., :3]), 5, sigma, 2.0)
    np.minimum(out[..., :3], out[..., 3:], out=out[..., :3])
    return out


@kernel
def flat_mask(pixels: FloatImage, flatness: float) -> npt.NDArray[np.uint8]:
    """1 where no channel differs from a 4-neighbour by more than ``flatness``, else 0. Shape (H, W)."""
    height, width, channels = pixels.shape
    mask = np.ones((height, width), np.uint8)
    for y in range(height):
        for x in range(width):
            right, down = x + 1 < width, y + 1 < height
            for c in range(channels):
                value = pixels[y, x, c]
                if right and abs(pixels[y, x + 1, c] - value) > flatness:
                    mask[y, x] = mask[y, x + 1] = 0
                if down and abs(pixels[y + 1, x, c] - value) > flatness:
                    mask[y, x] = mask[y + 1, x] = 0
    return mask


@kernel
def block_mask(pixels: FloatImage, flatness: float) -> npt.NDArray[np.uint8]:
    """1 in blocks of 2 x 2 whose channels spread by at most BLOCK times ``flatness``, else 0. Shape (H, W).

    It finds thin lines of one colour, of which every pixel touches an edge; a blend is never so even.
    """
    height, width, channels = pixels.shape
    mask = np.zeros((height, width), np.uint8)
    for y in range(height - 1):
        for x in range(width - 1):
            spread = 0.0
            for c in range(channels):
                p, q, r, s = pixels[y, x, c], pixels[y, x + 1, c], pixels[y + 1, x, c], pixels[y + 1, x + 1, c]
                spread = max(spread, max(max(p, q), max(r, s)) - min(min(p, q), min(r, s)))
            if spread <= BLOCK * flatness:
                mask[y, x] = mask[y, x + 1] = mask[y + 1, x] = mask[y + 1, x + 1] = 1
    return mask
