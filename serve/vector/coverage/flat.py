"""Which pixels are inside an area and which are a blend of two: the first step of the tracer.

Colours are *premultiplied* RGBA in 0..255 as float32 throughout the tracer: there an anti-aliased pixel is a linear
mix of its neighbours also where one of them is transparent.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from serve.vector.coverage.kernel import kernel

FloatImage = npt.NDArray[np.float32]


def premultiply(rgba: npt.NDArray[np.uint8]) -> FloatImage:
    """Straight 8-bit RGBA (H, W, 4) → premultiplied float32 (H, W, 4) in 0..255."""
    pixels: FloatImage = np.ascontiguousarray(rgba, dtype=np.float32)
    if rgba[..., 3].min() < 255:
        pixels[..., :3] *= pixels[..., 3:] * np.float32(1 / 255)
    return pixels


def denoise(pixels: FloatImage, sigma: float) -> FloatImage:
    """Bilateral filter of range ``sigma`` (8-bit steps) that evens out JPEG noise and keeps edges; below 4 nothing."""
    if sigma < 4.0:
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
