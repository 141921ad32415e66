"""Icons to pixels: the clean pictures, at a size, on a background."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from build_engines.data.icons import Icon
from serve.vector import compare

Rgba = npt.NDArray[np.uint8]

# A background is tried in turn until the icon shows on it; None is transparent.
_FALLBACKS: tuple[str | None, ...] = ("#ffffff", "#000000", "#3b5b92")
_LEAST_CONTRAST = 6.0
"""Standard deviation in 8-bit steps below which a picture is taken to be blank."""


def size_of(icon: Icon, longer_side_px: int) -> tuple[int, int]:
    """(width, height) in pixels of ``icon`` when its longer side has ``longer_side_px``; at least 16 a side."""
    _, _, width, height = icon.view_box
    scale = longer_side_px / max(width, height)
    return max(16, round(width * scale)), max(16, round(height * scale))


def shows(rgba: Rgba) -> bool:
    """Whether a picture, composited on white, is anything but a single flat colour."""
    return bool(compare.composite(rgba).astype(np.float32).std(axis=(0, 1)).max() > _LEAST_CONTRAST)


def source_on(icon: Icon, background: str | None) -> str:
    """The icon's SVG on ``background`` (CSS colour, None: transparent), or on one that it can be seen on."""
    for colour in (background, *_FALLBACKS):
        svg = icon.svg(colour)
        if shows(compare.render(svg, *size_of(icon, 64))):
            return svg
    return icon.svg(background)
