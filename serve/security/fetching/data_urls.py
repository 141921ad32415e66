"""Base64 ``data:`` URLs, as requests carry pictures (API_COMPAT 1)."""

from __future__ import annotations

import base64
import binascii
import re

from serve.errors import InvalidRequest, TooLarge

MAX_DATA_URL = 20 * 1024 * 1024
"""Characters."""
_HEAD = re.compile(r"data:[a-z0-9.+-]+/[a-z0-9.+-]+(;[a-z0-9=.+-]+)*;base64,", re.ASCII | re.IGNORECASE)
_MAX_HEAD_LENGTH = 256


def is_data_url(url: str) -> bool:
    return url[:5].lower() == "data:"


def decode_data_url(url: str, max_bytes: int, field: str) -> bytes:
    """At most ``max_bytes`` bytes; the content is not checked. Raises InvalidRequest and TooLarge naming ``field``."""
    head = _HEAD.match(url[:_MAX_HEAD_LENGTH])
    if head is None:
        raise InvalidRequest("must be a data: URL in base64, such as data:image/png;base64,iVBOR...", field)
    if len(url) > MAX_DATA_URL or len(url) - head.end() > (max_bytes + 2) // 3 * 4:
        raise TooLarge(f"has more than the {max_bytes} bytes allowed", field)
    try:
        return base64.b64decode(url[head.end() :], validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequest("is not valid base64", field) from None
