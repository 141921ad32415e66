"""Detection of dithering, which statistics mistake for noise but is part of the picture."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from serve.vector.views import native_sample

Rgba = npt.NDArray[np.uint8]

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
