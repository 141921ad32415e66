"""What can be counted in an icon's source, on a render at 256 px with all gradients made flat."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from xml.etree import ElementTree

import cv2
import numpy as np
import numpy.typing as npt

from build_engines.data.icons import Icon
from build_engines.data.render import size_of, source_on
from serve.vector import compare
from serve.vector.structure import glyphs_among

ElementTree.register_namespace("", "http://www.w3.org/2000/svg")
ElementTree.register_namespace("xlink", "http://www.w3.org/1999/xlink")

_SIDE_PX = 256


@dataclass(frozen=True)
class Construction:
    """``aspect`` is width over height; ``glyphs`` separate shapes of one height beside each other (0 in emoji sets);
    ``gradient_share`` of the drawn area that looks otherwise without gradients; ``areas`` of one colour each;
    ``colors``."""

    aspect: float
    glyphs: int
    gradient_share: float
    areas: int
    colors: int


@lru_cache(maxsize=16384)
def construction(icon: Icon) -> Construction:
    svg = source_on(icon, None)
    width, height = size_of(icon, _SIDE_PX)
    drawn = compare.render(svg, width, height)
    flat = compare.render(flatten(svg), width, height)
    areas, colors = _areas_and_colors(flat)
    glyphs = _glyphs(flat) if icon.set == "logos" else 0
    return Construction(icon.aspect, glyphs, _changed_share(drawn, flat), areas, colors)


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
    _, _, stats, centroids = cv2.connectedComponentsWithStats((flat[..., 3] > 96).astype(np.uint8), connectivity=8)
    return glyphs_among(stats, centroids, flat.shape[0])
