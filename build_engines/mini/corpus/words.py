"""Words of a text."""

from __future__ import annotations

import re

_WORD = re.compile(r"[a-z0-9]+(?:-[a-z]+)*")


def words_of(phrase: str) -> list[str]:
    """The words of a phrase in lower case, without punctuation; hyphens inside a word stay."""
    return _WORD.findall(phrase.lower())
