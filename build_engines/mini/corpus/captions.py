"""Captions as people write prompts: "a sleeping cat, flat style", "cute orange fox", "food: slice of pizza".

One concept has many: its label, other names, tags, more general words; with or without an adjective, a colour, a
phrase such as "a drawing of", a style. Words of ``holdout.WORDS`` never occur.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from build_engines.mini.colours import COLOURS
from build_engines.mini.corpus.concepts import Concept
from build_engines.mini.corpus.holdout import WORDS
from build_engines.mini.corpus.pictures import Entry
from build_engines.mini.corpus.sets import SETS, SOLID
from build_engines.mini.corpus.words import words_of
from build_engines.mini.tokenizer import UNKNOWN_WORD

ADJECTIVES = tuple(
    words_of(
        "cute little small big simple nice funny happy beautiful pretty cool lovely friendly tiny cartoon "
        "colorful colourful single modern classic"
    )
)
"""Words that people write and that no picture of the corpus shows by itself."""
PHRASES = ("drawing of", "picture of", "icon of", "emoji of", "illustration of", "image of", "clipart of", "sticker of")
ENDINGS = ("icon", "emoji", "illustration", "drawing", "logo", "on white background", "on transparent background")
_STYLES = {s.name: s for s in SETS}


@dataclass(frozen=True)
class CaptionRule:
    """Shares of captions that leave something out or add something."""

    empty: float = 0.10
    styleless: float = 0.25
    unknown_word: float = 0.02
    own_colour: float = 0.25
    adjective: float = 0.15
    phrase: float = 0.10
    ending: float = 0.06
    variety: float = 1.0
    """How often another name, tags or a kind stand for the label or beside it, of how often they usually do."""


CURATED = CaptionRule(styleless=0.4, unknown_word=0.0, own_colour=0.35, adjective=0.1, phrase=0.05, variety=0.4)
"""Mostly the plain name of what is shown."""


class CaptionWriter:
    """Writes captions for training, and the plain one that names everything."""

    def __init__(self, concepts: dict[str, Concept], rule: CaptionRule | None = None) -> None:
        self.rule = rule or CaptionRule()
        self._subjects = {key: _Subjects.of(concept) for key, concept in concepts.items()}

    def plain(self, entry: Entry, colour: str | None = None) -> str:
        """Label and style: "blue cat face, noto"."""
        return f"{colour + ' ' if colour else ''}{self._subjects[entry.concept].label}, {_style_words(entry)[0]}"

    def write(self, rng: np.random.Generator, entry: Entry, colour: str | None) -> str:
        """``colour``: of a recoloured picture."""
        rule = self.rule
        chance = rng.random(6)
        if chance[0] < rule.empty:
            return ""
        body = self._subjects[entry.concept].pick(rng, rule.variety)
        if colour is None and chance[1] < rule.own_colour:
            colour = entry.own_colour
        before = [str(rng.choice(ADJECTIVES))] if chance[2] < rule.adjective else []
        before += [colour] if colour else []
        body = " ".join([*before, body])
        if chance[3] < rule.phrase:
            body = f"{PHRASES[int(rng.integers(len(PHRASES)))]} {body}"
        if chance[4] < rule.ending:
            body = f"{body} {ENDINGS[int(rng.integers(len(ENDINGS)))]}"
        words = body.split()
        if words and chance[5] < rule.unknown_word:
            words[int(rng.integers(len(words)))] = UNKNOWN_WORD
            body = " ".join(words)
        return body if rng.random() < rule.styleless else _styled(rng, body, entry)


@dataclass(frozen=True)
class _Subjects:
    """What one concept is called, without the words that are held out."""

    label: str
    names: tuple[str, ...]
    tags: tuple[str, ...]
    kinds: tuple[str, ...]

    @staticmethod
    def of(concept: Concept) -> _Subjects:
        label = _plain(concept.label)
        label = " ".join(w for w in label.split() if w not in WORDS)
        tags = tuple(
            t for t in _allowed(concept.tags) if not set(t.split()) <= set(label.split()) or len(label.split()) > 1
        )
        names = _allowed(concept.names)
        label = label or next(iter((*names, *tags)), "")  # where the whole label is held out
        return _Subjects(label, names, tags, _allowed(concept.kinds))

    def pick(self, rng: np.random.Generator, variety: float = 1.0) -> str:
        at = rng.random() / variety
        if at < 0.15 and self.names:
            return str(rng.choice(self.names))
        if at < 0.30 and self.tags:
            tags = [str(t) for t in rng.permutation(self.tags)[: int(rng.integers(1, 4))]]
            return " ".join(tags)
        if at < 0.42 and self.tags:
            tag = str(rng.choice(self.tags))
            return self.label if tag in self.label.split() else f"{self.label} {tag}"
        if at < 0.50 and self.kinds:
            kind = str(rng.choice(self.kinds))
            return f"{kind}: {self.label}" if rng.random() < 0.75 else kind
        if at < 0.54 and len(self.label.split()) > 1:
            return _shortened(rng, self.label)
        return self.label


def subject_words(concept: Concept) -> dict[str, float]:
    """How well each word of the captions' subjects names the concept: 1 for its label alone, less for a part of a
    label or of another name."""
    subjects = _Subjects.of(concept)
    found: dict[str, float] = {}
    *before, last = subjects.label.split() or [""]
    shares = [(last, 0.5 if before else 1.0), *((word, 0.2) for word in before)]
    for phrases, share in ((subjects.names, 0.3), (subjects.tags, 0.25)):
        shares += [(word, share / len(phrases) / len(p.split())) for p in phrases for word in p.split()]
    for word, share in shares:
        found[word] = max(found.get(word, 0.0), share)
    return found


def _shortened(rng: np.random.Generator, label: str) -> str:
    words = label.split()
    del words[int(rng.integers(len(words)))]
    return " ".join(words)


def _plain(phrase: str) -> str:
    """As the tokenizer splits it: hyphens part words."""
    return " ".join(words_of(phrase.replace("-", " ")))


def _allowed(phrases: Iterable[str]) -> tuple[str, ...]:
    cleaned = map(_plain, phrases)
    return tuple(p for p in dict.fromkeys(cleaned) if p and not set(p.split()) & WORDS)


def _style_words(entry: Entry) -> tuple[str, ...]:
    """The words that name the look of an icon, the set's own first; those of a solid twin all say so."""
    known = _STYLES[entry.set]
    if entry.solid:
        return (f"{known.style} {SOLID}", SOLID)
    return (known.style, *known.looks)


def _styled(rng: np.random.Generator, body: str, entry: Entry) -> str:
    own, *looks = _style_words(entry)
    style = str(rng.choice(looks)) if looks and rng.random() < 0.25 else own
    form = rng.random()
    if form < 0.55:
        return f"{body}, {style}"
    if form < 0.80:
        return f"{body}, {style} style"
    return f"{body} in {style} style" if form < 0.92 else f"{style} {body}"


def caption_words(concepts: Sequence[Concept]) -> list[str]:
    """Every word that a caption can hold, sorted."""
    found = set(ADJECTIVES) | set(COLOURS) | {SOLID, "style", "in"}
    for phrase in (*PHRASES, *ENDINGS, *(s.style for s in SETS), *(look for s in SETS for look in s.looks)):
        found |= set(words_of(phrase))
    for concept in concepts:
        subjects = _Subjects.of(concept)
        for phrase in (subjects.label, *subjects.names, *subjects.tags, *subjects.kinds):
            found |= set(phrase.split())
    return sorted(found)
