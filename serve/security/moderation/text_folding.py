"""Texts as words that can be compared: whatever they were written with, the same word is the same text.

Every character is folded by itself, so that the time is in proportion to the length: Unicode's own composition of a
text sorts runs of combining marks, which takes their square.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache

_MAX_EXPANSION = 8
"""Characters that one becomes; one ligature of Arabic has 18."""
_ACCENTS = ((0x0300, 0x036F), (0x1AB0, 0x1AFF), (0x1DC0, 0x1DFF), (0x20D0, 0x20FF), (0xFE00, 0xFE0F), (0xFE20, 0xFE2F))
_BLANK = frozenset("\u115f\u1160\u3164\uffa0\u180b\u180c\u180d")
"""Letters and marks that are seen as nothing."""
_UNSPACED = (
    (0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3040, 0x30FF), (0x3400, 0x9FFF), (0x20000, 0x3FFFF),
)  # fmt: skip
"""Scripts that put nothing between words: Thai, Lao, Burmese, Khmer, Kana, Han."""
_SHORTEST_SPELLED = 3

_SIMILAR = {
    **dict(zip("0345789@$€", "oeastbgase", strict=True)),
    **dict(zip("авеёкмнорстухіјѕԁԛԝһгп", "abeekmhopctyxijsdqwhrn", strict=True)),
    **dict(zip("αβγδεηικνοπρτυχω", "abydenikvonptuxw", strict=True)),
    **dict(zip("ıɑɡłøđħŧ", "iaglodht", strict=True)),
}
"""Of folded characters: digits and signs, Cyrillic, Greek, and Latin that has no decomposition."""
LOOKALIKES = tuple(str.maketrans({**_SIMILAR, **dict.fromkeys("1|!", one)}) for one in "il")
"""The 1 is read both ways."""


def folded(text: str) -> str:
    """Compatible forms, cases and accents made the same; invisible characters left out."""
    return "".join(map(_folded, text))


@lru_cache(maxsize=65_536)
def _folded(character: str) -> str:
    apart = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", character).casefold())
    return "".join(one for one in apart if not _is_left_out(one))[:_MAX_EXPANSION]


def _is_left_out(character: str) -> bool:
    if unicodedata.category(character) == "Cf" or character in _BLANK:
        return True
    return _is_in(character, _ACCENTS)


def words(text: str) -> list[str]:
    """Of a folded text. A script without spaces has a word for each character, so that phrases of it are found."""
    found: list[str] = []
    word: list[str] = []
    for character in text:
        kind = _kind(character)
        if kind != "part" and word:
            found.append("".join(word))
            word = []
        if kind == "part":
            word.append(character)
        elif kind == "whole":
            found.append(character)
    if word:
        found.append("".join(word))
    return found


def spelled(found: Sequence[str], lengths: Collection[int]) -> Iterator[str]:
    """What may be words of these lengths, from 3 on, that were written letter by letter, also beside a word that has
    one letter itself: a n-o-p-e."""
    run: list[str] = []
    for word in (*found, ""):
        if len(word) == 1 and _kind(word) == "part":
            run.append(word)
            continue
        letters = "".join(run)
        for length in lengths:
            for start in range(len(letters) - length + 1 if length >= _SHORTEST_SPELLED else 0):
                yield letters[start : start + length]
        run = []


@lru_cache(maxsize=65_536)
def _kind(character: str) -> str:
    """part of a word, a whole one, or between words."""
    category = unicodedata.category(character)
    if category == "So":  # pictographs
        return "whole"
    if category[0] not in "LMN":
        return "between"
    return "whole" if _is_in(character, _UNSPACED) else "part"


def _is_in(character: str, ranges: Sequence[tuple[int, int]]) -> bool:
    return any(low <= ord(character) <= high for low, high in ranges)
