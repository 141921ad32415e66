"""Words of captions that stand in for words that no caption has: "kitty" for "kitten", "violin" for "cello".

A word's stand-in is its nearest neighbour among the words of captions: by their vectors, by WordNet (a synonym is
nearest, then what is more general, then what has the same more general sense), and by how many pictures of training
the neighbour names. Without it a word that no caption has means only what the encoder makes of its vector, and spoils
the words beside it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from build_engines.mini.corpus.captions import subject_words
from build_engines.mini.corpus.curriculum import weight
from build_engines.mini.corpus.pictures import Corpus
from build_engines.mini.corpus.vectors import Vocabulary
from build_engines.mini.corpus.wordnet import WordNet
from build_engines.mini.tokenizer import UNKNOWN_WORD

_SYNONYM, _MORE_GENERAL, _MORE_SPECIAL, _SIBLING, _TWO_UP = 0.6, 0.4, 0.3, 0.25, 0.25
"""What is added to the cosine of two words' vectors where WordNet relates them."""
_RARER = 0.1
"""What is taken off for all words of a sense but its commonest."""
_LATER_SENSES = (1.0, 0.6, 0.4)
"""Factors of these for the first, second and third sense of a word."""
_USUAL_PICTURES, _FOR_TEN_TIMES, _MOST_FOR_PICTURES = 2.0, 0.15, 0.15
"""A neighbour that names ten times the usual pictures is nearer by 0.15, one that names a tenth further by as much."""
_FEWEST_PICTURES = 0.1
_NEAR, _LEAST_LINK, _LEAST_COSINE, _NEAR_ALONE = 0.55, 0.14, 0.1, 0.75
"""Least nearness of a stand-in, with what of it WordNet and the vectors must say; what is enough without WordNet."""


@dataclass(frozen=True)
class _Related:
    """By a word's spelling, how near WordNet says that others are."""

    wordnet: WordNet

    def of(self, word: str) -> dict[str, float]:
        found: dict[str, float] = {}
        for offset, factor in zip(self.wordnet.concrete_senses(word), _LATER_SENSES, strict=False):
            for other, nearness in self._of_sense(offset):
                for rank, name in enumerate(self.wordnet.synsets[other].words):
                    link = factor * (nearness - (_RARER if rank else 0.0))
                    found[name] = max(found.get(name, 0.0), link)
        return found

    def _of_sense(self, offset: int) -> list[tuple[int, float]]:
        above = self.wordnet.above(offset)
        siblings = [s for parent in above for s in self.wordnet.below.get(parent, ())]
        two_up = [o for parent in above for o in self.wordnet.above(parent)]
        return [
            (offset, _SYNONYM),
            *((o, _MORE_GENERAL) for o in above),
            *((o, _MORE_SPECIAL) for o in self.wordnet.below.get(offset, ())),
            *((o, _SIBLING) for o in siblings),
            *((o, _TWO_UP) for o in two_up),
        ]


def stand_ins(vocabulary: Vocabulary, corpus: Corpus, wordnet: WordNet) -> dict[str, str]:
    """For each word of the vocabulary that no caption has: its nearest neighbour among those that captions have, or the
    unknown word, beside which training shows the rest of a caption, where none is near."""
    captioned = vocabulary.words[: vocabulary.captioned]
    places = {word: i for i, word in enumerate(captioned)}
    named = _pictures_named(corpus, places)
    gain: npt.NDArray[np.float64] = _FOR_TEN_TIMES * np.log10(np.maximum(named, 1e-3) / _USUAL_PICTURES)
    shown: npt.NDArray[np.float64] = np.where(named < _FEWEST_PICTURES, -np.inf, np.minimum(gain, _MOST_FOR_PICTURES))
    related = _Related(wordnet)
    found: dict[str, str] = {}
    for word, vector in zip(vocabulary.words[len(captioned) :], vocabulary.vectors[len(captioned) :], strict=True):
        cosines = vocabulary.vectors[: len(captioned)] @ vector
        links = np.zeros(len(captioned), np.float32)
        for name, link in related.of(word).items():
            if name in places:
                links[places[name]] = link
        nearness = np.where(cosines >= _LEAST_COSINE, cosines + links + shown, -np.inf)
        best = int(np.argmax(nearness))
        near = nearness[best] >= (_NEAR if links[best] >= _LEAST_LINK else _NEAR_ALONE)
        found[word] = captioned[best] if near else UNKNOWN_WORD
    return found


def _pictures_named(corpus: Corpus, places: Mapping[str, int]) -> npt.NDArray[np.float64]:
    """How many pictures of training each word names, in pictures that are shown as often as noto's cat."""
    often: dict[str, float] = defaultdict(float)
    for entry in corpus.entries:
        if entry.trained:
            often[entry.concept] += weight(entry.set, corpus.concepts[entry.concept])
    named = np.zeros(len(places))
    for concept, pictures in often.items():
        for word, share in subject_words(corpus.concepts[concept]).items():
            if word in places:
                named[places[word]] += pictures * share
    return named
