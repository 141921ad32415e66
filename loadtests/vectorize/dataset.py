"""The benchmark's pictures: icons of the test split under named conditions, with clean targets to compare with.

An icon has its long side at a size that its name decides (64 to 512 pixels) and stands on white, or on black where
it would not show. A condition then degrades the picture; the target stays the clean rendering, at 1x and at 4x, so a
tracer is paid for restoring the source and not for repeating the damage.
"""

from __future__ import annotations

import hashlib
import io
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from build_engines import data
from build_engines.data import Icon
from build_engines.data.samples import make
from serve.vector.compare import Reference, composite, render

Rgba = npt.NDArray[np.uint8]
Rgb = npt.NDArray[np.uint8]

SEED = 2
SIZES_PX = (64, 96, 128, 192, 256, 384, 512)
"""Long sides. Each icon gets one of them, by its name."""
SOURCE_SCALE = 4
"""Fidelity is also judged at this many times the input's size, against the source."""
CONDITIONS = ("clean", "jpeg90", "jpeg70", "jpeg60-95", "blurred", "resized", "128px", "transparent")
"""``jpeg60-95``: a quality that the icon's name decides. ``128px``: clean, at 128 pixels. ``transparent``: clean, with
the icon's own alpha. ``noisy`` (Gaussian, sigma 3 to 9) may be asked for too."""
_JPEG: tuple[data.Condition, ...] = ("jpeg60", "jpeg70", "jpeg80", "jpeg90", "jpeg95")


@dataclass(frozen=True)
class Picture:
    """One input: ``rgba`` (H, W, 4) is what a tracer gets, ``clean`` what it should restore, ``svg`` the source."""

    icon: Icon
    condition: str
    rgba: Rgba
    clean: Rgba
    svg: str

    @property
    def height(self) -> int:
        return self.rgba.shape[0]

    @property
    def width(self) -> int:
        return self.rgba.shape[1]

    @property
    def key(self) -> str:
        return key(self.icon, self.condition)

    @cached_property
    def goal(self) -> Reference:
        """The clean picture, to judge at 1x."""
        return Reference(self.clean)

    @property
    def source(self) -> Reference:
        """The source at 4x."""
        return _source(self.svg, self.width * SOURCE_SCALE, self.height * SOURCE_SCALE)

    @property
    def target(self) -> Rgb:
        """(H, W, 3): the clean picture on white."""
        return composite(self.clean)

    def png(self, mark: str = "") -> bytes:
        """The input as a file; ``mark`` is a comment in it, so that no cache by content knows it from another run."""
        buffer, comment = io.BytesIO(), PngInfo()
        comment.add_text("Comment", mark)
        Image.fromarray(self.rgba).save(buffer, "PNG", compress_level=1, pnginfo=comment)
        return buffer.getvalue()


@lru_cache(maxsize=2)
def _source(svg: str, width: int, height: int) -> Reference:
    """Kept for the conditions of one icon, which mostly share it."""
    return Reference(render(svg, width, height))


def _number(*words: str) -> int:
    """A fixed pseudo-random number (64 bits) that depends on ``words`` alone."""
    return int.from_bytes(hashlib.sha256("|".join(words).encode()).digest()[:8], "big")


def icon_key(icon: Icon) -> str:
    return f"{icon.set}:{icon.name}"


def size_px(icon: Icon, condition: str) -> int:
    """The long side of ``icon`` under ``condition``."""
    return 128 if condition == "128px" else SIZES_PX[_number("size", icon_key(icon)) % len(SIZES_PX)]


def key(icon: Icon, condition: str, size: int | None = None) -> str:
    """Names a picture, the same in every run."""
    return f"{icon_key(icon)}|{condition}|{size or size_px(icon, condition)}"


def prepare(icon: Icon, condition: str, size: int | None = None) -> Picture:
    """``icon`` under ``condition``, by default at the size that its name decides."""
    degradation: data.Condition = "clean"
    if condition == "jpeg60-95":
        degradation = _JPEG[_number("jpeg", icon_key(icon)) % len(_JPEG)]
    elif condition in data.CONDITIONS:
        degradation = condition
    elif condition not in CONDITIONS:
        raise ValueError(f"no condition {condition!r}; there are {', '.join(sorted({*CONDITIONS, *data.CONDITIONS}))}")
    background = None if condition == "transparent" else "#ffffff"
    made = make(icon, degradation, size or size_px(icon, condition), background, SEED)
    return Picture(icon, condition, made.rgba, made.clean, made.svg)


def drawn_conditions(icon: Icon) -> tuple[str, ...]:
    """Clean, and two others that the icon's name decides: the mixture of the whole split, a third of it clean."""
    others = CONDITIONS[1:]
    first = _number("condition", icon_key(icon)) % len(others)
    step = 1 + _number("second condition", icon_key(icon)) % (len(others) - 1)
    return ("clean", others[first], others[(first + step) % len(others)])


def held_out(limit: int, split: data.Split = "test") -> list[Icon]:
    """The first ``limit`` icons of ``split``, the sets taking turns so that each is well represented."""
    queues = [[i for i in data.load_split(split) if i.set == s.name] for s in data.ICON_SETS]
    turns = itertools.chain.from_iterable(itertools.zip_longest(*queues))
    return list(itertools.islice((icon for icon in turns if icon is not None), limit))


def named(keys: Sequence[str]) -> list[Icon]:
    """Icons by name (``noto:pizza``), of whatever split; ValueError lists those that no set has."""
    known = {icon_key(icon): icon for icon in data.load()}
    if unknown := [k for k in keys if k not in known]:
        raise ValueError(f"no icon {', '.join(unknown)}; a name looks like noto:pizza")
    return [known[k] for k in keys]
