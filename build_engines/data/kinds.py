"""What type of logo an icon is, read from its source (D-012): labels by construction, none by eye.

In this order:

- ``text``: a logo (emoji are never text) at least twice as wide as high, with the glyphs of a word: at least four
  separate shapes of about one height beside each other.
- ``gradient``: replacing every gradient by its mean colour changes at least 12 % of what is drawn, by more than
  10 of 255.
- ``complex``: at least 10 visible colour areas or at least 7 colours.
- ``simple``: the rest.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args
from xml.etree import ElementTree

import cv2
import numpy as np
import numpy.typing as npt

from build_engines.data.icons import Icon
from build_engines.data.render import size_of, source_on
from serve.vector import compare

LogoType = Literal["simple", "text", "gradient", "complex"]
LOGO_TYPES: tuple[LogoType, ...] = get_args(LogoType)

ElementTree.register_namespace("", "http://www.w3.org/2000/svg")
ElementTree.register_namespace("xlink", "http://www.w3.org/1999/xlink")

_SIDE_PX = 256
_TEXT_ASPECT = 2.0
_TEXT_GLYPHS = 4
_GRADIENT_SHARE = 0.12
_COMPLEX_AREAS = 10
_COMPLEX_COLORS = 7


@dataclass(frozen=True)
class Construction:
    """What is counted in a source: ``glyphs`` beside each other, ``gradient_share`` of the drawn area, visible
    ``areas`` of one colour and ``colors``."""

    aspect: float
    glyphs: int
    gradient_share: float
    areas: int
    colors: int

    @property
    def logo_type(self) -> LogoType:
        if self.aspect >= _TEXT_ASPECT and self.glyphs >= _TEXT_GLYPHS:
            return "text"
        if self.gradient_share >= _GRADIENT_SHARE:
            return "gradient"
        return "complex" if self.areas >= _COMPLEX_AREAS or self.colors >= _COMPLEX_COLORS else "simple"


@lru_cache(maxsize=16384)
def construction(icon: Icon) -> Construction:
    """Counts on a render at 256 px, with all gradients made flat."""
    svg = source_on(icon, None)
    width, height = size_of(icon, _SIDE_PX)
    drawn = compare.render(svg, width, height)
    flat = compare.render(flatten(svg), width, height)
    areas, colors = _areas_and_colors(flat)
    glyphs = _glyphs(flat) if icon.set == "logos" else 0
    return Construction(icon.aspect, glyphs, _changed_share(drawn, flat), areas, colors)


def logo_type(icon: Icon) -> LogoType:
    return construction(icon).logo_type


def flatten(svg: str) -> str:
    """``svg`` with every gradient painted in the mean colour of its own stops."""
    if "Gradient" not in svg:
        return svg
    root = ElementTree.fromstring(svg)
    for gradient in root.iter():
        if gradient.tag.endswith("Gradient"):
            stops = [s for s in gradient if s.tag.endswith("stop")]
            colours = [c for c in (_colour(s.get("stop-color", "#000")) for s in stops) if c is not None]
            opacity = [float(s.get("stop-opacity", "1")) for s in stops]
            if colours:
                mean = "#{:02x}{:02x}{:02x}".format(*np.mean(colours, axis=0).round().astype(int))
                for stop in stops:
                    stop.set("stop-color", mean)
                    stop.set("stop-opacity", f"{np.mean(opacity):.3f}")
    return ElementTree.tostring(root, encoding="unicode")


def _colour(css: str) -> tuple[int, int, int] | None:
    digits = css.lstrip("#")
    if re.fullmatch(r"[0-9a-fA-F]{3}", digits):
        digits = "".join(2 * d for d in digits)
    if not re.fullmatch(r"[0-9a-fA-F]{6}", digits):
        return None
    return int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:], 16)


def _changed_share(drawn: npt.NDArray[np.uint8], flat: npt.NDArray[np.uint8]) -> float:
    """Share of the drawn pixels that differ by more than 10 of 255 in some channel, on white."""
    difference = np.abs(compare.composite(drawn).astype(np.int16) - compare.composite(flat)).max(axis=2)
    return float((difference > 10).sum() / max(1, (drawn[..., 3] > 16).sum()))


def _areas_and_colors(flat: npt.NDArray[np.uint8]) -> tuple[int, int]:
    """Connected areas of one colour with at least 0.1 % of the picture, and colours with at least 0.15 %."""
    opaque = flat[..., 3] > 250
    packed = (flat[..., :3] >> 3).astype(np.int32) @ np.array([1024, 32, 1], np.int32)
    values, counts = np.unique(packed[opaque], return_counts=True)
    least = 0.0015 * opaque.size
    areas = 0
    for value in values[counts >= least]:
        mask = cv2.erode(((packed == value) & opaque).astype(np.uint8), np.ones((2, 2), np.uint8))
        _, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
        areas += int((stats[1:, cv2.CC_STAT_AREA] >= 0.001 * opaque.size).sum())
    return areas, int((counts >= least).sum())


def _glyphs(flat: npt.NDArray[np.uint8]) -> int:
    """The largest number of separate shapes that share a height (within 40 %) and a line (by their middles)."""
    _, _, stats, centroids = cv2.connectedComponentsWithStats((flat[..., 3] > 96).astype(np.uint8), connectivity=8)
    heights, middles = stats[1:, cv2.CC_STAT_HEIGHT].astype(float), centroids[1:, 1]
    tall = heights >= 0.12 * flat.shape[0]
    heights, middles = heights[tall], middles[tall]
    best = 0
    for height, middle in zip(heights, middles, strict=True):
        alike = (heights > 0.6 * height) & (heights < height / 0.6) & (np.abs(middles - middle) < 0.4 * height)
        best = max(best, int(alike.sum()))
    return best
