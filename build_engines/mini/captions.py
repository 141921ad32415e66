"""What is said of a picture: "blue car, flat" - perhaps a colour, the icon's name, the style of its set."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from build_engines.mini.colours import COLOURS

STYLES = {"noto": "noto", "fluent-emoji-flat": "flat"}
"""The style word of each icon set."""

_PEOPLE = re.compile(
    r"\b(man|woman|men|women|person|people|mx|mrs|boy|girl|baby|child|family|couple|kiss|hand|hands|fist|thumb|thumbs|"
    r"worker|officer|health|cook|student|teacher|judge|farmer|mechanic|scientist|technologist|singer|artist|pilot|"
    r"astronaut|firefighter|guard|prince|princess|merman|mermaid|adult|older|old|ear|nose|leg|foot|biceps|skin)\b"
)
_OWN_COLOUR = re.compile(
    r"\b(red|orange|yellow|green|blue|purple|pink|brown|black|white|grey|gray|gold|golden|silver|rainbow|flag|"
    r"blonde|color|colored|colour)\b"
)
_SIDED = re.compile(
    r"\d|\b(left|right|leftwards|rightwards|clock|clockwise|counterclockwise|oclock|thirty|arrow|arrows|letter|letters|"
    r"button|keycap|input|latin|abc|abcd|new|free|cool|ok|id|sos|vs|ng|tm|mark|question|curving|fast|play|reverse|track|"
    r"shuffle|repeat|eject|calendar|date|keycap|banknote|dollar|pound|euro|yen|heavy|hundred|points|type|sign|symbol|"
    r"trade|registered|copyright|information|place|medal|atm|wc|zzz|soon|end|back|top|on|crescent|quarter|gibbous|note|"
    r"notes|chart|globe|map|om|leo|cancer|scorpio|capricorn|taurus|aries|virgo|libra|gemini|pisces|aquarius|"
    r"sagittarius|hash|percent|guitar|pencil|pen|newspaper|receipt|ticket|stop|police|ambulance|exclamation)\b"
)


def words_of(name: str) -> list[str]:
    """The words of an icon's name: ``hot-air-balloon`` → hot, air, balloon."""
    return name.split("-")


def flippable(name: str) -> bool:
    """Whether the mirrored picture is still what the name says: no digits, letters, sides, clocks or arrows."""
    return _SIDED.search(name.replace("-", " ")) is None


def colourable(name: str) -> bool:
    """Whether a colour may be said of the icon: no people, no flag, no colour in its name already."""
    spaced = name.replace("-", " ")
    return _PEOPLE.search(spaced) is None and _OWN_COLOUR.search(spaced) is None


def caption(name: str, style: str, colour: str | None = None) -> str:
    """``caption("hot-air-balloon", "flat", "blue")`` → "blue hot air balloon, flat"; ``style`` may be ""."""
    body = " ".join(([colour] if colour else []) + words_of(name))
    return f"{body}, {style}" if style else body


@dataclass(frozen=True)
class CaptionRule:
    """Shares of captions that leave something out, so that the model can do without it."""

    empty: float = 0.10
    styleless: float = 0.08
    unknown_word: float = 0.02
    own_colour: float = 0.5

    def write(
        self, rng: np.random.Generator, name: str, style: str, colour: str | None, own: str | None, unknown: str
    ) -> str:
        """A caption for training. ``colour``: of a recoloured picture; ``own``: the clear colour of an original."""
        chance = rng.random(4)
        if chance[0] < self.empty:
            return ""
        if colour is None and own is not None and chance[1] < self.own_colour:
            colour = own
        words = words_of(name)
        if chance[2] < self.unknown_word:
            words[int(chance[3] * len(words))] = unknown
        return caption("-".join(words), "" if rng.random() < self.styleless else style, colour)


def vocabulary(names: Sequence[str]) -> list[str]:
    """Every word that a caption can hold, sorted."""
    words = {word for name in names for word in words_of(name)}
    return sorted(words | set(COLOURS) | set(STYLES.values()))
