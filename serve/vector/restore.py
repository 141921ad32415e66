"""Restored pictures as references for drawings: one that repeats noise or blur is nearer to the picture as it is, and
farther from what it shows.

Of the filters tried, these ranked drawings of the `val` split most like the clean picture does.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from serve.vector.views import native_sample

Rgba = npt.NDArray[np.uint8]

_SMALL_PIXELS = 1 << 16
_SMALL_REACH_PX, _SMALL_RANGE = 7, 40
_REACH_PX, _RANGE = 3, 50  # for larger pictures, at a quarter of the time
_LEVEL_PIXELS = 1 << 19  # still larger ones are filtered as a pyramid, at a quarter of the pixels a level
_END = 3
_SIGMA_PX, _GAIN, _NEAR_PX = 1.0, 4.0, 5


def without_noise(rgba: Rgba) -> Rgba:
    """``rgba`` (H, W, 4) in flat colours: mean shift (Comaniciu and Meer, 2002). The alpha is left as it is.

    Colours within three steps of 0 or 255 become that: noise is cut off there, so what it leaves lies inside.
    """
    size = rgba[..., 0].size
    levels = max(0, math.ceil(math.log(size / _LEVEL_PIXELS, 4)))
    reach, range_ = (_SMALL_REACH_PX, _SMALL_RANGE) if size <= _SMALL_PIXELS else (_REACH_PX, _RANGE)
    flat = cv2.pyrMeanShiftFiltering(np.ascontiguousarray(rgba[..., :3]), reach, range_, maxLevel=levels)
    flat[flat <= _END] = 0
    flat[flat >= 255 - _END] = 255
    return np.dstack([flat, rgba[..., 3]])


def without_blur(rgba: Rgba) -> Rgba:
    """``rgba`` (H, W, 4) with steep edges: sharpened, but nowhere beyond the colours around it. Alpha is left."""
    rgb = rgba[..., :3].astype(np.float32)
    around = np.ones((_NEAR_PX, _NEAR_PX), np.uint8)
    sharp = rgb + _GAIN * (rgb - cv2.GaussianBlur(rgb, (0, 0), _SIGMA_PX))
    sharp = np.clip(sharp, cv2.erode(rgb, around), cv2.dilate(rgb, around))
    return np.dstack([np.rint(sharp).astype(np.uint8), rgba[..., 3]])


# Found on 40 icons at 96 and 256 px. Of the steps between neighbours, JPEG (quality 50 to 95) and weak noise make at
# least a fifth in small ones, dithering to up to 16 colours or levels next to none. Strong noise makes large steps,
# too, but thousands of colours.
_MOST_COLORS = 256
_SMALL_STEP = 8
_SMALL_SHARE = 0.2
_SAMPLED_PIXELS = 1 << 16


def is_dithered(rgba: Rgba) -> bool:
    """Whether the noisy picture ``rgba`` (shape (H, W, 4), opaque) is dithered."""
    gray = native_sample(rgba).astype(np.int16)
    steps = np.abs(np.concatenate([np.diff(gray, axis=0).ravel(), np.diff(gray, axis=1).ravel()]))
    steps = steps[steps > 0]
    if steps.size == 0 or np.mean(steps < _SMALL_STEP) >= _SMALL_SHARE:
        return False
    return _colors(rgba) <= _MOST_COLORS


def _colors(rgba: Rgba) -> int:
    """Number of distinct colours in a sample of pixels."""
    stride = max(1, round((rgba[..., 0].size / _SAMPLED_PIXELS) ** 0.5))
    packed = rgba[::stride, ::stride, :3].astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)
    return len(np.unique(packed))
