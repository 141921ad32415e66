"""What training never shows, so that drawing it is a test of generalisation.

Icons of a known concept in one style, colours of a known concept in every style, and words that no caption has (they
mean something to the model by their word vectors alone).
"""

from __future__ import annotations

import hashlib

from build_engines.mini.corpus.words import words_of
from build_engines.mini.holdout import COLOURED, RESTYLED

STYLE_SHARE = 0.015
"""Share of the emoji (concept and set) that are left out."""
COLOUR_SHARE = 0.03
"""Share of the pairs of a concept and a colour that are left out."""
VALIDATION_SHARE = 0.015
"""Share of all icons that the autoencoder is measured on and does not learn from."""

WORDS = frozenset(
    words_of(
        "kitten puppy hound feline automobile lorry minivan motorbike aeroplane kayak pony bull hen toad "
        "tortoise serpent rhino hippo gator chimpanzee ape wasp moth sparrow seagull salmon tuna burger "
        "cappuccino espresso lemonade whiskey pastry muffin blueberry raspberry plum apricot lime cabbage "
        "spinach radish daisy lily orchid oak pine cottage mansion skyscraper cathedral chapel lighthouse "
        "barn mug goblet saucepan hatchet spanner pliers fiddle cello spectacles trousers sneaker cap cape "
        "mitten armchair sofa pillow blanket smartphone camcorder telly hurricane blizzard asteroid galaxy "
        "physician nurse sorcerer bandit knight chef sailor"
    )
)
"""Words that are taken out of every caption."""


def _share(*parts: str) -> float:
    return int.from_bytes(hashlib.sha256("/".join(("corpus", *parts)).encode()).digest()[:4], "big") / 2**32


def held_icon(concept: str, icon_set: str, name: str) -> bool:
    """Whether the denoiser never sees the icon. ``concept``: an emoji's code, or "name:" and a pictogram's label."""
    if concept.startswith("name:"):
        return set(concept.removeprefix("name:").split()) <= WORDS
    return (name, icon_set) in RESTYLED or _share("style", concept, icon_set) < STYLE_SHARE


def held_colour(concept: str, names: frozenset[str], colour: str | None) -> bool:
    """Whether no icon of the concept is shown in ``colour``. ``names``: the names of its icons in all sets."""
    listed = any(colour == c and n in names for n, c in COLOURED)
    return colour is not None and (listed or _share("colour", concept, colour) < COLOUR_SHARE)


def validates(icon_set: str, name: str) -> bool:
    """Whether the autoencoder is measured on the icon."""
    return _share("picture", icon_set, name) < VALIDATION_SHARE
