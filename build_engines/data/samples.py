"""Pictures to learn from and to judge by: every one knows its clean version and its source."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from build_engines.data.degrade import CONDITIONS, Condition, is_opaque, render_degraded
from build_engines.data.icons import Icon
from build_engines.data.render import size_of, source_on
from serve.vector import compare

Rgba = npt.NDArray[np.uint8]

# Half of the pictures are transparent, as icons mostly are; the others stand on white, black or a colour.
_BACKGROUNDS: tuple[tuple[float, str | None], ...] = ((0.5, None), (0.82, "#ffffff"), (0.9, "#000000"))


@dataclass(frozen=True)
class Sample:
    """One picture. ``rgba`` is what a user sends, ``clean`` the same picture undegraded; both (H, W, 4) uint8 with
    straight alpha. ``svg`` is the source, background included, so it may be rendered at any scale.
    ``size`` is the longer side in pixels."""

    icon: Icon
    condition: Condition
    size: int
    rgba: Rgba
    clean: Rgba
    svg: str

    @property
    def name(self) -> str:
        return f"{self.icon.set}/{self.icon.name}/{self.condition}/{self.size}"


def _seed(icon: Icon, seed: int, *more: object) -> int:
    return zlib.crc32(f"{icon.set}/{icon.name}/{seed}/{more}".encode())


def make(icon: Icon, condition: Condition, size: int, background: str | None, seed: int) -> Sample:
    """One sample. ``background`` is a CSS colour or None for transparent; JPEG turns None into white."""
    svg = source_on(icon, "#ffffff" if background is None and is_opaque(condition) else background)
    width, height = size_of(icon, size)
    rgba = render_degraded(svg, width, height, condition, _seed(icon, seed, condition, size))
    clean = rgba if condition == "clean" else compare.render(svg, width, height)
    if is_opaque(condition):
        clean = np.dstack([compare.composite(clean), np.full(clean.shape[:2], 255, np.uint8)])
    return Sample(icon, condition, size, rgba, clean, svg)


def background_of(rng: np.random.Generator) -> str | None:
    """A random background: a CSS colour or None."""
    at = rng.random()
    for upto, background in _BACKGROUNDS:
        if at < upto:
            return background
    return "#{:02x}{:02x}{:02x}".format(*rng.integers(0, 256, 3))


def draw(icon: Icon, seed: int) -> Sample:
    """One random picture of ``icon`` for training: any condition (clean a third of the time), 64 to 512 px.

    Sizes are log-uniform; the same ``icon`` and ``seed`` give the same picture.
    """
    rng = np.random.default_rng(_seed(icon, seed, "draw"))
    condition: Condition = "clean" if rng.random() < 1 / 3 else CONDITIONS[rng.integers(1, len(CONDITIONS))]
    size = round(float(2 ** rng.uniform(6.0, 9.0)))
    return make(icon, condition, size, background_of(rng), seed)
