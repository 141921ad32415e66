"""`PromptFilter`: applies a site's moderation rules to a prompt before anything is drawn."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from serve.diffusion.prompt import parse
from serve.errors import InvalidRequest, ModerationBlocked
from serve.observability.metrics.catalogue import MODERATION
from serve.security.moderation.text_folding import LOOKALIKES, folded, spelled, words
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


_PATTERN_BYTES = 8 * 1024 * 1024
"""What RE2 may use for one pattern."""


class PromptRules:
    """Raises InvalidRequest that names the setting at fault."""

    def __init__(self, settings: ModerationSettings) -> None:
        tables: Sequence[dict[int, str] | None] = (None, *(LOOKALIKES if settings.lookalikes else ()))
        self._readings = [(table, Phrases(_listed(settings, table))) for table in tables]
        self._patterns = [
            (_compiled(pattern, f"moderation.rules.{place}.patterns"), rule.category, rule.score)
            for place, rule in enumerate(settings.rules)
            for pattern in rule.patterns
        ]

    def find(self, prompt: str) -> dict[str, float]:
        """The highest score of each category, as the prompt is written and as it is drawn. One of 32,000 characters
        takes about a tenth of a second."""
        found: dict[str, float] = {}
        for text in {folded(prompt), folded(_as_drawn(prompt))}:
            for table, phrases in self._readings:
                _raise_to(found, phrases.find(text if table is None else text.translate(table)))
            _raise_to(found, ((category, score) for pattern, category, score in self._patterns if pattern.search(text)))
        return found


class Phrases:
    """Words, and phrases of them, with what they are found to be; each as ``(text, category, score)``, folded."""

    def __init__(self, listed: Iterable[tuple[str, str, float]]) -> None:
        self._known: dict[tuple[str, ...], dict[str, float]] = {}
        self._lengths: dict[str, set[int]] = {}
        for text, category, score in listed:
            phrase = tuple(words(text))
            _raise_to(self._known.setdefault(phrase, {}), [(category, score)])
            self._lengths.setdefault(phrase[0], set()).add(len(phrase))
        self._letters = {len(phrase[0]) for phrase in self._known if len(phrase) == 1}

    def find(self, text: str) -> Iterator[tuple[str, float]]:
        """In a folded text."""
        found = words(text)
        for start, word in enumerate(found):
            for length in self._lengths.get(word, ()):
                yield from self._known.get(tuple(found[start : start + length]), {}).items()
        for word in spelled(found, self._letters):
            if (word,) in self._known:
                yield from self._known[(word,)].items()


def _as_drawn(prompt: str) -> str:
    """Without the notation of stress, which may stand within a word. What cannot be drawn stays as it is."""
    try:
        return " ".join("".join(piece.text for piece in section) for section in parse(prompt))
    except InvalidRequest:
        return prompt


def _listed(settings: ModerationSettings, table: Mapping[int, str] | None) -> Iterator[tuple[str, str, float]]:
    for place, rule in enumerate(settings.rules):
        for phrase in rule.words:
            text = folded(phrase)
            if not words(text):
                raise InvalidRequest(
                    "each must have a letter, a digit or a pictograph", f"moderation.rules.{place}.words"
                )
            yield (text if table is None else text.translate(table)), rule.category, rule.score


def _raise_to(found: dict[str, float], more: Iterable[tuple[str, float]]) -> None:
    for category, score in more:
        found[category] = max(score, found.get(category, 0.0))


def _compiled(pattern: str, setting: str) -> Any:
    try:
        import re2  # an extra: its time is linear whatever the pattern
    except ImportError:
        raise InvalidRequest("patterns need RE2: pip install 'atelier[moderation]'", setting) from None
    options = re2.Options()
    options.max_mem, options.log_errors, options.never_capture = _PATTERN_BYTES, False, True
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0].decode(errors="replace") if isinstance(error.args[0], bytes) else str(error)
        raise InvalidRequest(f"cannot be used: {reason}", setting) from None


REFUSE = "refuse"
_LONG = 2000
"""Characters from which on a prompt is read beside the event loop."""


class PromptFilter:
    """Raises InvalidRequest for rules that cannot be used. Negative prompts are not looked at: what is named there is
    not drawn, and they are not used at all where guidance would turn them round."""

    def __init__(self, settings: ModerationSettings) -> None:
        self._settings = settings
        self._rules = PromptRules(settings) if settings.policy != "off" and settings.rules else None

    async def check(self, prompt: str, moderation: str | None) -> list[Finding]:
        """What was found. Raises ModerationBlocked where the policy is to refuse it."""
        if self._rules is None:
            return []
        long = len(prompt) >= _LONG
        scores = await asyncio.to_thread(self._rules.find, prompt) if long else self._rules.find(prompt)
        found = counted(self._settings, scores, moderation == LOW)
        if found and self._settings.policy == REFUSE:
            tell(found, REFUSE)
            raise blocked(found)
        return found


def tell(found: Sequence[Finding], action: str) -> None:
    """Counts each category once."""
    for category in {finding.category for finding in found}:
        MODERATION.add(1, category, action)
