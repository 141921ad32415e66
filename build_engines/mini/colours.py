"""Named colours: which one a picture has, and the same picture in another.

Hue (degrees), saturation and value (both in [0, 1]) are those of Smith, "Color gamut transform pairs" (1978).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Rgb = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.0, 0.84, 0.90),
    "orange": (25.0, 0.88, 0.98),
    "yellow": (50.0, 0.80, 1.00),
    "green": (125.0, 0.70, 0.68),
    "blue": (214.0, 0.80, 0.92),
    "purple": (275.0, 0.66, 0.80),
    "pink": (330.0, 0.45, 1.00),
    "brown": (22.0, 0.62, 0.50),
}
"""Hue, saturation and value of what each word means here."""

LEAST_SATURATION, LEAST_VALUE = 0.25, 0.2
_NEAR, _FAR = 40.0, 60.0
"""Degrees from the dominant hue up to which a pixel belongs to it wholly, and from which not at all."""
_LEAST_SHARE = 0.35


@dataclass(frozen=True)
class Dominant:
    """The colour that most of a picture's coloured pixels share; ``share`` of all that is not white background."""

    hue: float
    saturation: float
    value: float
    share: float

    @property
    def clear(self) -> bool:
        """Whether a person would call the picture by this colour."""
        return self.share >= _LEAST_SHARE

    @property
    def word(self) -> str:
        return colour_word(self.hue, self.saturation, self.value)


def colour_word(hue: float, saturation: float, value: float) -> str:
    """The word of ``COLOURS`` for a saturated colour."""
    if 8 <= hue < 45 and value < 0.70:
        return "brown"
    if (hue >= 285 and (hue < 342 or saturation < 0.6)) or (hue < 15 and saturation < 0.55):
        return "pink"
    for word, upper in (("red", 14), ("orange", 34), ("yellow", 66), ("green", 172), ("blue", 246), ("purple", 285)):
        if hue < upper:
            return word
    return "red"


def to_hsv(rgb: Rgb) -> Floats:
    """Shape (H, W, 3): hue in degrees, saturation and value in [0, 1]."""
    return np.asarray(cv2.cvtColor(rgb.astype(np.float32) / 255, cv2.COLOR_RGB2HSV), np.float32)


def hue_distance(a: Floats | float, b: Floats | float) -> Floats:
    """Degrees between hues, in [0, 180]."""
    return np.asarray(np.abs((np.asarray(a) - np.asarray(b) + 180.0) % 360.0 - 180.0), np.float32)


def dominant(rgb: Rgb) -> Dominant | None:
    """The dominant colour of a picture on white, or None where nothing is coloured."""
    hsv = to_hsv(rgb)
    hue, saturation, value = hsv[..., 0], hsv[..., 1], hsv[..., 2]
    coloured = (saturation > LEAST_SATURATION) & (value > LEAST_VALUE)
    if not coloured.any():
        return None
    weights, _ = np.histogram(hue[coloured], 36, (0, 360), weights=saturation[coloured])
    smooth = weights + 0.5 * (np.roll(weights, 1) + np.roll(weights, -1))
    peak = 10.0 * int(smooth.argmax()) + 5.0
    members = coloured & (hue_distance(hue, peak) < 20.0)
    if not members.any():
        return None
    offsets = (hue[members] - peak + 180.0) % 360.0 - 180.0
    middle = (peak + float(np.median(offsets))) % 360.0
    body = coloured & (hue_distance(hue, middle) < _NEAR)
    drawn = (saturation > 0.04) | (value < 0.96)
    return Dominant(
        middle, float(np.median(saturation[members])), float(np.median(value[members])), float(body.sum() / drawn.sum())
    )


def recolour(rgb: Rgb, word: str) -> Rgb:
    """The picture with its dominant colour replaced by ``word``; shading stays, and so do the other hues.

    Raises ValueError for a picture without a clear dominant colour.
    """
    found = dominant(rgb)
    if found is None or not found.clear:
        raise ValueError("the picture has no clear dominant colour")
    hue, saturation, value = COLOURS[word]
    hsv = to_hsv(rgb)
    distance = hue_distance(hsv[..., 0], found.hue)
    share = np.clip((_FAR - distance) / (_FAR - _NEAR), 0.0, 1.0)[..., None]
    offset = (hsv[..., 0] - found.hue + 180.0) % 360.0 - 180.0
    new = np.stack(
        [
            (hue + 0.25 * offset) % 360.0,
            np.clip(hsv[..., 1] * (saturation / found.saturation), 0.0, 1.0),
            _new_value(hsv[..., 1], hsv[..., 2], found, value),
        ],
        axis=-1,
    ).astype(np.float32)
    painted = cv2.cvtColor(new, cv2.COLOR_HSV2RGB) * 255
    mixed = painted * share + rgb.astype(np.float32) * (1.0 - share)
    return np.asarray(np.clip(np.rint(mixed), 0, 255), np.uint8)


def _new_value(saturation: Floats, value: Floats, found: Dominant, wanted: float) -> Floats:
    """Values scaled so that the dominant becomes ``wanted``; pale pixels (highlights, edges to white) keep theirs."""
    scaled = np.clip(value * (wanted / found.value), 0.0, 1.0)
    paint = np.clip(saturation / found.saturation, 0.0, 1.0)
    return np.asarray(paint * scaled + (1.0 - paint) * value, np.float32)
