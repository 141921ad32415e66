"""What was found in a prompt or a picture, and what is told of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from serve.errors import ModerationBlocked
from serve.settings import ModerationSettings

LOW = "low"
"""What a request may say: then only what is surer counts."""


@dataclass(frozen=True)
class Finding:
    """``picture`` is its place in the answer; None: it was found in the prompt."""

    category: str
    score: float
    picture: int | None = None


def counted(
    settings: ModerationSettings, scores: Mapping[str, float], low: bool, picture: int | None = None
) -> list[Finding]:
    """Those of ``scores`` that reach their threshold, the surest first."""
    found = [
        Finding(category, round(score, 4), picture)
        for category, score in scores.items()
        if score >= _threshold(settings, category, low)
    ]
    return sorted(found, key=lambda finding: -finding.score)


def _threshold(settings: ModerationSettings, category: str, low: bool) -> float:
    usual = settings.thresholds.get(category, settings.threshold)
    return max(usual, settings.low_threshold) if low else usual


def blocked(found: Sequence[Finding]) -> ModerationBlocked:
    """Of the surest."""
    worst = max(found, key=lambda finding: finding.score)
    what = "the prompt" if worst.picture is None else "the picture that was drawn"
    told = f"this site does not draw that: {what} was found to be {worst.category} ({worst.score:.2f})"
    return ModerationBlocked(told, "prompt" if worst.picture is None else None, worst.category, worst.score)


def told_of(found: Sequence[Finding], action: str, unchecked: bool) -> dict[str, Any]:
    """What an answer says, JSON. ``unchecked``: the engine did not look at every picture."""
    told: dict[str, Any] = {"flagged": bool(found), "action": action if found else None}
    if found:
        worst = max(found, key=lambda finding: finding.score)
        told |= {
            "reason": "prompt" if worst.picture is None else "picture",
            "category": worst.category,
            "score": worst.score,
            "findings": [
                {"category": one.category, "score": one.score, "source": "prompt"}
                if one.picture is None
                else {"category": one.category, "score": one.score, "source": "picture", "index": one.picture}
                for one in found
            ],
        }
    return {**told, "unchecked": True} if unchecked else told
