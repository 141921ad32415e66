"""The format of API keys: ``atl_<id>_<random><checksum>``, which secret scanners find by one expression.

The checksum is the CRC32 of all before it: a truncated or mistyped key is detected without a database lookup. It is no
security feature.
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

_BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
_ID_BYTES = 8
_RANDOM_DIGITS = 30
"""Base-62 digits: 178 bits."""
_CHECKSUM_DIGITS = 6
_KEY = re.compile(PATTERN, re.ASCII)
_ID_PREFIX = re.compile(r"(?:atl_)?([0-9a-f]{4,16})(?:_[0-9A-Za-z]{0,36})?", re.ASCII)


@dataclass(frozen=True)
class NewKey:
    """``secret`` is the whole key; it is shown once and never stored."""

    id: str
    secret: str = field(repr=False)


def new_key() -> NewKey:
    key_id = secrets.token_hex(_ID_BYTES)
    body = f"{PREFIX}{key_id}_{''.join(secrets.choice(_BASE62) for _ in range(_RANDOM_DIGITS))}"
    return NewKey(key_id, body + _checksum(body))


def parse_key_id(secret: str) -> str:
    """Raises Unauthorized for an invalid or incomplete key. The error does not quote it."""
    if not secret.startswith(PREFIX):
        raise Unauthorized("is not an API key of this site's; they begin with atl_", FIELD)
    if not _KEY.fullmatch(secret) or _checksum(secret[:-_CHECKSUM_DIGITS]) != secret[-_CHECKSUM_DIGITS:]:
        raise Unauthorized("is not a whole API key: some of it is missing or was changed", FIELD)
    return secret[len(PREFIX) : len(PREFIX) + 2 * _ID_BYTES]


def parse_id_prefix(text: str) -> str:
    """The prefix of an id, from an id or a key, or the first part of either. Raises InvalidRequest."""
    match = _ID_PREFIX.fullmatch(text)
    if match is None or ("_" in text.removeprefix(PREFIX) and len(match[1]) < 2 * _ID_BYTES):
        raise InvalidRequest("must be the id of a key, or the first 4 or more characters of it", "key")
    return match[1]


def _checksum(body: str) -> str:
    remainder, digits = zlib.crc32(body.encode()), ""
    for _ in range(_CHECKSUM_DIGITS):
        remainder, digit = divmod(remainder, len(_BASE62))
        digits = _BASE62[digit] + digits
    return digits
