"""The pictures to learn from: groups of scenes painted by one filter with one size and one palette."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from build_engines.data.icons import Icon
from build_engines.style.painting import PAINTERS, recolour
from build_engines.style.scenes import Floats, Rng, palette, scene
from serve.vector.textures import SIDE_PX as TEXTURES_PX
from serve.vector.textures import window

SIDE_PX = 128
GROUP = 3
"""Pictures of one style: each is painted, and each shows the style to the others."""

Rgb = npt.NDArray[np.uint8]
Places = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Painted:
    """``scenes`` and ``paintings``: (groups, GROUP, side, side, 3); ``places``: top and left of each painting's window
    of the texture fields, (groups, GROUP, 2); ``painters``: the filter of each group."""

    scenes: Rgb
    paintings: Rgb
    places: Places
    painters: tuple[str, ...]


def to_bytes(picture: Floats) -> Rgb:
    return (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)


def group_of(rng: Rng, painter: str, icons: Sequence[Icon], side_px: int = SIDE_PX) -> tuple[Rgb, Rgb, Places]:
    """GROUP scenes and what ``painter`` makes of them. In half of the groups the tones take a palette's colours."""
    colours, amount = palette(rng), float(rng.choice([0.0, 0.0, 0.5, 0.85]))
    seed = int(rng.integers(2**31))
    places = rng.integers(0, TEXTURES_PX - side_px + 1, (GROUP, 2))
    drawn = [scene(rng, side_px, side_px, icons) for _ in range(GROUP)]
    painted = [
        PAINTERS[painter](
            recolour(one, colours, amount),
            window(0, int(top), int(left), side_px, side_px),
            np.random.default_rng(seed),
        )
        for one, (top, left) in zip(drawn, places, strict=True)
    ]
    return np.stack([to_bytes(p) for p in drawn]), np.stack([to_bytes(p) for p in painted]), places


def paint_groups(count: int, icons: Sequence[Icon], seed: int = 0) -> Painted:
    """``count`` groups, the filters by turns."""
    names = tuple(PAINTERS)
    rng = np.random.default_rng(seed)
    made = [group_of(rng, names[i % len(names)], icons) for i in tqdm(range(count), desc="paint", unit="group")]
    scenes, paintings, places = (np.stack(part) for part in zip(*made, strict=True))
    return Painted(scenes, paintings, places, tuple(names[i % len(names)] for i in range(count)))
