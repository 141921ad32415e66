"""What a picture shows by the nearest words of the vocabulary in the space of an image-text embedding (B-023)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from serve.ensembles.embedder import Embedder
from serve.ensembles.prompts.vocabulary import Vocabulary

TEMPLATES: Mapping[str, str] = {"objects": "a {}", "styles": "{} style", "colors": "{}", "moods": "{} mood"}
"""Categories of the vocabulary, and how their words are said to the text engine."""
SAID_ABOVE = 0.9
"""Probability from which on a style or a mood is part of a caption."""
MAX_TAGS = 5
"""Of each category."""


@dataclass(frozen=True)
class Tag:
    """``score``: cosine with the picture; ``probability`` among the words of its category."""

    category: str
    name: str
    score: float
    probability: float


@dataclass(frozen=True)
class Described:
    """A text of the likeliest tags, and how likely they are."""

    text: str
    confidence: float


@cache
def vocabulary_words() -> Mapping[str, tuple[str, ...]]:
    """By category, in the vocabulary's files."""
    terms = Vocabulary.read().terms
    return {category: tuple(terms[category]) for category in TEMPLATES}


class Tagger:
    """The words are embedded when the first picture comes. Safe to use from several threads."""

    def __init__(self, embedder: Embedder, words: Mapping[str, Sequence[str]] | None = None) -> None:
        self.embedder = embedder
        self._words = vocabulary_words() if words is None else words
        self._matrices: dict[str, tuple[list[str], npt.NDArray[np.float32]]] | None = None

    def tags(self, picture: npt.NDArray[np.float32], most: int = MAX_TAGS) -> list[Tag]:
        """Of each category the ``most`` likely words for the embedding of a picture, the likeliest first."""
        if self._matrices is None:
            self._matrices = {category: self._embedded(category) for category in self._words}
        found: list[Tag] = []
        for category, (names, matrix) in self._matrices.items():
            if not names:
                continue
            scores = matrix @ picture
            likely = np.exp(self.embedder.logit_scale * (scores - scores.max()))
            likely /= likely.sum()
            for i in np.argsort(-scores, kind="stable")[:most]:
                found.append(Tag(category, names[int(i)], float(scores[i]), float(likely[i])))
        return found

    def _embedded(self, category: str) -> tuple[list[str], npt.NDArray[np.float32]]:
        names = [name for name in self._words[category] if self.embedder.knows(name)]
        rows = [self.embedder.text(TEMPLATES[category].format(name)) for name in names]
        return names, np.asarray(rows, np.float32)


def described(tags: Sequence[Tag]) -> Described | None:
    """ "COLOUR THING", with style and mood where they are likely. None without a thing."""
    best: dict[str, Tag] = {}
    for tag in tags:
        best.setdefault(tag.category, tag)
    thing = best.get("objects")
    if thing is None:
        return None
    said = [tag for tag in (best.get("colors"),) if tag is not None] + [thing]
    more = [best[name] for name in ("styles", "moods") if name in best and best[name].probability > SAID_ABOVE]
    text = " ".join(tag.name for tag in said)
    text = ", ".join([text, *(TEMPLATES[tag.category].format(tag.name) for tag in more)])
    return Described(text, float(np.mean([tag.probability for tag in (*said, *more)])))
