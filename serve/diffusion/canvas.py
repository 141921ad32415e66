"""From an input picture to the pixels that are drawn, and back: fitting, margins, crops, fills, feathered seams.

Pure functions on arrays: pixels (H, W, 3) and masks (H, W), both 8 bits. A mask is 255 where the picture is drawn anew.
Sizes are (width, height), boxes (left, top, right, bottom), in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

Bytes = npt.NDArray[np.uint8]
Size = tuple[int, int]
Box = tuple[int, int, int, int]

FITS = ("crop", "pad", "stretch")
"""How a picture of another shape becomes the drawn size: cut to it, completed by its border's colours, or distorted."""
_STRIPE_ROWS = 256
"""Rows that are mixed at once: floats of a whole large picture would take gigabytes."""
GREY = 128
"""Level of a picture's hidden pixels for inpainting checkpoints: 0 of their range from -1 to 1, rounded."""


@dataclass(frozen=True, eq=False)
class Canvas:
    """What is drawn: ``pixels`` at the drawn size and the ``mask`` over them, None for the whole.

    Without ``base`` (RGBA) the drawing is the result; otherwise it is scaled to ``box`` of ``base`` and pasted with
    ``seam``, the soft mask of ``base``.
    """

    pixels: Bytes
    mask: Bytes | None = None
    base: Bytes | None = None
    seam: Bytes | None = None
    box: Box = (0, 0, 0, 0)

    def finished(self, drawn: Bytes) -> Bytes:
        """The result, with alpha if ``drawn`` has it, which is of the size of ``pixels``."""
        if self.base is None or self.seam is None:
            return drawn
        left, top, right, bottom = self.box
        inside = resized(drawn, (right - left, bottom - top))
        result = flattened(self.base) if drawn.shape[2] == 3 else self.base.copy()
        for start in range(0, bottom - top, _STRIPE_ROWS):
            rows = slice(start, min(start + _STRIPE_ROWS, bottom - top))
            share = self.seam[top:bottom, left:right, None][rows].astype(np.float32) / 255.0
            part = result[top:bottom, left:right][rows]
            part[...] = _mixed(part, inside[rows], share)
        return result


def _mixed(below: Bytes, above: Bytes, share: npt.NDArray[np.float32]) -> Bytes:
    """``share`` (H, W, 1) of ``above``, the rest of ``below``; colours with alpha count as far as they are opaque."""
    weights = 1.0 - share, share
    if below.shape[2] == 3:
        mixed = below * weights[0] + above * weights[1]
    else:
        alphas = below[..., 3:] * weights[0], above[..., 3:] * weights[1]
        alpha = alphas[0] + alphas[1]
        colours = (below[..., :3] * alphas[0] + above[..., :3] * alphas[1]) / np.maximum(alpha, 1e-6)
        mixed = np.concatenate([colours, alpha], axis=-1)
    return np.where(share > 0, np.round(mixed).astype(np.uint8), below)


def flattened(rgba: Bytes) -> Bytes:
    """``rgba`` (H, W, 4) on white."""
    if rgba[..., 3].min() == 255:
        return np.ascontiguousarray(rgba[..., :3])
    image = Image.fromarray(rgba)
    return np.array(Image.alpha_composite(Image.new("RGBA", image.size, (255, 255, 255, 255)), image).convert("RGB"))


def resized(pixels: Bytes, size: Size) -> Bytes:
    """Lanczos for pictures; for masks, which must not ring, bilinear."""
    if (pixels.shape[1], pixels.shape[0]) == size:
        return pixels
    method = Image.Resampling.LANCZOS if pixels.ndim == 3 else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(pixels).resize(size, method))


def fitted(pixels: Bytes, size: Size, fit: str) -> Bytes:
    """``pixels``, a picture or a mask, at ``size``; ``fit`` is one of FITS."""
    height, width = pixels.shape[:2]
    if fit == "stretch" or width * size[1] == height * size[0]:
        return resized(pixels, size)
    if fit == "crop":
        scale = max(size[0] / width, size[1] / height)
        kept = min(width, round(size[0] / scale)), min(height, round(size[1] / scale))
        left, top = (width - kept[0]) // 2, (height - kept[1]) // 2
        return resized(np.ascontiguousarray(pixels[top : top + kept[1], left : left + kept[0]]), size)
    scale = min(size[0] / width, size[1] / height)
    inner = min(size[0], max(1, round(width * scale))), min(size[1], max(1, round(height * scale)))
    left, top = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    borders = (left, top, size[0] - inner[0] - left, size[1] - inner[1] - top)
    return extended(resized(pixels, inner), borders)


def extended(pixels: Bytes, margins: Box, value: int | None = None) -> Bytes:
    """``pixels`` with ``margins`` around them, of ``value`` or of the border's own colours."""
    left, top, right, bottom = margins
    pairs = ((top, bottom), (left, right), (0, 0))[: pixels.ndim]
    if value is None:
        return np.pad(pixels, pairs, mode="edge")
    return np.pad(pixels, pairs, constant_values=value)


def blurred(mask: Bytes, radius_px: float) -> Bytes:
    """``mask`` with a Gaussian blur."""
    if radius_px <= 0:
        return mask
    return np.asarray(Image.fromarray(mask).filter(ImageFilter.GaussianBlur(radius_px)))


def grown(mask: Bytes, px: int) -> Bytes:
    """``mask`` enlarged by ``px`` on all sides."""
    if px <= 0:
        return mask
    rows = _largest_around(mask, px)
    return np.ascontiguousarray(_largest_around(rows.T, px).T)


def _largest_around(mask: Bytes, px: int) -> Bytes:
    """The largest value within ``px`` rows of each: maxima of windows that double in length."""
    window, length = 2 * px + 1, 1
    largest = np.pad(mask, ((px, px), (0, 0)))
    while 2 * length <= window:
        largest, length = np.maximum(largest[:-length], largest[length:]), 2 * length
    rest = window - length
    return np.maximum(largest[: len(largest) - rest], largest[rest:])


def filled(pixels: Bytes, mask: Bytes) -> Bytes:
    """``pixels`` whose masked part continues the colours around it: each gap is filled from the mean of ever larger
    blocks ("pull-push", Gortler et al. 1996, section 4.4)."""
    known = 1.0 - mask[..., None].astype(np.float32) / 255.0
    levels = [(pixels * known, known)]
    while max(levels[-1][0].shape[:2]) > 1:
        colours, weights = (_halved(part) for part in levels[-1])
        enough = np.maximum(weights, 1.0)
        levels.append((colours / enough, weights / enough))
    colours, weights = levels.pop()
    estimate = colours / np.maximum(weights, 1e-6)
    for colours, weights in reversed(levels):
        estimate = colours + (1.0 - weights) * _enlarged(estimate, colours.shape[:2])
    levelled: Bytes = np.clip(np.round(estimate), 0, 255).astype(np.uint8)
    return levelled


def _halved(part: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Sums over blocks of 2 x 2; a last odd row or column is a block of its own."""
    height, width = part.shape[:2]
    even = np.pad(part, ((0, height % 2), (0, width % 2), (0, 0)))
    sums: npt.NDArray[np.float32] = even.reshape(even.shape[0] // 2, 2, even.shape[1] // 2, 2, -1).sum(axis=(1, 3))
    return sums


def _enlarged(part: npt.NDArray[np.float32], shape: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Bilinear, to ``shape`` (H, W)."""
    size = shape[1], shape[0]
    channels = [
        Image.fromarray(np.ascontiguousarray(part[..., c])).resize(size, Image.Resampling.BILINEAR) for c in range(3)
    ]
    return np.stack([np.asarray(channel) for channel in channels], axis=-1)


def crop_box(mask: Bytes, padding_px: int, shape: Size) -> Box:
    """The masked part with ``padding_px`` around it, widened to the aspect ratio of ``shape`` as far as the picture
    reaches. The mask is not empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    height, width = mask.shape
    left, right = max(0, int(columns[0]) - padding_px), min(width, int(columns[-1]) + 1 + padding_px)
    top, bottom = max(0, int(rows[0]) - padding_px), min(height, int(rows[-1]) + 1 + padding_px)
    aspect = shape[0] / shape[1]
    if (right - left) / (bottom - top) < aspect:
        left, right = _widened(left, right, round((bottom - top) * aspect), width)
    else:
        top, bottom = _widened(top, bottom, round((right - left) / aspect), height)
    return left, top, right, bottom


def _widened(low: int, high: int, length: int, limit: int) -> tuple[int, int]:
    """An interval of ``length``, at most ``limit``, around ``low`` to ``high``."""
    length = min(max(length, high - low), limit)
    start = min(max(0, (low + high - length) // 2), limit - length)
    return start, start + length
