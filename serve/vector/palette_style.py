"""An SVG in the colours of a style's palette: its lights and darks take the palette's, hues the nearest of these."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt
from PIL import ImageColor

from serve.vector.recolour import SVG

_PAINTS = ("fill", "stroke", "stop-color", "flood-color", "color")
_DEFAULTS: Mapping[str, str] = {"fill": "#000000"}
"""What an SVG's root has where it states nothing."""
_HUE_WEIGHT = 0.6
"""Of a difference in hue and chroma beside one in lightness, which keeps the drawing readable."""
_LEAST_SPREAD = 0.05
_HREF = re.compile(r"^(#)(.+)$")
_URL = re.compile(r"(url\(\s*['\"]?#)([A-Za-z_][\w.:-]*)", re.ASCII)
"""References to elements of the same document: an ``href``, and those of all other attributes."""
MAX_PAINT = 64
"""Characters of a colour."""

_TO_LMS = np.array([
    [0.4122214708, 0.5363325363, 0.0514459929],
    [0.2119034982, 0.6806995451, 0.1073969566],
    [0.0883024619, 0.2817188376, 0.6299787005],
])  # fmt: skip
_TO_LAB = np.array([
    [0.2104542553, 0.7936177850, -0.0040720468],
    [1.9779984951, -2.4285922050, 0.4505937099],
    [0.0259040371, 0.7827717662, -0.8086757660],
])  # fmt: skip
"""Ottosson, "A perceptual color space for image processing" (2020)."""

Lab = npt.NDArray[np.float64]


def svg_in_style(svg: str, colors: Sequence[str], strength: float = 1.0) -> tuple[str, dict[str, str]]:
    """``svg`` (sanitised: colours are attributes) with its colours replaced, and what each became.

    The lightness of the drawing's colours is stretched to the palette's; each then takes the nearest of ``colors``
    (#rrggbb) in OKLab, mixed with its own by ``strength``. Paints that are no colours (none, url, currentColor) stay.
    What is referred to has an id of this drawing alone, so that both can be in one document.
    """
    ElementTree.register_namespace("", SVG)
    root = ElementTree.fromstring(svg)
    for name, paint in _DEFAULTS.items():
        if name not in root.attrib and any(element.get(name) is None for element in root.iter()):
            root.set(name, paint)
    places = [
        (element, name, colour)
        for element in root.iter()
        for name in _PAINTS
        if (colour := _rgb(element.get(name))) is not None
    ]
    table = _table(sorted({colour for _, _, colour in places}), [_of_hex(color) for color in colors], strength)
    for element, name, colour in places:
        element.set(name, table[colour])
    _name_apart(root, f"{svg}{colors}{strength}")
    return ElementTree.tostring(root, encoding="unicode"), {_hex(colour): made for colour, made in table.items()}


def _table(
    own: Sequence[tuple[int, ...]], palette: Sequence[tuple[int, ...]], strength: float
) -> dict[tuple[int, ...], str]:
    if not own:
        return {}
    ours, theirs = _lab(own), _lab(palette)
    low, high = theirs[:, 0].min(), theirs[:, 0].max()
    spread = np.ptp(ours[:, 0])
    if spread > _LEAST_SPREAD:
        ours[:, 0] = low + (ours[:, 0] - ours[:, 0].min()) / spread * (high - low)
    weights = np.array([1.0, _HUE_WEIGHT, _HUE_WEIGHT])
    distances = (((ours[:, None] - theirs[None]) * weights) ** 2).sum(-1)
    nearest = np.asarray(palette, float)[distances.argmin(1)]
    made = np.asarray(own, float) + strength * (nearest - np.asarray(own, float))
    return {colour: _hex(tuple(np.rint(value).astype(int))) for colour, value in zip(own, made, strict=True)}


def _name_apart(root: ElementTree.Element, text: str) -> None:
    """New ids for the elements of ``root`` that others refer to, by the hash of ``text``."""
    uses = [(element, key, value) for element in root.iter() for key, value in element.attrib.items() if "#" in value]
    referred = {match[2] for _, key, value in uses for match in _references(key).finditer(value)}
    ids = [element.attrib["id"] for element in root.iter() if element.get("id") in referred]
    mark = hashlib.sha256(text.encode()).hexdigest()[:8]
    names = {name: f"s{mark}-{i}" for i, name in enumerate(dict.fromkeys(ids))}
    for element in root.iter():
        if element.get("id") in names:
            element.set("id", names[element.attrib["id"]])
    for element, key, value in uses:
        element.set(key, _references(key).sub(lambda match: match[1] + names.get(match[2], match[2]), value))


def _references(key: str) -> re.Pattern[str]:
    return _HREF if key == "href" else _URL


def _lab(colours: Sequence[tuple[int, ...]]) -> Lab:
    """OKLab, without OpenCV, which gateways do not load."""
    value = np.asarray(colours, float) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    found: Lab = np.cbrt(linear @ _TO_LMS.T) @ _TO_LAB.T
    return found


def _rgb(paint: str | None) -> tuple[int, ...] | None:
    """Of a CSS colour; None for other paints, and for what is transparent."""
    if paint is None or len(paint) > MAX_PAINT:
        return None
    try:
        colour = ImageColor.getrgb(paint.strip())
    except ValueError:
        return None
    return colour[:3] if len(colour) == 3 or colour[3] == 255 else None


def _of_hex(color: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(color.removeprefix("#")))


def _hex(colour: tuple[int, ...]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
