"""Headers that carry the key: OpenAI's, `x-api-key` and A1111's (API_COMPAT 2); and malformed ones."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.errors import Unauthorized
from serve.security.identity.authentication import MAX_HEADER, read_key
from serve.security.identity.key_format import new_key

KEY = new_key().secret


def basic(user: str, password: str = KEY, encoding: str = "utf-8") -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode(encoding)).decode()


@pytest.mark.parametrize(
    ("authorization", "api_key"),
    [
        ([f"Bearer {KEY}"], []),
        ([f"bearer {KEY}"], []),
        ([f"BEARER   {KEY} "], []),
        ([], [KEY]),
        ([], [f" {KEY}\t"]),
        ([basic("user")], []),
        ([basic("")], []),
        ([basic("Füchse")], []),
        ([basic("Füchse", encoding="latin-1")], []),
        ([f"Bearer {KEY}"], [KEY]),
        ([f"Bearer {KEY}", basic("user")], [KEY]),
    ],
)
def test_accepted_key_headers(authorization: list[str], api_key: list[str]) -> None:
    assert read_key(authorization, api_key) == KEY


def test_no_header_gives_no_key() -> None:
    assert read_key([]) is None


@pytest.mark.parametrize(
    ("authorization", "api_key"),
    [
        ([""], []),
        (["Bearer"], []),
        (["Bearer "], []),
        ([KEY], []),
        ([f"Token {KEY}"], []),
        ([f"Digest username={KEY}"], []),
        (["Basic"], []),
        (["Basic !!!"], []),
        ([basic("user", "")], []),
        (["Basic " + base64.b64encode(KEY.encode()).decode()], []),
        ([basic("user", "a\r\nSet-Cookie: b")], []),
        ([basic("user", "\0")], []),
        ([f"Bearer {KEY}\r\nX-Injected: 1"], []),
        ([f"Bearer {KEY}é"], []),
        ([f"Bearer {KEY}\x7f"], []),
        ([f"Bearer {'a' * MAX_HEADER}"], []),
        (["Basic " + "A" * 10_000_000], []),
        ([], [""]),
        ([], ["\0"]),
        ([], ["k" * (MAX_HEADER + 1)]),
        ([f"Bearer {KEY}", "Bearer another"], []),
        ([f"Bearer {KEY}"], ["another"]),
        ([], [KEY, "another"]),
    ],
)
def test_unreadable_key_is_refused_without_echo(authorization: list[str], api_key: list[str]) -> None:
    with pytest.raises(Unauthorized) as error:
        read_key(authorization, api_key)
    assert KEY not in str(error.value)
    assert str(error.value).isprintable()
    assert error.value.field in ("Authorization", "x-api-key")


@given(st.lists(st.text(), max_size=3), st.lists(st.text(), max_size=3))
def test_arbitrary_headers_give_ascii_or_are_refused(authorization: list[str], api_key: list[str]) -> None:
    try:
        key = read_key(authorization, api_key)
    except Unauthorized:
        return
    assert key is None or (key.isascii() and key.isprintable() and 0 < len(key) <= MAX_HEADER)
