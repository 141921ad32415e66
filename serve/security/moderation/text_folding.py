"""Folds text into comparable words: spellings of the same word become equal.

Each character is folded by itself, in linear time: Unicode normalisation of a whole text sorts runs of combining marks,
which takes quadratic time.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache

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
    """Unifies compatibility forms, case and accents; drops invisible characters."""
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
