"""Pairs of a small and a large picture of the same icon, to train on and to measure with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from build_engines.data.icons import Icon
from build_engines.data.render import size_of
from serve.vector import compare

Rgba = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

REDUCTIONS = ("box", "bicubic", "lanczos", "rendered")
"""How a large picture becomes the small one; ``rendered`` draws the icon again, at the small size."""
_FILTERS = {
    "box": Image.Resampling.BOX, "bicubic": Image.Resampling.BICUBIC, "lanczos": Image.Resampling.LANCZOS,
}  # fmt: skip
_SIDES_PX = (64, 96, 128, 192, 256, 320)


def premultiplied(rgba: Rgba) -> Floats:
    """(H, W, 4) from 0 to 1."""
    pixels = rgba.astype(np.float32) / 255.0
    pixels[..., :3] *= pixels[..., 3:]
    return pixels


def reduced(icon: Icon, large: Rgba, scale: int, how: str, background: str | None = None) -> Rgba:
    """``large`` at a ``scale``-th of its size. Filters work on premultiplied colours, as they should."""
    height, width = large.shape[0] // scale, large.shape[1] // scale
    if how == "rendered":
        return compare.render(icon.svg(background), width, height)
    image = Image.fromarray(large, "RGBA").convert("RGBa")
    return np.asarray(image.resize((width, height), _FILTERS[how]).convert("RGBA"))


def drawn(icon: Icon, side_px: int, scale: int, background: str | None = None) -> Rgba:
    """The icon with sides that ``scale`` divides."""
    width, height = (side - side % scale for side in size_of(icon, side_px))
    return compare.render(icon.svg(background), width, height)


class Patches:
    """Random pairs of patches of ``icons``. Three in ten pictures lie on a ground, white or of a random colour."""

    def __init__(self, icons: Sequence[Icon], scale: int, patch_px: int, rng: np.random.Generator) -> None:
        """``patch_px``: side of the small patch."""
        self._scale, self._patch, self._rng = scale, patch_px, rng
        least = patch_px * scale
        sides = [side for side in _SIDES_PX if side >= least] or [least]
        self._pairs: list[tuple[Floats, Floats]] = []
        for icon in icons:
            ground = f"#{rng.integers(0, 2**24):06x}" if rng.random() < 0.3 else "#ffffff"
            background = None if rng.random() < 0.7 else ground
            large = drawn(icon, int(rng.choice(sides)), scale, background)
            small = reduced(icon, large, scale, str(rng.choice(REDUCTIONS)), background)
            if min(small.shape[:2]) >= patch_px:
                self._pairs.append((premultiplied(small), premultiplied(large)))

    def batches(self, size: int) -> Iterator[tuple[Floats, Floats]]:
        """(n, 4, p, p) and (n, 4, scale * p, scale * p), without end."""
        while True:
            chosen = [self._patch_of(int(i)) for i in self._rng.integers(0, len(self._pairs), size)]
            yield tuple(np.stack(part).transpose(0, 3, 1, 2) for part in zip(*chosen, strict=True))

    def _patch_of(self, index: int) -> tuple[Floats, Floats]:
        """A patch with something in it, turned or mirrored at random."""
        small, large = self._pairs[index]
        s, p = self._scale, self._patch
        for _ in range(4):
            top = int(self._rng.integers(0, small.shape[0] - p + 1))
            left = int(self._rng.integers(0, small.shape[1] - p + 1))
            inner = small[top : top + p, left : left + p]
            if inner.std(axis=(0, 1)).max() > 0.02:
                break
        outer = large[top * s : (top + p) * s, left * s : (left + p) * s]
        turns, mirrored = int(self._rng.integers(4)), self._rng.random() < 0.5
        pair = [np.rot90(part, turns) for part in (inner, outer)]
        return tuple(np.ascontiguousarray(part[:, ::-1] if mirrored else part) for part in pair)  # type: ignore[return-value]
