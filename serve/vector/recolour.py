"""Pictures and SVG texts in the colours of a palette and no others."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]

SVG = "http://www.w3.org/2000/svg"
_SHAPES = ("path", "rect", "circle", "ellipse", "polygon", "polyline", "line")
_HEX = re.compile(r"#([0-9a-fA-F]{6}|[0-9a-fA-F]{3})")
_URL = re.compile(r"url\(#([^)]+)\)")
_ROWS = 256
"""Rows that are compared with the palette at once."""


def in_palette(pixels: Bytes, colors: Sequence[str]) -> Bytes:
    """``pixels`` (H, W, 3 or 4) with each colour replaced by the nearest of ``colors`` (#rrggbb); alpha stays."""
    table = np.array([_rgb(color) for color in colors], np.float32)
    result = pixels.copy()
    for start in range(0, len(pixels), _ROWS):
        part = pixels[start : start + _ROWS, :, :3].astype(np.float32)
        distances = ((part[:, :, None] - table) ** 2).sum(axis=-1)
        result[start : start + _ROWS, :, :3] = table[distances.argmin(axis=-1)].astype(np.uint8)
    return result


def svg_in_palette(svg: str, colors: Sequence[str]) -> str:
    """``svg``, as our tracers write it, with each fill and stroke the nearest of ``colors``; gradients become flat."""
    ElementTree.register_namespace("", SVG)
    root = ElementTree.fromstring(svg)
    gradients = {
        element.get("id", ""): _mean_stop(element) for element in root.iter() if _tag(element).endswith("Gradient")
    }
    reused = {element.attrib["href"].removeprefix("#") for element in root.iter() if _tag(element) == "use"}
    inherits = {child for group in root.iter(f"{{{SVG}}}g") if "fill" in group.attrib for child in group.iter()}
    for element in root.iter():
        if _tag(element) in _SHAPES and "fill" not in element.attrib and element not in inherits:
            # A fill of its own would replace those of its uses.
            (root if element.get("id") in reused else element).set("fill", "#000000")
    for element in root.iter():
        for name in {"fill", "stroke"} & element.attrib.keys():
            element.set(name, _nearest(element.attrib[name], colors, gradients))
    for definitions in root.findall(f"{{{SVG}}}defs"):
        root.remove(definitions)
    return ElementTree.tostring(root, encoding="unicode")


def _tag(element: ElementTree.Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _mean_stop(gradient: ElementTree.Element) -> str:
    stops = [_rgb(stop.get("stop-color", "#000000")) for stop in gradient if _tag(stop) == "stop"] or [(0, 0, 0)]
    red, green, blue = (round(value) for value in np.mean(stops, axis=0))
    return f"#{red:02x}{green:02x}{blue:02x}"


def _nearest(paint: str, colors: Sequence[str], gradients: Mapping[str, str]) -> str:
    if paint == "none":
        return paint
    reference = _URL.fullmatch(paint)
    own = np.array(_rgb(gradients.get(reference[1], "#000000") if reference else paint), float)
    return min(colors, key=lambda color: float(((np.array(_rgb(color)) - own) ** 2).sum()))


def _rgb(color: str) -> tuple[int, int, int]:
    """Of #rgb or #rrggbb; other notations, which our tracers do not write, count as black."""
    match = _HEX.fullmatch(color.strip())
    if match is None:
        return 0, 0, 0
    digits = match[1] if len(match[1]) == 6 else "".join(2 * digit for digit in match[1])
    red, green, blue = bytes.fromhex(digits)
    return red, green, blue
