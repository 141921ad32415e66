"""`PromptFilter`: applies a site's moderation rules to a prompt before anything is drawn."""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from serve.diffusion.prompt import parse
from serve.errors import InvalidRequest, ModerationBlocked
from serve.observability.metrics.catalogue import MODERATION
from serve.settings import ModerationSettings

LOW = "low"
"""A request may ask for this level: then only stronger findings count."""


@dataclass(frozen=True)
class Finding:
    """``picture`` is its index in the answer; None: it was found in the prompt."""

    category: str
    score: float
    picture: int | None = None


def findings_above_threshold(
    settings: ModerationSettings, scores: Mapping[str, float], low: bool, picture: int | None = None
) -> list[Finding]:
    """The strongest first."""
    found = [
        Finding(category, round(score, 4), picture)
        for category, score in scores.items()
        if score >= _threshold(settings, category, low)
    ]
    return sorted(found, key=lambda finding: -finding.score)


def _threshold(settings: ModerationSettings, category: str, low: bool) -> float:
    default = settings.thresholds.get(category, settings.threshold)
    return max(default, settings.low_threshold) if low else default


def blocked_error(found: Sequence[Finding]) -> ModerationBlocked:
    """For the strongest finding."""
    strongest = max(found, key=lambda finding: finding.score)
    what = "the prompt" if strongest.picture is None else "the picture that was drawn"
    message = f"this site does not draw that: {what} was found to be {strongest.category} ({strongest.score:.2f})"
    return ModerationBlocked(
        message, "prompt" if strongest.picture is None else None, strongest.category, strongest.score
    )


def moderation_details(found: Sequence[Finding], action: str, unchecked: bool) -> dict[str, Any]:
    """Details of the answer, as JSON. ``unchecked``: the engine did not check every picture."""
    details: dict[str, Any] = {"flagged": bool(found), "action": action if found else None}
    if found:
        strongest = max(found, key=lambda finding: finding.score)
        details |= {
            "reason": "prompt" if strongest.picture is None else "picture",
            "category": strongest.category,
            "score": strongest.score,
            "findings": [
                {"category": one.category, "score": one.score, "source": "prompt"}
                if one.picture is None
                else {"category": one.category, "score": one.score, "source": "picture", "index": one.picture}
                for one in found
            ],
        }
    return {**details, "unchecked": True} if unchecked else details


_PATTERN_BYTES = 8 * 1024 * 1024
"""Memory of RE2 for one pattern."""


class PromptRules:
    """A site's lists of words and patterns; matching takes time proportional to the prompt. Raises InvalidRequest that
    names the setting at fault."""

    def __init__(self, settings: ModerationSettings) -> None:
        tables: Sequence[dict[int, str] | None] = (None, *(LOOKALIKES if settings.lookalikes else ()))
        self._phrase_tables = [(table, Phrases(_phrases_of(settings, table))) for table in tables]
        self._patterns = [
            (_compile_pattern(pattern, f"moderation.rules.{index}.patterns"), rule.category, rule.score)
            for index, rule in enumerate(settings.rules)
            for pattern in rule.patterns
        ]

    def find(self, prompt: str) -> dict[str, float]:
        """The highest score of each category, in the prompt as written and without emphasis syntax. 32,000 characters
        take about a tenth of a second."""
        found: dict[str, float] = {}
        for text in {fold(prompt), fold(_without_emphasis(prompt))}:
            for table, phrases in self._phrase_tables:
                _keep_highest(found, phrases.find(text if table is None else text.translate(table)))
            _keep_highest(
                found, ((category, score) for pattern, category, score in self._patterns if pattern.search(text))
            )
        return found


class Phrases:
    """Words and phrases with their category and score, as folded ``(text, category, score)``."""

    def __init__(self, phrases: Iterable[tuple[str, str, float]]) -> None:
        self._known: dict[tuple[str, ...], dict[str, float]] = {}
        self._lengths: dict[str, set[int]] = {}
        for text, category, score in phrases:
            phrase = tuple(words(text))
            _keep_highest(self._known.setdefault(phrase, {}), [(category, score)])
            self._lengths.setdefault(phrase[0], set()).add(len(phrase))
        self._letters = {len(phrase[0]) for phrase in self._known if len(phrase) == 1}

    def find(self, text: str) -> Iterator[tuple[str, float]]:
        """In a folded text."""
        found = words(text)
        for start, word in enumerate(found):
            for length in self._lengths.get(word, ()):
                yield from self._known.get(tuple(found[start : start + length]), {}).items()
        for word in spelled_out_words(found, self._letters):
            if (word,) in self._known:
                yield from self._known[(word,)].items()


def _without_emphasis(prompt: str) -> str:
    """Without emphasis syntax, which may split a word. An unparsable prompt stays as it is."""
    try:
        return " ".join("".join(piece.text for piece in section) for section in parse(prompt))
    except InvalidRequest:
        return prompt


def _phrases_of(settings: ModerationSettings, table: Mapping[int, str] | None) -> Iterator[tuple[str, str, float]]:
    for index, rule in enumerate(settings.rules):
        for phrase in rule.words:
            text = fold(phrase)
            if not words(text):
                raise InvalidRequest(
                    "each must have a letter, a digit or a pictograph", f"moderation.rules.{index}.words"
                )
            yield (text if table is None else text.translate(table)), rule.category, rule.score


def _keep_highest(found: dict[str, float], more: Iterable[tuple[str, float]]) -> None:
    for category, score in more:
        found[category] = max(score, found.get(category, 0.0))


def _compile_pattern(pattern: str, setting: str) -> Any:
    try:
        import re2  # an optional extra; linear time for every pattern
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
_LONG_PROMPT = 2000
"""Characters from which on a prompt is checked in a thread."""


class PromptFilter:
    """Raises InvalidRequest for invalid rules. Negative prompts are not checked: what they name is not drawn, and they
    are unused where guidance would invert them."""

    def __init__(self, settings: ModerationSettings) -> None:
        self._settings = settings
        self._rules = PromptRules(settings) if settings.policy != "off" and settings.rules else None

    async def check(self, prompt: str, moderation: str | None) -> list[Finding]:
        """The findings. Raises ModerationBlocked where the policy refuses them."""
        if self._rules is None:
            return []
        is_long = len(prompt) >= _LONG_PROMPT
        scores = await asyncio.to_thread(self._rules.find, prompt) if is_long else self._rules.find(prompt)
        found = findings_above_threshold(self._settings, scores, moderation == LOW)
        if found and self._settings.policy == REFUSE:
            count_findings(found, REFUSE)
            raise blocked_error(found)
        return found


def count_findings(found: Sequence[Finding], action: str) -> None:
    """Counts each category once."""
    for category in {finding.category for finding in found}:
        MODERATION.add(1, category, action)


_MAX_EXPANSION = 8
"""Characters that one expands to; an Arabic ligature has 18."""
_ACCENTS = ((0x0300, 0x036F), (0x1AB0, 0x1AFF), (0x1DC0, 0x1DFF), (0x20D0, 0x20FF), (0xFE00, 0xFE0F), (0xFE20, 0xFE2F))
_INVISIBLE = frozenset("\u115f\u1160\u3164\uffa0\u180b\u180c\u180d")
"""Letters and marks that render as nothing."""
_UNSPACED = (
    (0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3040, 0x30FF), (0x3400, 0x9FFF), (0x20000, 0x3FFFF),
)  # fmt: skip
"""Scripts without spaces between words: Thai, Lao, Burmese, Khmer, Kana, Han."""
_MIN_SPELLED_LENGTH = 3

_SIMILAR = {
    **dict(zip("0345789@$€", "oeastbgase", strict=True)),
    **dict(zip("авеёкмнорстухіјѕԁԛԝһгп", "abeekmhopctyxijsdqwhrn", strict=True)),
    **dict(zip("αβγδεηικνοπρτυχω", "abydenikvonptuxw", strict=True)),
    **dict(zip("ıɑɡłøđħŧ", "iaglodht", strict=True)),
}
"""Of folded characters: digits and signs, Cyrillic, Greek, and Latin without decomposition."""
LOOKALIKES = tuple(str.maketrans({**_SIMILAR, **dict.fromkeys("1|!", one)}) for one in "il")
"""The digit 1 is read as i and as l."""


def fold(text: str) -> str:
    """Unifies compatibility forms, case and accents; drops invisible characters.

    Each character is folded by itself, in linear time: Unicode normalisation of a whole text sorts runs of combining
    marks, which takes quadratic time.
    """
    return "".join(map(_fold_character, text))


@lru_cache(maxsize=65_536)
def _fold_character(character: str) -> str:
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", character).casefold())
    return "".join(one for one in decomposed if not _is_dropped(one))[:_MAX_EXPANSION]


def _is_dropped(character: str) -> bool:
    if unicodedata.category(character) == "Cf" or character in _INVISIBLE:
        return True
    return _in_ranges(character, _ACCENTS)


def words(text: str) -> list[str]:
    """The words of a folded text. In scripts without spaces every character is a word, so that phrases are found."""
    result: list[str] = []
    word: list[str] = []
    for character in text:
        kind = _character_kind(character)
        if kind != "part" and word:
            result.append("".join(word))
            word = []
        if kind == "part":
            word.append(character)
        elif kind == "whole":
            result.append(character)
    if word:
        result.append("".join(word))
    return result


def spelled_out_words(result: Sequence[str], lengths: Collection[int]) -> Iterator[str]:
    """Candidate words of the given lengths, from 3 on, that were written letter by letter, also next to a one-letter
    word: a n-o-p-e."""
    run: list[str] = []
    for word in (*result, ""):
        if len(word) == 1 and _character_kind(word) == "part":
            run.append(word)
            continue
        letters = "".join(run)
        for length in lengths:
            for start in range(len(letters) - length + 1 if length >= _MIN_SPELLED_LENGTH else 0):
                yield letters[start : start + length]
        run = []


@lru_cache(maxsize=65_536)
def _character_kind(character: str) -> str:
    """part of a word, a whole word, or between words."""
    category = unicodedata.category(character)
    if category == "So":  # pictographs
        return "whole"
    if category[0] not in "LMN":
        return "between"
    return "whole" if _in_ranges(character, _UNSPACED) else "part"


def _in_ranges(character: str, ranges: Sequence[tuple[int, int]]) -> bool:
    return any(low <= ord(character) <= high for low, high in ranges)
