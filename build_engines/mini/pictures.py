"""Every icon of the two sets as a picture of 64x64 pixels on white, and the variants that training sees of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from build_engines import data
from build_engines.data.icons import Icon
from build_engines.mini.captions import STYLES, colourable, flippable
from build_engines.mini.colours import COLOURS, dominant, recolour
from build_engines.mini.holdout import held_colour, held_icon
from serve.vector import compare

Rgb = npt.NDArray[np.uint8]

SIDE_PX = 64
VALIDATION_SHARE = 0.03
"""Share of the icons that the autoencoder is measured on and does not learn from."""


@dataclass(frozen=True)
class Entry:
    """One icon; ``own_colour`` is its clear dominant colour, None where it has none or none may be said of it."""

    set: str
    name: str
    own_colour: str | None

    @property
    def style(self) -> str:
        return STYLES[self.set]

    @property
    def trained(self) -> bool:
        """Whether the denoiser may see it."""
        return not held_icon(self.name, self.set)

    @property
    def validates(self) -> bool:
        """Whether the autoencoder is measured on it."""
        digest = hashlib.sha256(f"mini/{self.set}/{self.name}".encode()).digest()
        return int.from_bytes(digest[:4], "big") / 2**32 < VALIDATION_SHARE


@dataclass(frozen=True)
class Variant:
    """Row ``index`` of the pictures, in ``colour`` (None: as it is), mirrored where ``flip``."""

    index: int
    colour: str | None
    flip: bool


@dataclass(frozen=True)
class Pictures:
    """``pixels``: (N, 64, 64, 3); ``entries``: what each shows."""

    pixels: Rgb
    entries: tuple[Entry, ...]

    def draw(self, variant: Variant) -> Rgb:
        """The picture of one variant, (64, 64, 3)."""
        picture = self.pixels[variant.index]
        if variant.colour is not None:
            picture = recolour(picture, variant.colour)
        return np.ascontiguousarray(picture[:, ::-1] if variant.flip else picture)

    def has(self, variant: Variant) -> bool:
        """Whether recolouring really gives the named colour (it fails for a few pictures of several colours)."""
        if variant.colour is None:
            return True
        found = dominant(self.draw(variant))
        return found is not None and found.clear and found.word == variant.colour


def rasterise(icon: Icon, side_px: int = SIDE_PX) -> Rgb:
    """The icon on white, shape (side_px, side_px, 3), centred where it is not square."""
    longer = max(icon.view_box[2:])
    width, height = (max(1, round(side_px * side / longer)) for side in icon.view_box[2:])
    drawn = compare.composite(compare.render(icon.svg("#ffffff"), width, height))
    canvas = np.full((side_px, side_px, 3), 255, np.uint8)
    top, left = (side_px - height) // 2, (side_px - width) // 2
    canvas[top : top + height, left : left + width] = drawn
    return canvas


def render_all(icons: Sequence[Icon]) -> Pictures:
    pixels = np.stack([rasterise(icon) for icon in icons])
    return Pictures(pixels, tuple(_entry(i, p) for i, p in zip(icons, pixels, strict=True)))


def _entry(icon: Icon, picture: Rgb) -> Entry:
    found = dominant(picture) if colourable(icon.name) else None
    return Entry(icon.set, icon.name, found.word if found is not None and found.clear else None)


def load(folder: Path) -> Pictures:
    """The pictures of both sets, rendered once into ``folder``. Installs nothing: see ``build_engines data``."""
    path, names = folder / "pictures.npy", folder / "pictures.json"
    if not names.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        made = render_all([icon for icon in data.load() if icon.set in STYLES])
        np.save(path, made.pixels)
        names.write_text(json.dumps([asdict(e) for e in made.entries]))
    return Pictures(np.load(path), tuple(Entry(**e) for e in json.loads(names.read_text())))


def variants(pictures: Pictures, held_too: bool = False) -> list[Variant]:
    """What the denoiser may see: the original, its mirror image where that is right, and every allowed colour once.

    A picture in a colour is mirrored or not by a hash, so that the list is the same everywhere. ``held_too`` adds
    what is held out.
    """
    found = []
    for index, entry in enumerate(pictures.entries):
        if not (entry.trained or held_too):
            continue
        flips = (False, True) if flippable(entry.name) else (False,)
        found += [Variant(index, None, flip) for flip in flips]
        if entry.own_colour is None:
            continue
        others = [c for c in COLOURS if c != entry.own_colour and (held_too or not held_colour(entry.name, c))]
        found += [Variant(index, c, flips[_bit(entry, c) % len(flips)]) for c in others]
    return [v for v in found if pictures.has(v)]


def _bit(entry: Entry, colour: str) -> int:
    return hashlib.sha256(f"{entry.set}/{entry.name}/{colour}".encode()).digest()[0] & 1
