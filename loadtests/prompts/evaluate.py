"""Precision, recall and F1 of the analysis on labelled prompts, and the calibration of its confidence."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from build_engines.text.labelled import Labelled, halves, read
from serve.ensembles.prompts.analysis import Analysis, PromptAnalyser
from serve.ensembles.prompts.sentiment import Calibration, probabilities
from serve.ensembles.prompts.text_engine import TextEngine
from serve.ensembles.prompts.vocabulary import KEYWORDS

__all__ = ["calibration", "evaluate", "fit", "halves", "read", "times_ms"]

BINS = 5


@dataclass(frozen=True)
class Score:
    name: str
    precision: float
    recall: float
    f1: float
    labels: int


def score(name: str, pairs: Sequence[tuple[Collection[str], Collection[str]]]) -> Score:
    """Micro-averaged over (labelled, found) sets."""
    hits = sum(len(set(truth) & set(found)) for truth, found in pairs)
    labels, claimed = sum(len(truth) for truth, _ in pairs), sum(len(found) for _, found in pairs)
    precision, recall = hits / claimed if claimed else 0.0, hits / labels if labels else 0.0
    return Score(name, precision, recall, 2 * hits / (labels + claimed) if labels + claimed else 0.0, labels)


def evaluate(prompts: Sequence[Labelled], analyse: Callable[[str], Analysis]) -> list[Score]:
    """Of each category of keywords, of concepts, of the mood, of the sentiment."""
    done = [(one, analyse(one.prompt)) for one in prompts]
    scores = [score(kind, [(one.keywords[kind], got.names(kind)) for one, got in done]) for kind in KEYWORDS]
    scores.append(score("concepts", [(one.concepts, [each.name for each in got.concepts]) for one, got in done]))
    moods = [([one.mood] if one.mood else [], [got.mood.name] if got.mood else []) for one, got in done]
    return [
        *scores,
        score("mood", moods),
        score("sentiment", [([one.sentiment], [got.sentiment.label]) for one, got in done]),
    ]


@dataclass(frozen=True)
class Bin:
    """Prompts whose confidence is in one range: its mean, and the share that is right."""

    low: float
    count: int
    confidence: float
    accuracy: float


def calibration(prompts: Sequence[Labelled], analyse: Callable[[str], Analysis]) -> tuple[list[Bin], float]:
    """By confidence, and the expected calibration error of the sentiment."""
    pairs = [(got.confidence, got.label == one.sentiment) for one in prompts for got in [analyse(one.prompt).sentiment]]
    bins = []
    for place in range(BINS):
        low = 1 / 3 + place * (2 / 3) / BINS
        high = low + (2 / 3) / BINS + (1e-9 if place == BINS - 1 else 0)
        part = [pair for pair in pairs if low <= pair[0] < high]
        if part:
            share = sum(right for _, right in part) / len(part)
            bins.append(Bin(low, len(part), sum(confidence for confidence, _ in part) / len(part), share))
    error = sum(one.count * abs(one.confidence - one.accuracy) for one in bins) / len(pairs)
    return bins, error


def fit(prompts: Sequence[Labelled], analyse: Callable[[str], Analysis]) -> tuple[Calibration, float]:
    """The calibration with the least log loss on ``prompts``, by a grid; and that loss."""
    known = [(analyse(one.prompt).sentiment.score, one.sentiment) for one in prompts]
    best: tuple[float, Calibration] | None = None
    for slope in (value / 20 for value in range(4, 61)):
        for neutral in (value / 10 for value in range(-10, 26)):
            for offset in (-0.3, -0.2, -0.1, 0.0, 0.1, 0.2, 0.3):
                one = Calibration(slope, neutral, offset)
                loss = -sum(math.log(max(1e-9, probabilities(s, one)[label])) for s, label in known) / len(known)
                if best is None or loss < best[0]:
                    best = (loss, one)
    assert best is not None
    return best[1], best[0]


def times_ms(prompts: Sequence[Labelled], engine: TextEngine | None, repeats: int = 5) -> list[float]:
    """Sorted, of analyses without the cache, in processor time."""
    analyser, taken = PromptAnalyser(engine=engine), []
    analyser.analyse("a fox")
    for _ in range(repeats):
        for one in prompts:
            started = time.thread_time()
            analyser._analyse(one.prompt)
            taken.append(1000 * (time.thread_time() - started))
    return sorted(taken)
