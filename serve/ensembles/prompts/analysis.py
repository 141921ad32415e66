"""`PromptAnalyser`: what a prompt asks for (C-030 to C-035), by rules on the vocabularies of ``deployments/prompts``.

Concepts, mood and sentiment are judged by a text engine as well, where there is one. It is a pure function of the text:
no clock, no state. A prompt of 60 words takes about a millisecond.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serve.ensembles.prompts.sentiment import SENTIMENTS, Sentiment, sentiment_of
from serve.ensembles.prompts.text_engine import Judgement, TextEngine
from serve.ensembles.prompts.vocabulary import FOLDER, KEYWORDS, Match, Term, Vocabulary, split

SERVED_BY = "rules"
"""What analyses without a text engine."""
SERVED_BY_BOTH = "rules and text engine"
MOODS = ("peaceful", "dramatic", "mysterious", "playful", "ethereal")
"""C-034."""
CONCEPTS = ("nature", "urban", "fantasy", "sci-fi", "portrait", "abstract")
"""C-033."""
MAX_PALETTE = 6
MAX_SUGGESTIONS = 5
EMBEDDING_SIZE = 64
CACHED_ANALYSES = 2048
MAX_CACHED_CHARACTERS = 2000
MIN_CONCEPT = 0.4
"""Probability from which a text engine's concept counts."""
MIN_MOOD = 0.3
"""Below this probability a prompt has no mood."""
_MOOD_HINTS = {"lighting": 0.35, "styles": 0.25, "textures": 0.3}
"""What a word of another category counts for the first mood that it suits, where a mood's own word counts 1."""
_MAX_MOOD_EXPONENT = 20.0
"""Hundreds of words of one mood would overflow the exponential."""
_MOODS_OF_SENTIMENT = {"+": {"playful": 0.45, "peaceful": 0.15}, "-": {"mysterious": 0.5, "dramatic": 0.25}}
_UNCERTAIN = {"textures": 0.8, "compositions": 0.85, "lighting": 0.9, "moods": 0.85, "styles": 0.9, "colors": 0.95}
"""Confidence of a single word of a category; the prompts that the tables are measured on give these."""


@dataclass(frozen=True)
class Keyword:
    """``text`` as the prompt has it; ``name`` is the vocabulary's."""

    name: str
    text: str
    language: str
    confidence: float


@dataclass(frozen=True)
class Swatch:
    """A colour: ``source`` says where it comes from (a colour word, a thing, a mood, light or a concept)."""

    hex: str
    name: str
    source: str


@dataclass(frozen=True)
class Suggestion:
    style: str
    phrase: str
    reason: str
    confidence: float


@dataclass(frozen=True)
class Scored:
    name: str
    confidence: float


@dataclass(frozen=True)
class Analysis:
    """``excluded``: keywords that the prompt negates ("no red")."""

    prompt: str
    language: str | None
    sentiment: Sentiment
    keywords: Mapping[str, Sequence[Keyword]]
    excluded: Sequence[Keyword]
    concepts: Sequence[Scored]
    mood: Scored | None
    moods: Mapping[str, float]
    objects: Sequence[Keyword]
    palette: Sequence[Swatch]
    styles: Sequence[Suggestion]
    word_count: int
    served_by: str = SERVED_BY

    def names(self, category: str) -> list[str]:
        return [keyword.name for keyword in self.keywords[category]]

    def flat_keywords(self) -> str:
        """All keywords, for search."""
        names = [name for category in KEYWORDS for name in self.names(category)]
        return " ".join([*names, *(one.name for one in self.objects), *(one.name for one in self.concepts)])


class PromptAnalyser:
    """For one process; the last analyses are kept, since a page asks for the same prompt again and again."""

    def __init__(self, folder: Path = FOLDER, engine: TextEngine | None = None) -> None:
        """Raises InvalidRequest for vocabularies that cannot be used."""
        self.vocabulary = Vocabulary.read(folder)
        self.engine = engine
        self._cached = lru_cache(CACHED_ANALYSES)(self._analyse)

    def analyse(self, prompt: str) -> Analysis:
        """May be called in several threads."""
        return self._cached(prompt) if len(prompt) <= MAX_CACHED_CHARACTERS else self._analyse(prompt)

    def _analyse(self, prompt: str) -> Analysis:
        words = split(prompt)
        matches = self.vocabulary.matches(words)
        wanted = [match for match in matches if not match.negated]
        keywords = {category: _keywords(wanted, category) for category in KEYWORDS}
        unwanted = [match for match in matches if match.negated and match.term.category != "concepts"]
        sentiment = sentiment_of(words)
        moods = self._moods(wanted, sentiment)
        concepts = self._concepts(wanted)
        served_by = SERVED_BY
        if self.engine is not None:
            judgement = self.engine.judge(words.text, rule_features(concepts, moods, sentiment.score))
            if judgement is not None:
                served_by = SERVED_BY_BOTH
                concepts, moods, sentiment = _combined(judgement, sentiment)
        best = max(moods, key=lambda name: moods[name])
        mood = Scored(best, moods[best]) if moods[best] >= MIN_MOOD else None
        return Analysis(
            prompt=prompt,
            language=words.language,
            sentiment=sentiment,
            keywords=keywords,
            excluded=[_keyword(match) for match in unwanted],
            concepts=concepts,
            mood=mood,
            moods=moods,
            objects=_keywords(wanted, "objects"),
            palette=self._palette(wanted, mood, concepts),
            styles=self._suggest(keywords["styles"], concepts, mood),
            word_count=len(words.words),
            served_by=served_by,
        )

    def _moods(self, matches: Sequence[Match], sentiment: Sentiment) -> dict[str, float]:
        """Probabilities; what is missing to 1 is that the prompt has no mood."""
        weights = dict.fromkeys(MOODS, 0.0)
        for match in matches:
            facts, category = match.term.facts, match.term.category
            if category == "moods":
                weights[facts["mood"]] += 1.0 if match.term.name == facts["mood"] else 0.75
            else:
                for place, mood in enumerate(facts.get("moods", ())):
                    weights[mood] += _MOOD_HINTS.get(category, 0.0) / (1 + place)
        for mood, weight in _MOODS_OF_SENTIMENT["+" if sentiment.score > 0 else "-"].items():
            weights[mood] += weight * abs(sentiment.score)
        powers = {mood: math.exp(min(2.2 * weight, _MAX_MOOD_EXPONENT)) - 1.0 for mood, weight in weights.items()}
        total = 3.0 + sum(powers.values())
        return {mood: power / total for mood, power in powers.items()}

    def _concepts(self, matches: Sequence[Match]) -> list[Scored]:
        """Those with evidence, most certain first."""
        weights = dict.fromkeys(CONCEPTS, 0.0)
        seen: set[tuple[str, int]] = set()
        for match in matches:
            term = match.term
            concept = term.name if term.category == "concepts" else term.facts.get("concept")
            if concept in weights and (concept, match.start) not in seen:
                seen.add((concept, match.start))
                weights[concept] += 1.0 if term.category == "concepts" else 0.7
            elif term.category == "styles" and term.name in ("abstract", "geometric", "cyberpunk"):
                weights["sci-fi" if term.name == "cyberpunk" else "abstract"] += 0.8
        found = [Scored(name, 1.0 - math.exp(-1.1 * weight)) for name, weight in weights.items() if weight >= 0.5]
        return sorted(found, key=lambda one: -one.confidence)

    def _palette(self, matches: Sequence[Match], mood: Scored | None, concepts: Sequence[Scored]) -> list[Swatch]:
        """Colours that the prompt names, then those of its things, its light, its mood and its concept."""
        swatches: dict[str, Swatch] = {}

        def add(term: Term, source: str, most: int) -> None:
            for colour in ([term.facts["hex"]] if "hex" in term.facts else term.facts.get("colors", ()))[:most]:
                if len(swatches) < MAX_PALETTE:
                    swatches.setdefault(colour, Swatch(colour, term.name, source))

        for category, source in (("colors", "word"), ("objects", "thing"), ("lighting", "light")):
            for match in matches:
                if match.term.category == category:
                    add(match.term, source, 2)
        if mood is not None and len(swatches) < MAX_PALETTE - 1:
            add(self.vocabulary.terms["moods"][mood.name], "mood", 3)
        if concepts and len(swatches) < MAX_PALETTE - 2:
            add(self.vocabulary.terms["concepts"][concepts[0].name], "concept", 3)
        return list(swatches.values())

    def _suggest(self, there: Sequence[Keyword], concepts: Sequence[Scored], mood: Scored | None) -> list[Suggestion]:
        present = {keyword.name for keyword in there}
        found = []
        for name, term in self.vocabulary.terms["styles"].items():
            if name in present:
                continue
            suited = [one for one in concepts if one.name in term.facts.get("concepts", ())]
            by_mood = mood is not None and mood.name in term.facts.get("moods", ())
            score = 0.5 * max((one.confidence for one in suited), default=0.0)
            score += 0.4 * mood.confidence if mood is not None and by_mood else 0.0
            if score > 0.2:
                reasons = [f"suits {suited[0].name}"] if suited else []
                reasons += [f"fits a {mood.name} mood"] if mood is not None and by_mood else []
                found.append(Suggestion(name, str(term.facts["phrase"]), " and ".join(reasons), score))
        return sorted(found, key=lambda one: -one.confidence)[:MAX_SUGGESTIONS]

    def embed(self, prompt: str) -> NDArray[np.float32]:
        """A unit vector of `EMBEDDING_SIZE`: the analysis of ``prompt``, its terms hashed. Similar prompts are near."""
        analysis = self.analyse(prompt)
        vector = np.zeros(EMBEDDING_SIZE, np.float32)
        for place, concept in enumerate(CONCEPTS):
            vector[place] = 1.5 * next((one.confidence for one in analysis.concepts if one.name == concept), 0.0)
        for place, mood in enumerate(MOODS):
            vector[len(CONCEPTS) + place] = analysis.moods[mood]
        first = len(CONCEPTS) + len(MOODS)
        for category in (*KEYWORDS, "objects"):
            known = list(self.vocabulary.terms[category])
            offset = 7 * CATEGORY_OFFSETS[category]
            for keyword in analysis.objects if category == "objects" else analysis.keywords[category]:
                vector[first + (offset + known.index(keyword.name)) % (EMBEDDING_SIZE - first)] += 0.5
        norm = float(np.linalg.norm(vector))
        return vector / norm if norm else vector


def rule_features(concepts: Sequence[Scored], moods: Mapping[str, float], score: float) -> list[float]:
    """What the rules found, as a text engine takes it."""
    found = {one.name: one.confidence for one in concepts}
    return [*(found.get(name, 0.0) for name in CONCEPTS), *(moods[name] for name in MOODS), score, abs(score)]


def _combined(judgement: Judgement, sentiment: Sentiment) -> tuple[list[Scored], dict[str, float], Sentiment]:
    """Concepts, moods and sentiment by both; evidence and score of the sentiment stay those of the rules."""
    concepts = [Scored(name, float(p)) for name, p in zip(CONCEPTS, judgement.concepts, strict=True) if p > MIN_CONCEPT]
    moods = {name: float(p) for name, p in zip(MOODS, judgement.moods, strict=True)}
    scores = {name: float(p) for name, p in zip(SENTIMENTS, judgement.sentiments, strict=True)}
    label = max(scores, key=lambda name: scores[name])
    changed = replace(sentiment, label=label, confidence=scores[label], scores=scores)
    return sorted(concepts, key=lambda one: -one.confidence), moods, changed


CATEGORY_OFFSETS = {category: place for place, category in enumerate((*KEYWORDS, "objects"))}


def _keywords(matches: Sequence[Match], category: str) -> list[Keyword]:
    found: dict[str, Keyword] = {}
    for match in matches:
        if match.term.category == category:
            found.setdefault(match.term.name, _keyword(match))
    return list(found.values())


def _keyword(match: Match) -> Keyword:
    confidence = _UNCERTAIN.get(match.term.category, 0.9)
    if match.end - match.start > 1:
        confidence = min(0.98, confidence + 0.1)
    return Keyword(match.term.name, match.text, match.form.language, confidence)


def to_json(analysis: Analysis) -> dict[str, Any]:
    """As the API and the history have it, confidences to three places."""

    def scored(one: Scored) -> dict[str, Any]:
        return {"name": one.name, "confidence": round(one.confidence, 3)}

    def keyword(one: Keyword) -> dict[str, Any]:
        return {"name": one.name, "text": one.text, "language": one.language, "confidence": round(one.confidence, 3)}

    sentiment = analysis.sentiment
    return {
        "language": analysis.language,
        "sentiment": {
            "label": sentiment.label,
            "confidence": round(sentiment.confidence, 3),
            "scores": {name: round(value, 3) for name, value in sentiment.scores.items()},
            "evidence": [{"text": text, "strength": value} for text, value in sentiment.evidence.items()],
        },
        "keywords": {name: [keyword(one) for one in found] for name, found in analysis.keywords.items()},
        "excluded": [keyword(one) for one in analysis.excluded],
        "objects": [keyword(one) for one in analysis.objects],
        "concepts": [scored(one) for one in analysis.concepts],
        "mood": None if analysis.mood is None else scored(analysis.mood),
        "moods": {name: round(value, 3) for name, value in analysis.moods.items()},
        "palette": [{"hex": one.hex, "name": one.name, "source": one.source} for one in analysis.palette],
        "style_suggestions": [
            {"style": one.style, "phrase": one.phrase, "reason": one.reason, "confidence": round(one.confidence, 3)}
            for one in analysis.styles
        ],
        "word_count": analysis.word_count,
        "served_by": analysis.served_by,
    }
