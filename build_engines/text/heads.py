"""The heads of a text engine: logits of concepts, mood and sentiment, linear in an encoder's vector and in what the
rules found, fitted together on the labelled prompts that are for fitting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from build_engines.text.labelled import Labelled
from serve.ensembles.prompts.analysis import CONCEPTS, MIN_CONCEPT, MIN_MOOD, MOODS, PromptAnalyser, rule_features
from serve.ensembles.prompts.sentiment import SENTIMENTS
from serve.ensembles.prompts.text_engine import (
    CONCEPT_LOGITS,
    LOGITS,
    MOOD_LOGITS,
    RULES,
    SENTIMENT_LOGITS,
    Judgement,
    judged,
)

PENALTIES = (1e-3, 2e-3, 3e-3)
"""Of squared weights; the one with the least loss in cross-validation is taken."""
FOLDS = 5
STEPS = 100
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Heads:
    """Logits are ``vectors @ encoder + rules @ rules_matrix + bias``."""

    encoder: Floats
    rules: Floats
    bias: Floats

    def judge(self, vectors: Floats, rules: Floats) -> list[Judgement]:
        return [judged(row.astype(np.float64)) for row in vectors @ self.encoder + rules @ self.rules + self.bias]


@dataclass(frozen=True)
class Quality:
    """F1 of concepts and mood, accuracy and expected calibration error of the sentiment."""

    concepts: float
    mood: float
    sentiment: float
    calibration_error: float

    def rounded(self) -> dict[str, float]:
        return {name: round(value, 4) for name, value in asdict(self).items()}


def rules_of(prompts: Sequence[Labelled]) -> Floats:
    """(len(prompts), RULES), by the rules alone."""
    analyser = PromptAnalyser()
    found = [analyser.analyse(one.prompt) for one in prompts]
    rows = [rule_features(one.concepts, one.moods, one.sentiment.score) for one in found]
    return np.asarray(rows, np.float32)


def by_rules(prompts: Sequence[Labelled]) -> list[Judgement]:
    """What the rules alone decide."""
    analyser, made = PromptAnalyser(), []
    for one in prompts:
        found = analyser.analyse(one.prompt)
        concepts = {concept.name: concept.confidence for concept in found.concepts}
        rows = [[concepts.get(name, 0.0) for name in CONCEPTS], [found.moods[name] for name in MOODS]]
        rows.append([found.sentiment.scores[name] for name in SENTIMENTS])
        made.append(Judgement(*(np.asarray(row, np.float64) for row in rows)))
    return made


def fit(vectors: Floats, rules: Floats, prompts: Sequence[Labelled]) -> tuple[Heads, float]:
    """The heads, and the penalty that cross-validation has chosen."""
    torch.set_num_threads(1)
    folds = np.arange(len(prompts)) % FOLDS
    losses = {}
    for penalty in PENALTIES:
        total = 0.0
        for fold in range(FOLDS):
            kept, left = folds != fold, folds == fold
            heads = _fitted(vectors[kept], rules[kept], [p for p, k in zip(prompts, kept, strict=True) if k], penalty)
            logits = torch.from_numpy(vectors[left] @ heads.encoder + rules[left] @ heads.rules + heads.bias)
            total += float(_loss(logits, *_targets([p for p, k in zip(prompts, left, strict=True) if k])))
        losses[penalty] = total
    best = min(losses, key=lambda penalty: losses[penalty])
    return _fitted(vectors, rules, prompts, best), best


def _fitted(vectors: Floats, rules: Floats, prompts: Sequence[Labelled], penalty: float) -> Heads:
    inputs = torch.from_numpy(np.concatenate([vectors, rules], axis=1))
    weights = torch.zeros(inputs.shape[1], LOGITS, requires_grad=True)
    bias = torch.zeros(LOGITS, requires_grad=True)
    targets = _targets(prompts)
    optimizer = torch.optim.LBFGS([weights, bias], max_iter=STEPS, line_search_fn="strong_wolfe")

    def closure() -> float:
        optimizer.zero_grad()
        loss = _loss(inputs @ weights + bias, *targets) + penalty * weights.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    found = weights.detach().numpy()
    return Heads(found[:-RULES], found[-RULES:], bias.detach().numpy())


def _targets(prompts: Sequence[Labelled]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    concepts = [[name in one.concepts for name in CONCEPTS] for one in prompts]
    moods = [0 if one.mood is None else 1 + MOODS.index(one.mood) for one in prompts]
    sentiments = [SENTIMENTS.index(one.sentiment) for one in prompts]
    return torch.tensor(concepts, dtype=torch.float32), torch.tensor(moods), torch.tensor(sentiments)


def _loss(logits: torch.Tensor, concepts: torch.Tensor, moods: torch.Tensor, sentiments: torch.Tensor) -> torch.Tensor:
    of_concepts = F.binary_cross_entropy_with_logits(logits[:, CONCEPT_LOGITS], concepts, reduction="none").sum(1)
    of_mood = F.cross_entropy(logits[:, MOOD_LOGITS], moods)
    return of_concepts.mean() + of_mood + F.cross_entropy(logits[:, SENTIMENT_LOGITS], sentiments)


def quality(judgements: Sequence[Judgement], prompts: Sequence[Labelled]) -> Quality:
    """As an analysis decides by them."""
    pairs: dict[str, list[tuple[frozenset[str], frozenset[str]]]] = {"concepts": [], "mood": []}
    sentiments = []
    for one, got in zip(prompts, judgements, strict=True):
        concepts = frozenset(n for n, p in zip(CONCEPTS, got.concepts, strict=True) if p > MIN_CONCEPT)
        best = int(got.moods.argmax())
        mood = frozenset([MOODS[best]] if got.moods[best] >= MIN_MOOD else [])
        pairs["concepts"].append((one.concepts, concepts))
        pairs["mood"].append((frozenset([one.mood] if one.mood else []), mood))
        sentiments.append((SENTIMENTS[int(got.sentiments.argmax())] == one.sentiment, float(got.sentiments.max())))
    right, confidence = np.asarray(sentiments, np.float64).T
    bins = np.minimum(((confidence - 1 / 3) * 7.5).astype(int), 4)
    gaps = [abs(right[bins == b].sum() - confidence[bins == b].sum()) for b in range(5)]
    return Quality(_f1(pairs["concepts"]), _f1(pairs["mood"]), float(right.mean()), float(sum(gaps)) / len(right))


def _f1(pairs: Sequence[tuple[frozenset[str], frozenset[str]]]) -> float:
    hits = sum(len(truth & found) for truth, found in pairs)
    return 2 * hits / max(1, sum(len(truth) + len(found) for truth, found in pairs))
