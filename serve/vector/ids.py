"""Ids of a drawing: names by which it refers to its own parts.

In a page that has several drawings inline, a name means the first element that has it. So each drawing's names begin
with characters that its text decides.
"""

from __future__ import annotations

import hashlib
import re
import string

_DIGITS = string.ascii_lowercase + string.digits
_ID = re.compile(r'(?<=\sid=")[^"]+(?=")')
_REFERENCE = re.compile(r'(?<=\shref="#)[^"]+(?=")|(?<=url\(#)[^)]+(?=\))')


def with_own_ids(svg: str) -> str:
    """``svg``, as our tracers write it, whose ids that it refers to begin with four characters of its hash."""
    used = set(_REFERENCE.findall(svg))
    if not used:
        return svg
    number = int.from_bytes(hashlib.blake2b(svg.encode(), digest_size=8).digest())
    number, first = divmod(number, len(string.ascii_lowercase))
    prefix = string.ascii_lowercase[first]
    for _ in range(3):
        number, digit = divmod(number, len(_DIGITS))
        prefix += _DIGITS[digit]
    return _renamed(svg, {name: prefix + name for name in used})


def with_prefix(svg: str, prefix: str) -> str:
    """``svg`` whose ids all begin with ``prefix``; those that it refers to are numbered after it."""
    used, names = set(_REFERENCE.findall(svg)), dict.fromkeys(_ID.findall(svg))
    numbered = {name: f"{prefix}{i}" for i, name in enumerate((name for name in names if name in used), 1)}
    return _renamed(svg, {name: prefix + name for name in names} | numbered)


def _renamed(svg: str, names: dict[str, str]) -> str:
    for pattern in (_ID, _REFERENCE):
        svg = pattern.sub(lambda found: names.get(found[0], found[0]), svg)
    return svg
