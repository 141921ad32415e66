"""Word vectors of nine languages in one space, small enough to be shipped.

English ones are GloVe's, of the commonest words that WordNet has too: no names, no numbers. Words of other languages
lie at the mean of the English names and tags of the emoji that they name (npm package ``emojibase-data``, from
Unicode's CLDR).
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from build_engines.data.packages import install, path_of, read_json
from build_engines.mini.corpus.sets import EMOJIBASE, VECTORS, WORD_SOURCES, WORDNET
from build_engines.mini.corpus.vectors import lemmas_of
from serve.ensembles.prompts.vocabulary import LANGUAGES, split

DIMENSIONS = 32
COMMON, OTHERS = 40_000, 4_000
"""The commonest English words that are looked at, and the words of other languages that are kept."""
_WITHOUT_SPACES = ("zh", "ja")
"""Languages whose texts are no words yet: rules alone read them."""
_COMMONNESS = 2000
"""A word of this rank weighs as much as any rarer one."""
_ENDINGS = (("", ""), ("s", ""), ("es", ""), ("ies", "y"), ("ing", ""), ("ing", "e"), ("ed", ""), ("d", ""))
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Words:
    """``vectors``: (len(words), DIMENSIONS), unit; ``weights``: what a word counts in a text, from 0 to 1."""

    words: tuple[str, ...]
    vectors: Floats
    weights: Floats


def download(folder: Path) -> list[dict[str, str]]:
    """Installs the packages below ``folder``; returns what they are, for the manifest."""
    sources = [one for one in WORD_SOURCES if one.package in (EMOJIBASE, VECTORS, WORDNET)]
    if not all(path_of(folder, one.package).is_dir() for one in sources):
        install(folder, [f"{one.package}@{one.version}" for one in sources])
    return [{"package": one.package, "version": one.version, "license": one.license} for one in sources]


def read_words(folder: Path) -> Words:
    stored = json.loads((path_of(folder, VECTORS) / f"{VECTORS}.json").read_text())
    english = [word for word in stored["words"][:COMMON] if re.fullmatch(r"[^\W\d_]{2,}", word)]
    table = np.asarray([stored["vectors"][word][:100] for word in english], np.float32)
    table = _unit(np.asarray(table - table.mean(axis=0), np.float32))
    lemmas = lemmas_of(path_of(folder, WORDNET) / "dict")
    kept = [place for place, word in enumerate(english) if _is_known(word, lemmas)]
    others = _others(folder, {word: place for place, word in enumerate(english)}, table)[:OTHERS]
    vectors = np.concatenate([table[kept], np.asarray([vector for _, vector in others], np.float32)])
    _, _, axes = np.linalg.svd(table, full_matrices=False)
    weights = np.sqrt(np.minimum(1.0, np.asarray(kept) / _COMMONNESS))
    return Words(
        (*(english[place] for place in kept), *(word for word, _ in others)),
        _unit(np.asarray(vectors @ axes[:DIMENSIONS].T, np.float32)),
        np.concatenate([weights, np.ones(len(others))]).astype(np.float32),
    )


def _is_known(word: str, lemmas: Collection[str]) -> bool:
    return any(word.endswith(end) and word[: len(word) - len(end)] + other in lemmas for end, other in _ENDINGS)


def _others(folder: Path, places: dict[str, int], table: Floats) -> list[tuple[str, Floats]]:
    """Words of other languages with their vectors, those that name the most emoji first."""
    means = {one["hexcode"]: _mean(one, places, table) for one in read_json(folder, EMOJIBASE, "en/data.json")}
    named: defaultdict[str, list[Floats]] = defaultdict(list)
    for language in LANGUAGES:
        if language in ("en", *_WITHOUT_SPACES):
            continue
        for one in read_json(folder, EMOJIBASE, f"{language}/data.json"):
            mean = means.get(one["hexcode"])
            if mean is None:
                continue
            for word in {word for text in (one["label"], *one.get("tags", ())) for word in split(text).words}:
                if word not in places:
                    named[word].append(mean)
    counts = Counter({word: len(vectors) for word, vectors in named.items()})
    ordered = sorted(counts, key=lambda word: (-counts[word], word))
    return [(word, np.mean(named[word], axis=0)) for word in ordered]


def _mean(one: dict[str, object], places: dict[str, int], table: Floats) -> Floats | None:
    """Of the English words of an emoji; its label counts twice."""
    tags = one.get("tags", ())
    texts = [str(one["label"])] * 2 + [str(tag) for tag in (tags if isinstance(tags, list) else ())]
    rows = [places[word] for text in texts for word in split(text).words if word in places]
    return np.asarray(table[rows].mean(axis=0), np.float32) if rows else None


def _unit(table: Floats) -> Floats:
    return np.asarray(table / np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-6), np.float32)
