"""The labelled prompts of ``deployments/prompts/labelled.txt``: every second one is for fitting, the others are for
reporting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from serve.ensembles.prompts.analysis import CONCEPTS, MOODS, PromptAnalyser
from serve.ensembles.prompts.sentiment import NEGATIVE, NEUTRAL, POSITIVE
from serve.ensembles.prompts.vocabulary import FOLDER, KEYWORDS

LABELLED = FOLDER / "labelled.txt"
_SENTIMENTS = {"+": POSITIVE, "0": NEUTRAL, "-": NEGATIVE}
_KINDS = {"s": "styles", "m": "moods", "c": "colors", "l": "lighting", "t": "textures", "k": "compositions"}


@dataclass(frozen=True)
class Labelled:
    prompt: str
    sentiment: str
    mood: str | None
    concepts: frozenset[str]
    keywords: Mapping[str, frozenset[str]]


def read(path: Path = LABELLED) -> list[Labelled]:
    """Raises ValueError naming the line whose labels are not those of the vocabulary."""
    known = PromptAnalyser().vocabulary.terms
    found = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        try:
            prompt, sentiment, mood, concepts, words = (part.strip() for part in line.split("|"))
            keywords = dict.fromkeys(KEYWORDS, frozenset[str]())
            for part in (one.strip() for one in words.split(";") if one.strip() not in ("", "-")):
                kind, _, names = part.partition(":")
                keywords[_KINDS[kind]] = frozenset(name.strip() for name in names.split(","))
            one = Labelled(
                prompt,
                _SENTIMENTS[sentiment],
                None if mood == "-" else mood,
                frozenset(name.strip() for name in concepts.split(",") if name.strip() not in ("", "-")),
                keywords,
            )
            wrong = [name for kind, names in keywords.items() for name in names if name not in known[kind]]
            if wrong or not one.concepts <= set(CONCEPTS) or one.mood not in (None, *MOODS):
                raise ValueError(f"unknown labels {wrong or [mood, concepts]}")
        except (ValueError, KeyError) as error:
            raise ValueError(f"{path.name}:{number}: {error}") from None
        found.append(one)
    return found


def halves(prompts: Sequence[Labelled]) -> tuple[Sequence[Labelled], Sequence[Labelled]]:
    """(for fitting, for reporting)"""
    return prompts[::2], prompts[1::2]
