"""Enhancement of a prompt (C-036): the prompt itself, unchanged, then what it leaves open; each change explained.

Nothing is added that the prompt already says or excludes. ``level`` says how much: light adds one or two things,
balanced four, rich all; a style or a memory that the request names comes on top.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from serve.ensembles.prompts.analysis import Analysis, PromptAnalyser
from serve.ensembles.prompts.vocabulary import FOLDER, read_table

LEVELS: Mapping[str, int] = {"light": 2, "balanced": 4, "rich": 8}
DEFAULT_CONCEPT, DEFAULT_MOOD = "nature", "peaceful"
_TRAILING = " \t\n,.;、。，"


@dataclass(frozen=True)
class Change:
    """``text`` was added for ``reason``; ``kind`` is a category or quality."""

    kind: str
    text: str
    reason: str


@dataclass(frozen=True)
class Enhancement:
    original: str
    enhanced: str
    negative_prompt: str
    changes: Sequence[Change]
    analysis: Analysis


@cache
def _table() -> dict[str, Any]:
    return read_table(FOLDER / "enhancement.toml")


def enhance(
    analyser: PromptAnalyser,
    prompt: str,
    level: str = "balanced",
    style: str | None = None,
    memory: Analysis | None = None,
) -> Enhancement:
    """``style``: the name of a style of the vocabulary to use. ``memory``: a text whose things, colours and mood are
    taken up (A-071). A prompt without words is left as it is."""
    analysis = analyser.analyse(prompt)
    if not analysis.word_count:
        return Enhancement(prompt, prompt, "", (), analysis)
    steps: list[Callable[[], Change | None]] = [
        lambda: _memory(analysis, memory),
        lambda: _style(analyser, analysis, style),
        lambda: _light(analyser, analysis),
        lambda: _composition(analyser, analysis),
        lambda: _colours(analyser, analysis),
        lambda: _texture(analyser, analysis),
    ]
    excluded = {one.name for one in analysis.excluded} | {one.text.lower() for one in analysis.excluded}
    added = [change for step in steps if (change := step()) is not None and not _mentions(change.text, excluded)]
    family = _family([*analysis.names("styles"), *(change.text for change in added if change.kind == "styles")], style)
    qualities = [text for text in _table()["quality"][family] if text.lower() not in prompt.lower()]
    wanted = LEVELS[level]
    requested = [change for change in added if change.kind == "memory" or (change.kind == "styles" and style)]
    changes = [*requested, *[change for change in added if change not in requested][: max(1, wanted - 1)]]
    if qualities:
        text = ", ".join(qualities[: max(1, wanted // 3)])
        changes.append(Change("quality", text, f"words of quality that a {family} picture profits from"))
    enhanced = ", ".join([prompt.rstrip(_TRAILING), *(change.text for change in changes)])
    names = [_table()["negative"][family], *dict.fromkeys(one.text for one in analysis.excluded)]
    return Enhancement(prompt, enhanced, ", ".join(names), tuple(changes), analysis)


def _memory(analysis: Analysis, memory: Analysis | None) -> Change | None:
    if memory is None:
        return None
    there = {one.name for one in analysis.objects} | set(analysis.names("colors")) | set(analysis.names("moods"))
    things = [one.text.lower() for one in memory.objects if one.name not in there][:3]
    colours = [one.text.lower() for one in memory.keywords["colors"] if one.name not in there][:2]
    moods = [one.text.lower() for one in memory.keywords["moods"] if one.name not in there][:1]
    parts = [*things, *(f"{colour} tones" for colour in colours), *(f"a {mood} mood" for mood in moods)]
    if not parts:
        return None
    return Change("memory", f"recalling {', '.join(parts)}", "the memory mentions them")


def _mentions(text: str, excluded: set[str]) -> bool:
    lower = text.lower()
    return any(word in lower for word in excluded)


def _family(styles: Sequence[str], style: str | None) -> str:
    named = [*styles, *([style] if style is not None else [])]
    for family, members in _table()["families"].items():
        if any(name == member or name.startswith(member) for name in named for member in members):
            return str(family)
    return "drawn"


def _mood(analysis: Analysis) -> str:
    return analysis.mood.name if analysis.mood is not None else DEFAULT_MOOD


def _concept(analysis: Analysis) -> str:
    return analysis.concepts[0].name if analysis.concepts else DEFAULT_CONCEPT


def _style(analyser: PromptAnalyser, analysis: Analysis, style: str | None) -> Change | None:
    if style is not None and style not in analysis.names("styles"):
        return Change("styles", str(analyser.vocabulary.terms["styles"][style].facts["phrase"]), "the style asked for")
    if analysis.names("styles"):
        return None
    if not analysis.styles:
        term = analyser.vocabulary.terms["styles"]["flat"]
        return Change("styles", str(term.facts["phrase"]), "the prompt names no style, and a plain one suits anything")
    best = analysis.styles[0]
    return Change("styles", best.phrase, f"the prompt names no style, and {best.style} {best.reason}")


def _light(analyser: PromptAnalyser, analysis: Analysis) -> Change | None:
    if analysis.names("lighting"):
        return None
    mood = _mood(analysis)
    name = _table()["defaults"]["lighting"][mood]
    phrase = str(analyser.vocabulary.terms["lighting"][name].facts["phrase"])
    known = f"suits its {mood} mood" if analysis.mood is not None else "suits most subjects"
    return Change("lighting", phrase, f"the prompt says nothing of light; {name} {known}")


def _composition(analyser: PromptAnalyser, analysis: Analysis) -> Change | None:
    if analysis.names("compositions"):
        return None
    concept = _concept(analysis) if analysis.concepts else None
    name = _table()["defaults"]["composition"][concept] if concept else "centered"
    phrase = str(analyser.vocabulary.terms["compositions"][name].facts["phrase"])
    known = f"is usual for {concept}" if concept else "keeps a single subject clear"
    return Change("compositions", phrase, f"the prompt leaves the composition open; {name} {known}")


def _colours(analyser: PromptAnalyser, analysis: Analysis) -> Change | None:
    excluded = {one.name for one in analysis.excluded}
    if analysis.names("colors") or "monochrome" in excluded:
        return None
    names = nearest_names(analyser, [one.hex for one in analysis.palette if one.source in ("thing", "light", "mood")])
    names = [name for name in names if name not in excluded][:3]
    if len(names) < 2:
        return None
    text = f"{', '.join(names[:-1])} and {names[-1]} colours"
    return Change(
        "colors", text, "no colours are named; these are the usual ones of its things, its light and its mood"
    )


def _texture(analyser: PromptAnalyser, analysis: Analysis) -> Change | None:
    if analysis.names("textures") or not analysis.concepts:
        return None
    name = _table()["defaults"]["texture"][_concept(analysis)]
    phrase = str(analyser.vocabulary.terms["textures"][name].facts["phrase"])
    return Change("textures", phrase, f"surfaces are left open; {name} ones suit {_concept(analysis)}")


def nearest_names(analyser: PromptAnalyser, colours: Sequence[str]) -> list[str]:
    """The colour words nearest to ``colours`` (#rrggbb), each once."""
    plain = [term for term in analyser.vocabulary.terms["colors"].values() if term.name not in _NOT_ONE_COLOUR]
    names = [min(plain, key=lambda term: _distance(str(term.facts["hex"]), colour)).name for colour in colours]
    return list(dict.fromkeys(names))


_NOT_ONE_COLOUR = ("pastel", "neon", "monochrome", "vibrant", "muted")


def _distance(one: str, other: str) -> int:
    first, second = bytes.fromhex(one[1:]), bytes.fromhex(other[1:])
    return sum(weight * (a - b) ** 2 for weight, a, b in zip((2, 4, 3), first, second, strict=True))
