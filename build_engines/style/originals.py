"""Draws the pictures of the site's styles, with their colours, into ``deployments/style_transfer``.

Every picture is painted by this repository's filters from scenes of its own: none is a copy of anyone's work.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from build_engines.style.painting import PAINTERS, recolour
from build_engines.style.pictures import Rgb, to_bytes
from build_engines.style.scenes import Floats, landscape, still_life
from serve.vector.textures import window

SIDE_PX = 288
COLOURS = 6


@dataclass(frozen=True)
class Original:
    """One style. ``colours``: tones of the scene, from dark to light; ``amount``: how much they replace its own.
    ``still``: a still life, else a landscape. ``ink``: the painting takes the colours, too."""

    name: str
    title: str
    description: str
    painter: str
    colours: tuple[str, ...]
    aliases: tuple[str, ...] = ()
    amount: float = 0.75
    seed: int = 1
    still: bool = False
    ink: bool = False


ORIGINALS = (
    Original("swirls", "Swirling oil", "Long thick strokes of oil that turn with the forms", "brush",
             ("#0b1640", "#1d3f8f", "#3f7fc1", "#8fb9c9", "#f2d16b", "#fff3b8"),
             ("van gogh", "van-gogh", "oil painting", "expressionist"), 0.9, 4),
    Original("dabs", "Dabs of light", "Short dabs of broken colour, as paintings of water and haze have", "dabs",
             ("#2c3f5e", "#4f7a6b", "#7fa58a", "#b49ac4", "#e3b7a6", "#fbf0d9"), ("monet", "impressionist"), 0.8, 12),
    Original("cubist", "Cubist facets", "Facets in ochre and grey, each lighter or darker than the next", "cubist",
             ("#2b2118", "#5a4632", "#8a6f4d", "#a89f91", "#cdb88f", "#efe3c8"), ("picasso", "cubism"), 0.85, 16),
    Original("woodcut", "Woodcut", "Gouged strokes that swell with the light, black ink on paper", "woodcut",
             ("#0d0d0d", "#f4efe2"), ("linocut",), 0.5, 21, ink=True),
    Original("watercolour", "Watercolour", "Washes with dark rims and the grain of paper", "watercolour",
             ("#33527a", "#4f8fb0", "#7fbf9f", "#f0b98d", "#f7dcc0", "#fffaf2"), ("watercolor",), 0.7, 15),
    Original("stipple", "Stipple", "Round dots of ink on paper, large where it is dark", "stipple",
             ("#1d2a6b", "#8a2f6b", "#d1495b", "#edae49", "#66a182", "#f7f3e3"), ("pointillism", "seurat"), 0.6, 2),
    Original("mosaic", "Mosaic", "Small stones in mortar, each of one colour", "mosaic",
             ("#14342b", "#1f6f78", "#3aa6a6", "#c98b3c", "#e7c873", "#f6ecd0"), (), 0.8, 9),
    Original("stained-glass", "Stained glass", "Panes of glowing colour between dark leads", "stained_glass",
             ("#3a0f5c", "#8c1c3f", "#d1402f", "#f2a71b", "#3f9b5f", "#7fd0e8"), ("stained glass",), 0.8, 6),
    Original("pixel", "Pixel art", "Large square pixels in few colours", "pixels",
             ("#1a1c2c", "#5d275d", "#b13e53", "#ef7d57", "#ffcd75", "#a7f070"), ("pixel art",), 0.85, 11),
    Original("engraving", "Engraving", "Parallel lines, thick where it is dark", "engraving",
             ("#1b130a", "#f5ead2"), ("etching",), 0.5, 3, ink=True),
    Original("pen", "Pen and ink", "Hatching in two directions", "hatching",
             ("#000000", "#444444", "#aaaaaa", "#ffffff"), ("hatching", "ink", "line art", "sketch"), 1.0, 12),
    Original("halftone", "Halftone print", "Dots of three inks, as cheap comics are printed", "halftone",
             ("#14213d", "#d62246", "#f77f00", "#fcbf49", "#fff3d0"),
             ("pop art", "lichtenstein", "comic"), 0.7, 19, True),
    Original("pastel", "Pastel", "Chalk on the grain of a toned paper", "pastel",
             ("#3b2d5c", "#7a5ea8", "#d98cb3", "#f4b6a0", "#fbe3b5", "#fff8e8"), ("chalk",), 0.8, 5),
    Original("paper-cut", "Paper cut", "Layers of paper, each with its shadow on the one below", "paper_cut",
             ("#12355b", "#420039", "#d72638", "#f49d37", "#f7f0e6"), ("paper cut",), 0.9, 12, ink=True),
)  # fmt: skip


def rgb_of(colour: str) -> Floats:
    return np.asarray([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)], np.float32)


def picture_of(original: Original, side_px: int = SIDE_PX) -> Rgb:
    """(side, side, 3)."""
    scene = (still_life if original.still else landscape)(np.random.default_rng(original.seed), side_px, side_px)
    tones = np.stack([rgb_of(colour) for colour in original.colours])
    coloured = recolour(_spread(scene), tones, original.amount)
    painted = PAINTERS[original.painter](
        coloured, window(0, 0, 0, side_px, side_px), np.random.default_rng(original.seed)
    )
    return to_bytes(recolour(_spread(painted), tones, 1.0) if original.ink else painted)


def _spread(picture: Floats) -> Floats:
    """From the darkest to the lightest tone that there is."""
    low, high = np.quantile(picture, 0.02), np.quantile(picture, 0.98)
    return np.asarray(np.clip((picture - low) / max(high - low, 1e-3), 0, 1), np.float32)


def colours_of(picture: Rgb, count: int = COLOURS) -> list[str]:
    """The main colours, from dark to light."""
    cv2.setRNGSeed(0)
    small = cv2.resize(picture, (96, 96), interpolation=cv2.INTER_AREA).reshape(-1, 3).astype(np.float32)
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 30, 0.5)
    _, _, centres = cv2.kmeans(small, count, None, stop, 4, cv2.KMEANS_PP_CENTERS)
    ordered = sorted(centres.tolist(), key=lambda c: 0.299 * c[0] + 0.587 * c[1] + 0.114 * c[2])
    return ["#{:02x}{:02x}{:02x}".format(*(int(v + 0.5) for v in colour)) for colour in ordered]


def write_originals(folder: Path) -> list[Path]:
    """The pictures and ``styles.toml``."""
    folder.mkdir(parents=True, exist_ok=True)
    made, entries = [], []
    for original in ORIGINALS:
        picture = picture_of(original)
        path = folder / f"{original.name}.webp"
        Image.fromarray(picture).save(path, "WEBP", quality=88, method=6)
        made.append(path)
        facts = {
            "name": original.name,
            "title": original.title,
            "description": original.description,
            "aliases": list(original.aliases),
            "picture": path.name,
            "colors": colours_of(picture),
        }
        entries.append("[[style]]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in facts.items()))
    head = "# Written by `python -m build_engines train style --stage originals`, which paints the pictures, too.\n\n"
    (folder / "styles.toml").write_text(head + "\n".join(entries))
    return made
