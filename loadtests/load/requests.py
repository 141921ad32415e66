"""What is asked for: known pictures and prompts, so that known answers can be expected."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from loadtests.load.callers import ANEW
from loadtests.load.drawings import DRAWINGS, SIZES_PX, encoded

PROMPTS = ("red apple, flat", "blue car, flat", "green tree, noto", "yellow star, flat", "an owl, noto", "a rocket")
SEEDS = 8
SEED_BITS = 60
"""Of seeds that nobody else is to draw; the stack takes 63."""
END_BYTES = 12
"""The chunk that ends a PNG."""
PICTURES = tuple((name, size) for size in SIZES_PX for name in DRAWINGS)


@dataclass(frozen=True)
class Conversion:
    """``number`` of the request, for each a picture and a quality: the same number, the same answer.

    ``comment``: told in the file beside its pixels, so that it is another file.
    """

    number: int
    tier: str
    comment: str = ""

    @property
    def side_px(self) -> int:
        return PICTURES[self.number % len(PICTURES)][1]

    @property
    def image(self) -> bytes:
        data = encoded(*PICTURES[self.number % len(PICTURES)])
        return commented(data, self.comment) if self.comment else data

    @property
    def options(self) -> dict[str, str]:
        """Form fields of a conversion. Every turn through the pictures asks for a little less."""
        return {"tier": self.tier, "target_quality": f"{0.9 - 0.001 * (self.number // len(PICTURES)):.3f}"}

    @property
    def known_as(self) -> tuple[object, ...]:
        return ("conversion", self.number, self.tier)


@dataclass(frozen=True)
class Illustration:
    number: int
    steps: int

    @property
    def prompt(self) -> str:
        return PROMPTS[self.number % len(PROMPTS)]

    @property
    def seed(self) -> int:
        return 1 + self.number // len(PROMPTS)

    @property
    def known_as(self) -> tuple[object, ...]:
        return ("illustration", self.number, self.steps)


def commented(png: bytes, comment: str) -> bytes:
    """The same pixels in another file."""
    text = b"tEXtComment\0" + comment.encode()
    chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    return png[:-END_BYTES] + chunk + png[-END_BYTES:]


class Requests:
    """With a ``catalogue`` of so many requests, number i is asked for as often as 1 / (i + 1), and may come from the
    cache; without one (``anew``) all are equally likely, and each is work.

    Jobs look into the cache whatever their headers say. So each file is one that nobody sent before, and ``unseen``
    drawings have a seed of their own. At the other doors seeds come again, so that answers can be compared.
    """

    def __init__(self, catalogue: int, steps: int, tier: str, seed: int | None = None) -> None:
        self._steps, self._tier = steps, tier
        self._catalogue = catalogue
        self.anew = not catalogue
        self._random = random.Random(seed)

    @property
    def headers(self) -> Mapping[str, str]:
        return ANEW if self.anew else {}

    def conversion(self) -> Conversion:
        comment = f"{self._random.getrandbits(128):032x}" if self.anew else ""
        return Conversion(self._number(len(PICTURES)), self._tier, comment)

    def illustration(self) -> Illustration:
        return Illustration(self._number(len(PROMPTS) * SEEDS), self._steps)

    def unseen(self) -> Illustration:
        """Without a catalogue, a drawing with a seed that nobody named before."""
        return Illustration(self._random.getrandbits(SEED_BITS), self._steps) if self.anew else self.illustration()

    def _number(self, kinds: int) -> int:
        if not self._catalogue:
            return self._random.randrange(kinds)
        weights = [1 / (number + 1) for number in range(self._catalogue)]
        return self._random.choices(range(self._catalogue), weights)[0]
