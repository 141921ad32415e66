"""What is asked for: known pictures and prompts, so that known answers can be expected."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from loadtests.load.callers import ANEW
from loadtests.load.drawings import DRAWINGS, SIZES_PX, encoded

PROMPTS = ("red apple, flat", "blue car, flat", "green tree, noto", "yellow star, flat", "an owl, noto", "a rocket")
SEEDS = 8
PICTURES = tuple((name, size) for size in SIZES_PX for name in DRAWINGS)


@dataclass(frozen=True)
class Conversion:
    """``number`` of the request, for each a picture and a quality: the same number, the same answer."""

    number: int
    tier: str

    @property
    def side_px(self) -> int:
        return PICTURES[self.number % len(PICTURES)][1]

    @property
    def image(self) -> bytes:
        return encoded(*PICTURES[self.number % len(PICTURES)])

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


class Requests:
    """With a ``catalogue`` of so many requests, number i is asked for as often as 1 / (i + 1), and may come from the
    cache; without one all are equally likely, and each is work."""

    def __init__(self, catalogue: int, steps: int, tier: str, seed: int | None = None) -> None:
        self._steps, self._tier = steps, tier
        self._catalogue = catalogue
        self._random = random.Random(seed)

    @property
    def headers(self) -> Mapping[str, str]:
        return {} if self._catalogue else ANEW

    def conversion(self) -> Conversion:
        return Conversion(self._number(len(PICTURES)), self._tier)

    def illustration(self) -> Illustration:
        return Illustration(self._number(len(PROMPTS) * SEEDS), self._steps)

    def _number(self, kinds: int) -> int:
        if not self._catalogue:
            return self._random.randrange(kinds)
        weights = [1 / (number + 1) for number in range(self._catalogue)]
        return self._random.choices(range(self._catalogue), weights)[0]
