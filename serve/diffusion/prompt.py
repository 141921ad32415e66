r"""What a prompt stresses, in the notation of AUTOMATIC1111's web UI.

``(x)`` weighs x 1.1 times, ``[x]`` 1 / 1.1 times, ``(x:1.3)`` 1.3 times, and they nest. ``\(``, ``\)``, ``\[``, ``\]``
and ``\\`` are those characters. ``BREAK``, as a word, begins a new chunk of tokens. A bracket without its partner is
itself: there ours differs from the web UI, which drops an open one and weighs all that follows.

Source of the notation: the "Attention/emphasis" and "BREAK keyword" sections of that project's Features page.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from serve.errors import InvalidRequest

STRESS = 1.1
MAX_WEIGHT = 10.0
"""Weights go from minus this to this."""

# Every character is in exactly one token. No alternative can be retried over a long run: parsing takes linear time.
_TOKEN = re.compile(
    r"""
    (?P<escaped> \\[\\()\[\]] )
    | (?P<close_with> :\s*(?P<factor> [+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+) )\s*\) )
    | (?P<open> [(\[] )
    | (?P<close> [)\]] )
    | (?P<text> [^\\()\[\]:]+ | . )
    """,
    re.VERBOSE | re.DOTALL | re.ASCII,
)
_BREAK = re.compile(r"\bBREAK\b")


@dataclass(frozen=True)
class Piece:
    """Text with one weight, 1 by default."""

    text: str
    weight: float


Section = tuple[Piece, ...]
"""Text between two ``BREAK``."""


def parse(prompt: str, field: str = "prompt") -> tuple[Section, ...]:
    """The sections of ``prompt``; at least one, which may be empty.

    Raises ``InvalidRequest`` naming ``field`` for a weight out of range or invalid Unicode.
    """
    try:
        prompt.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequest("must be valid Unicode: it has half of a surrogate pair", field) from error
    sections: list[list[Piece]] = [[]]
    for piece in _merged(_weighted(prompt)):
        if not abs(piece.weight) <= MAX_WEIGHT:
            what = f"{piece.text[:40]!r} has the weight {piece.weight:.4g}"
            raise InvalidRequest(f"weights must be from -{MAX_WEIGHT:g} to {MAX_WEIGHT:g}; {what}", field)
        first, *others = _BREAK.split(piece.text)
        sections[-1].append(Piece(first.rstrip() if others else first, piece.weight))
        for i, text in enumerate(others, 1):
            stripped = text.strip() if i < len(others) else text.lstrip()
            sections.append([Piece(stripped, piece.weight)])
    filled = [tuple(piece for piece in section if piece.text) for section in sections]
    return tuple(section for section in filled if section) or ((),)


def _weighted(prompt: str) -> Iterator[Piece]:
    """Every token that is text, with its weight."""
    tokens = list(_TOKEN.finditer(prompt))
    partners = _partners(tokens)
    weights = [1.0]
    for i, token in enumerate(tokens):
        if i not in partners:
            yield Piece(token[0][1:] if token["escaped"] else token[0], weights[-1])
        elif token["open"]:
            weights.append(round(weights[-1] * partners[i], 9))
        else:
            weights.pop()


def _partners(tokens: Sequence[re.Match[str]]) -> dict[int, float]:
    """Index of every bracket that has a partner -> what the pair multiplies the weight with.

    A bracket closes the nearest open one of its kind; those that opened since have no partner.
    """
    pairs: dict[int, float] = {}
    still_open: list[int] = []
    count = {"(": 0, "[": 0}
    for i, token in enumerate(tokens):
        if token["open"]:
            still_open.append(i)
            count[token[0]] += 1
        elif token["close"] or token["close_with"]:
            kind = "[" if token[0] == "]" else "("
            while count[kind]:
                opener = still_open.pop()
                count[tokens[opener][0]] -= 1
                if tokens[opener][0] == kind:
                    pairs[opener] = pairs[i] = _factor(token)
                    break
    return pairs


def _factor(closing: re.Match[str]) -> float:
    if closing["factor"]:
        return float(closing["factor"])
    return STRESS if closing[0] == ")" else 1.0 / STRESS


def _merged(pieces: Iterator[Piece]) -> Iterator[Piece]:
    """Neighbours of one weight as one piece: tokens are made of the words that were written."""
    texts: list[str] = []
    weight = 1.0
    for piece in pieces:
        if piece.weight != weight and texts:
            yield Piece("".join(texts), weight)
            texts = []
        weight = piece.weight
        texts.append(piece.text)
    if texts:
        yield Piece("".join(texts), weight)
