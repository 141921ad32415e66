"""``data:`` URLs in base64, as requests carry pictures (API_COMPAT 1)."""

from __future__ import annotations

import base64
import binascii
import re

from serve.errors import InvalidRequest, TooLarge

MAX_DATA_URL = 20 * 1024 * 1024
"""Characters."""
_HEAD = re.compile(r"data:[a-z0-9.+-]+/[a-z0-9.+-]+(;[a-z0-9=.+-]+)*;base64,", re.ASCII | re.IGNORECASE)
_LONGEST_HEAD = 256


def is_one(url: str) -> bool:
    return url[:5].lower() == "data:"


def decoded(url: str, most: int, field: str) -> bytes:
    """Up to ``most`` bytes; what they are is for others to see. Raises InvalidRequest and TooLarge naming ``field``."""
    head = _HEAD.match(url[:_LONGEST_HEAD])
    if head is None:
        raise InvalidRequest("must be a data: URL in base64, such as data:image/png;base64,iVBOR...", field)
    if len(url) > MAX_DATA_URL or len(url) - head.end() > (most + 2) // 3 * 4:
        raise TooLarge(f"has more than the {most} bytes allowed", field)
    try:
        return base64.b64decode(url[head.end() :], validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequest("is not valid base64", field) from None
