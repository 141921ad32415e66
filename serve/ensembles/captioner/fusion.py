"""Captions of several models weighed against each other, and the best completed (B-025)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from serve.ensembles.captioner.tags import SAID_ABOVE, Tag
from serve.ensembles.embedder import relative_fits
from serve.ensembles.prompts.vocabulary import split

_IGNORED = frozenset(["a", "an", "the", "of", "in", "on", "at", "with", "and", "is", "are", "to", "it", "its"])


@dataclass(frozen=True)
class Candidate:
    """``confidence``: the model's own, from 0 to 1, where it states one. ``likeness``: cosine of the embeddings of text
    and picture."""

    text: str
    model: str
    confidence: float | None
    likeness: float | None = None


@dataclass(frozen=True)
class Scored:
    """``agreement``: how much of it other models say too. ``score``: from 0 to 1."""

    candidate: Candidate
    fit: float | None
    agreement: float | None
    score: float


def scored(candidates: Sequence[Candidate], logit_scale: float, weights: Mapping[str, float]) -> list[Scored]:
    """The best first. A score is the mean of confidence, fit and agreement, of those that are known, times the weight
    of its model relative to the largest; a model without a weight has 1. Where none is known it is 0.

    Fit is the likelihood of the text for the picture relative to the best candidate.
    """
    known = [one.likeness for one in candidates if one.likeness is not None]
    fits = iter(relative_fits(known, logit_scale))
    largest = max((weights.get(one.model, 1.0) for one in candidates), default=1.0) or 1.0
    found = []
    for one in candidates:
        fit = None if one.likeness is None else next(fits)
        agreement = _agreement(one, candidates)
        parts = [part for part in (one.confidence, fit, agreement) if part is not None]
        score = sum(parts) / max(1, len(parts)) * weights.get(one.model, 1.0) / largest
        found.append(Scored(one, fit, agreement, score))
    return sorted(found, key=lambda one: -one.score)


def fused(best: str, tags: Sequence[Tag]) -> str:
    """``best`` with the likely tags that it does not say."""
    said = _words(best)
    missing = [tag.name for tag in tags if tag.probability > SAID_ABOVE and not _words(tag.name) <= said]
    return ", ".join(part for part in (best, *dict.fromkeys(missing)) if part)


def _agreement(one: Candidate, candidates: Sequence[Candidate]) -> float | None:
    """The mean over the other models of the largest share of words in common (Jaccard)."""
    words = _words(one.text)
    by_model: dict[str, float] = {}
    for other in candidates:
        if other.model != one.model:
            theirs = _words(other.text)
            share = len(words & theirs) / (len(words | theirs) or 1)
            by_model[other.model] = max(by_model.get(other.model, 0.0), share)
    return sum(by_model.values()) / len(by_model) if by_model else None


def _words(text: str) -> frozenset[str]:
    return frozenset(split(text).words) - _IGNORED
