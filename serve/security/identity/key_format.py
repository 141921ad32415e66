"""How a key looks: ``atl_<id>_<random><checksum>``, which secret scanners find by one expression.

The checksum is the CRC32 of all before it: a key that was cut, mistyped or changed in case is told from an unknown one
without a look into the database. It protects nothing.
"""

from __future__ import annotations

import re
import secrets
import string
import zlib
from dataclasses import dataclass, field

from serve.errors import InvalidRequest, Unauthorized

PREFIX = "atl_"
PATTERN = r"atl_[0-9a-f]{16}_[0-9A-Za-z]{36}"
"""For secret scanners."""
FIELD = "Authorization"

_DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase
_ID_BYTES = 8
_RANDOM = 30
"""Digits of 62: 178 bits."""
_CHECKSUM = 6
_KEY = re.compile(PATTERN, re.ASCII)
_BEGINNING = re.compile(r"(?:atl_)?([0-9a-f]{4,16})(?:_[0-9A-Za-z]{0,36})?", re.ASCII)


@dataclass(frozen=True)
class NewKey:
    """``secret`` is the whole key; it is shown once and kept nowhere."""

    id: str
    secret: str = field(repr=False)


def new_key() -> NewKey:
    key_id = secrets.token_hex(_ID_BYTES)
    body = f"{PREFIX}{key_id}_{''.join(secrets.choice(_DIGITS) for _ in range(_RANDOM))}"
    return NewKey(key_id, body + _checksum(body))


def id_of(secret: str) -> str:
    """Raises Unauthorized for what is no key, or not a whole one. The error does not repeat it."""
    if not secret.startswith(PREFIX):
        raise Unauthorized("is not an API key of this site's; they begin with atl_", FIELD)
    if not _KEY.fullmatch(secret) or _checksum(secret[:-_CHECKSUM]) != secret[-_CHECKSUM:]:
        raise Unauthorized("is not a whole API key: some of it is missing or was changed", FIELD)
    return secret[len(PREFIX) : len(PREFIX) + 2 * _ID_BYTES]


def beginning_of_id(text: str) -> str:
    """Of an id or a key, or the first part of either. Raises InvalidRequest."""
    match = _BEGINNING.fullmatch(text)
    if match is None or ("_" in text.removeprefix(PREFIX) and len(match[1]) < 2 * _ID_BYTES):
        raise InvalidRequest("must be the id of a key, or the first 4 or more characters of it", "key")
    return match[1]


def _checksum(body: str) -> str:
    rest, digits = zlib.crc32(body.encode()), ""
    for _ in range(_CHECKSUM):
        rest, digit = divmod(rest, len(_DIGITS))
        digits = _DIGITS[digit] + digits
    return digits
