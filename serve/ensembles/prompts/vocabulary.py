"""`Vocabulary`: the words that prompts are read by, from the TOML files of a folder, and where a text has them.

A term belongs to a category (such as ``colors``) and has forms in several languages. A form is one to five words; one
that ends in ``*`` matches words that begin with it. Forms in Chinese and Japanese match anywhere in their script.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from serve.errors import InvalidRequest
from serve.settings.section import project_path

FOLDER = project_path(Path("deployments/prompts"))
KEYWORDS = ("styles", "moods", "colors", "lighting", "textures", "compositions")
"""The categories of keywords (C-032)."""
CATEGORIES = (*KEYWORDS, "concepts", "objects")
LANGUAGES = ("en", "de", "fr", "es", "it", "pt", "nl", "pl", "ru", "zh", "ja")
MAX_FORM_WORDS = 5
MIN_PREFIX = 3
_MAX_WORD = 40
_IDEOGRAPHS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uff66-\uff9f"
_WORD = re.compile(rf"[{_IDEOGRAPHS}]+|[^\W_{_IDEOGRAPHS}]+(?:['’\-][^\W_{_IDEOGRAPHS}]+)*")
_IS_IDEOGRAPH = re.compile(rf"[{_IDEOGRAPHS}]")
_KANA, _CYRILLIC = re.compile("[\u3040-\u30ff]"), re.compile("[\u0400-\u04ff]")

_FREQUENT: Mapping[str, str] = {
    "en": "a an the of in on with and at by from under over into through is are for to its his her over",
    "de": "der die das ein eine einen einem einer und mit auf im am von zu über unter vor durch ist des den dem",
    "fr": "le la les un une des du de et avec dans sur au aux en sous devant est sans d l",
    "es": "el la los las un una unos de del y con en sobre bajo al por junto para",
    "it": "il lo la gli un uno una di del della dei delle e con nel nella su sulla sotto al alla",
    "pt": "o os as um uma de do da dos das e com no na em sobre sob ao à pelo pela",
    "nl": "de het een en met op in van bij onder over aan door naar voor",
    "pl": "i z ze na w we pod nad przy o do się jest",
    "ru": "и с со на в во под над у из при",
}
"""Function words, by which the language of a prompt is told."""
_FREQUENT_SETS = {language: frozenset(words.split()) for language, words in _FREQUENT.items()}


@dataclass(frozen=True)
class Term:
    """``facts``: what else the file has of it, such as ``hex``, ``colors``, ``concepts``, ``phrase``."""

    category: str
    name: str
    facts: Mapping[str, Any] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class Form:
    term: Term
    language: str
    words: tuple[str, ...]
    is_prefix: bool = False


@dataclass(frozen=True)
class Match:
    """A form at the words ``start`` to ``end`` of a text; ``text`` is how the text has it."""

    form: Form
    start: int
    end: int
    text: str
    negated: bool = False

    @property
    def term(self) -> Term:
        return self.form.term


@dataclass(frozen=True)
class Words:
    """The words of a text in lower case, where each stands in it, and its language (None: not told)."""

    text: str
    words: tuple[str, ...]
    spans: tuple[tuple[int, int], ...]
    breaks: frozenset[int]
    """Words after a comma or full stop: no form and no negation goes over one."""
    language: str | None


def split(text: str) -> Words:
    """``text`` in words, in linear time. Control characters and emoji are no words."""
    text = unicodedata.normalize("NFC", text)
    words: list[str] = []
    spans: list[tuple[int, int]] = []
    breaks: set[int] = set()
    last = 0
    for found in _WORD.finditer(text):
        if words and any(mark in text[last : found.start()] for mark in ",.;:!?()[]|\n、。，"):
            breaks.add(len(words))
        last = found.end()
        words.append(_plain(found[0]))
        spans.append(found.span())
    return Words(text, tuple(words), tuple(spans), frozenset(breaks), _language(words))


def _plain(word: str) -> str:
    """In lower case, with a plain apostrophe, and without the genitive's."""
    word = word.lower().replace("’", "'")
    return word.removesuffix("'s") if len(word) > 3 else word


def _language(words: Sequence[str]) -> str | None:
    joined = "".join(words)
    if _IS_IDEOGRAPH.search(joined):
        return "ja" if _KANA.search(joined) else "zh"
    if _CYRILLIC.search(joined):
        return "ru"
    counts = {language: sum(word in known for word in words) for language, known in _FREQUENT_SETS.items()}
    best = max(counts, key=lambda language: counts[language])
    if not counts[best]:
        return None
    tied = [language for language, count in counts.items() if count == counts[best]]
    return best if len(tied) == 1 else ("en" if "en" in tied else None)


class Vocabulary:
    def __init__(self, terms: Mapping[str, Mapping[str, Term]], forms: Sequence[Form]) -> None:
        self.terms = terms
        self.forms = forms
        self._by_first: dict[str, list[Form]] = {}
        self._prefixes: dict[str, list[Form]] = {}
        self._ideographs: dict[str, list[Form]] = {}
        for form in forms:
            if _IS_IDEOGRAPH.search(form.words[0]):
                self._ideographs.setdefault(form.words[0], []).append(form)
            elif form.is_prefix:
                self._prefixes.setdefault(form.words[-1], []).append(form)
            else:
                self._by_first.setdefault(form.words[0], []).append(form)
        self._longest = max((len(word) for word in self._ideographs), default=0)

    @classmethod
    def read(cls, folder: Path = FOLDER) -> Vocabulary:
        """Raises InvalidRequest naming the file that cannot be used."""
        terms: dict[str, dict[str, Term]] = {}
        forms: list[Form] = []
        for category in CATEGORIES:
            terms[category] = {}
            for name, entry in read_table(folder / f"{category}.toml").items():
                words = entry.pop("words", entry)
                facts = {key: value for key, value in entry.items() if key not in LANGUAGES}
                term = terms[category][name] = Term(category, name, facts)
                for language in LANGUAGES:
                    forms += [_form(term, language, one) for one in words.get(language, "").split(",") if one.strip()]
        return cls(terms, forms)

    def matches(self, words: Words) -> list[Match]:
        """The forms in ``words``, in their order. Within a category a longer form hides those inside of it."""
        negated = _negated(words)
        found: list[Match] = []
        for start in range(len(words.words)):
            for form, size in self._at(words, start):
                if any(place in words.breaks for place in range(start + 1, start + size)):
                    continue
                end = start + size
                text = words.text[words.spans[start][0] : words.spans[end - 1][1]]
                found.append(Match(form, start, end, text, start in negated))
            found += self._within(words, start, start in negated)
        return _longest_per_category(found)

    def _at(self, words: Words, start: int) -> Iterator[tuple[Form, int]]:
        word = words.words[start]
        if len(word) > _MAX_WORD:
            return
        for form in self._by_first.get(word, ()):
            size = len(form.words)
            if words.words[start : start + size] == form.words and _is_spoken(form, words.language):
                yield form, size
        for size in range(MIN_PREFIX, len(word) + 1):
            for form in self._prefixes.get(word[:size], ()):
                if _is_spoken(form, words.language):
                    yield form, 1

    def _within(self, words: Words, start: int, negated: bool) -> list[Match]:
        """The longest forms in a run of ideographs, from left to right; each category by itself."""
        run = words.words[start]
        if not self._ideographs or not _IS_IDEOGRAPH.match(run):
            return []
        found: list[Match] = []
        reached: dict[str, int] = {}
        for at in range(len(run)):
            for size in range(min(self._longest, len(run) - at), 0, -1):
                for form in self._ideographs.get(run[at : at + size], ()):
                    if at >= reached.get(form.term.category, 0) and (words.language == form.language or size > 1):
                        reached[form.term.category] = at + size
                        found.append(Match(form, start, start + 1, run[at : at + size], negated))
        return found


def read_table(path: Path) -> dict[str, Any]:
    """The TOML file ``path``. Raises InvalidRequest."""
    try:
        return tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"the vocabulary {path.name} cannot be read ({type(error).__name__})", "prompts") from None


def _form(term: Term, language: str, text: str) -> Form:
    text = text.strip().lower()
    is_prefix = text.endswith("*")
    words = tuple(_plain(found[0]) for found in _WORD.finditer(text.removesuffix("*")))
    if not words or len(words) > MAX_FORM_WORDS or (is_prefix and (len(words) > 1 or len(words[0]) < MIN_PREFIX)):
        raise InvalidRequest(f"{term.category} {term.name!r} has the form {text!r}, which cannot be used", "prompts")
    return Form(term, language, words, is_prefix)


def _is_spoken(form: Form, language: str | None) -> bool:
    """Words of English and of the text's language count; of others where the language is not told."""
    return language is None or form.language in ("en", language)


@cache
def modifiers() -> Mapping[str, frozenset[tuple[str, ...]]]:
    """``stronger``, ``weaker`` and ``negations`` of ``sentiment.toml``, as tuples of words."""
    table = read_table(FOLDER / "sentiment.toml")["modifiers"]
    return {name: frozenset(tuple(one.split()) for one in text.split(", ")) for name, text in table.items()}


def _negated(words: Words) -> frozenset[int]:
    """Words that a negation excludes: the three after it, up to a comma and not beyond ``but``."""
    excluded: set[int] = set()
    negations = modifiers()["negations"]
    for at in range(len(words.words)):
        size = next((size for size in (2, 1) if words.words[at : at + size] in negations), 0)
        if not size or (size == 1 and words.words[at] == "no" and words.language in ("pt", "es")):
            continue
        for place in range(at + size, min(at + size + 3, len(words.words))):
            if place in words.breaks or words.words[place] in ("but", "aber", "mais", "pero", "ma", "mas", "with"):
                break
            excluded.add(place)
    return frozenset(excluded)


def _longest_per_category(found: Sequence[Match]) -> list[Match]:
    """Without those that a longer match of the same category covers, and each form once a place."""
    kept: list[Match] = []
    reached: dict[str, int] = {}
    seen: set[tuple[int, int, str]] = set()
    for match in sorted(found, key=lambda one: (one.start, one.start - one.end)):
        category, place = match.term.category, (match.start, match.end, match.term.name + match.term.category)
        beside = (match.start, match.end, category) in seen  # of two terms of one category with the same form
        hidden = match.start < reached.get(category, 0) and not beside and not _IS_IDEOGRAPH.match(match.text)
        if place in seen or hidden:
            continue
        seen |= {place, (match.start, match.end, category)}
        kept.append(match)
        reached[category] = max(reached.get(category, 0), match.end)
    return kept
