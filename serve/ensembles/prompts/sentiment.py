"""Sentiment of a prompt: words with strengths, negations and intensifiers, and probabilities that are calibrated.

The score s is the sum of strengths v, squashed to s = sum / sqrt(sum² + 4). The three classes have the logits
(slope·s + offset, neutral, -slope·s - offset), scaled so that a score of zero is neutral; slope, neutral and offset are
fitted on labelled prompts (`deployments/prompts/sentiment.toml`), so that a confidence of 0.8 is right 8 times in 10.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from serve.ensembles.prompts.vocabulary import FOLDER, Form, Match, Term, Vocabulary, Words, modifiers, read_table

POSITIVE, NEUTRAL, NEGATIVE = "positive", "neutral", "negative"
SENTIMENTS = (POSITIVE, NEUTRAL, NEGATIVE)
STRONGER, WEAKER, NEGATED = 1.5, 0.5, -0.6


@dataclass(frozen=True)
class Calibration:
    slope: float
    neutral: float
    offset: float


@dataclass(frozen=True)
class Sentiment:
    """``scores`` are probabilities by class; ``evidence`` the words that decided, with their strengths."""

    label: str
    confidence: float
    scores: Mapping[str, float]
    evidence: Mapping[str, float]
    score: float


@cache
def _lexicon() -> Vocabulary:
    forms = []
    terms: dict[str, Term] = {}
    for strength, text in read_table(FOLDER / "sentiment.toml")["words"].items():
        term = terms[strength] = Term("sentiment", strength)
        for one in text.split(","):
            words = tuple(one.strip().rstrip("*").split())
            if words:
                forms.append(Form(term, "en", words, one.strip().endswith("*")))
    return Vocabulary({"sentiment": terms}, forms)


@cache
def calibration() -> Calibration:
    return Calibration(**read_table(FOLDER / "sentiment.toml")["calibration"])


def sentiment_of(words: Words, known: Calibration | None = None) -> Sentiment:
    evidence: dict[str, float] = {}
    total = 0.0
    for match in _lexicon().matches(words):
        strength = _strength(match, words)
        evidence[match.text] = evidence.get(match.text, 0.0) + strength
        total += strength
    score = total / math.sqrt(total * total + 4.0)
    scores = probabilities(score, known or calibration())
    label = max(scores, key=lambda name: scores[name])
    return Sentiment(label, scores[label], scores, evidence, score)


def _strength(match: Match, words: Words) -> float:
    """Its strength, as the words before it change it: "very", "slightly", "not"."""
    strength = float(match.term.name)
    for size in (1, 2):
        before = words.words[max(0, match.start - size) : match.start]
        if before in modifiers()["stronger"]:
            strength *= STRONGER
        elif before in modifiers()["weaker"]:
            strength *= WEAKER
    return strength * NEGATED if match.negated else strength


def probabilities(score: float, known: Calibration) -> dict[str, float]:
    signal = 3.0 * known.slope * score + known.offset
    logits = {POSITIVE: signal, NEUTRAL: known.neutral, NEGATIVE: -signal}
    largest = max(logits.values())
    powers = {name: math.exp(value - largest) for name, value in logits.items()}
    total = sum(powers.values())
    return {name: value / total for name, value in powers.items()}
