"""Key format: scanners find keys, and truncated or mistyped keys are detected without a database."""

from __future__ import annotations

import re

import pytest
from access_site import INJECTIONS
from hypothesis import given
from hypothesis import strategies as st

from serve.errors import InvalidRequest, Unauthorized
from serve.security.identity.key_format import PATTERN, new_key, parse_id_prefix, parse_key_id


def test_key_has_its_id_and_over_160_random_bits() -> None:
    made = [new_key() for _ in range(200)]
    assert len({one.secret for one in made}) == len({one.id for one in made}) == 200
    for one in made:
        assert re.fullmatch(PATTERN, one.secret)
        assert parse_key_id(one.secret) == one.id
        assert one.secret not in repr(one)
    assert 62**30 > 2**160
    digits = {digit for one in made for digit in one.secret.split("_")[2][:30]}
    assert len(digits) == 62, "every digit of the random part is drawn from all"


def test_secret_scanners_find_keys_in_text() -> None:
    secret = new_key().secret
    assert re.findall(PATTERN, f'export KEY="{secret}"; curl -H "x-api-key: {secret}"') == [secret, secret]


def test_every_single_character_change_is_detected() -> None:
    secret = new_key().secret
    for place in range(len(secret)):
        changed = "0" if secret[place] != "0" else "1"
        for other in (secret[:place] + changed + secret[place + 1 :], secret[:place] + secret[place + 1 :]):
            with pytest.raises(Unauthorized) as error:
                parse_key_id(other)
            assert other not in str(error.value)
    for other in (secret.lower(), secret.upper(), secret.swapcase(), secret + "0", f" {secret}", f"{secret}\n"):
        with pytest.raises(Unauthorized):
            parse_key_id(other)


@pytest.mark.parametrize("text", INJECTIONS)
def test_malformed_keys_are_refused(text: str) -> None:
    for other in (text, f"atl_{text}", new_key().secret + text if text else "atl_"):
        with pytest.raises(Unauthorized):
            parse_key_id(other)
    with pytest.raises(InvalidRequest):
        parse_id_prefix(text)


@given(st.text())
def test_arbitrary_text_is_refused(text: str) -> None:
    with pytest.raises(Unauthorized):
        parse_key_id(text)


def test_id_prefix_of_a_key_is_parsed() -> None:
    made = new_key()
    for text in (made.id, f"atl_{made.id}", f"atl_{made.id}_", made.secret[:30], made.secret):
        assert parse_id_prefix(text) == made.id
    assert parse_id_prefix(made.id[:4]) == parse_id_prefix(f"atl_{made.id[:4]}") == made.id[:4]
    for text in (made.id[:3], "atl_", f"{made.id}0", f"{made.id[:8]}_abc", "ATL_" + made.id):
        with pytest.raises(InvalidRequest):
            parse_id_prefix(text)
