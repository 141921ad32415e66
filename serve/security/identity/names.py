"""Names that users choose, for themselves and for their keys: which characters are allowed."""

from __future__ import annotations

import re

from serve.errors import InvalidRequest

MAX_NAME = 100
USER_ID = "[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}"
_USER_ID = re.compile(USER_ID, re.ASCII)


def user_id_of(text: str) -> str:
    """``text``. Raises InvalidRequest for what is no id of a user."""
    if not _USER_ID.fullmatch(text):
        raise InvalidRequest("must be 1 to 64 letters, digits or . _ @ + -, the first a letter or digit", "user_id")
    return text


def name_of(text: str) -> str:
    """``text``. Raises InvalidRequest for control characters, also those that change the direction of writing."""
    if len(text) > MAX_NAME or not text.isprintable():
        raise InvalidRequest(f"must be at most {MAX_NAME} characters that can be printed", "name")
    return text
