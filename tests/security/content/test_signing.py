"""Signed URLs: valid until they expire, and for one path only."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from pictures import drawn, encode
from pydantic import SecretStr
from stateful_door import opened

from serve.ensembles.requests import File
from serve.security.signing import signed_urls
from serve.security.signing.signed_urls import SKEW_S, UrlSigner
from serve.settings import SecretsSettings, Settings

OLD, NEW = b"o" * 32, b"n" * 32
PATH = "/v1/results/ab12"


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def query(url: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(url).query))


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_signature_is_valid_until_it_expires(clock: Clock) -> None:
    signer = UrlSigner([NEW], clock)
    url = signer.sign(PATH, 60)
    assert urlsplit(url).path == PATH
    values = query(url)
    for later, expected in ((0, True), (60, True), (60 + SKEW_S, True), (61 + SKEW_S, False), (10**9, False)):
        clock.now = Clock.now + later
        assert signer.is_valid(PATH, values) is expected, later
    clock.now = Clock.now - 3600
    assert signer.is_valid(PATH, values), "a clock that is behind"


def test_signature_is_bound_to_path_and_user(clock: Clock) -> None:
    signer = UrlSigner([NEW], clock)
    values = query(signer.sign(PATH, 60, "ana"))
    assert signer.is_valid(PATH, values, "ana")
    assert signer.is_valid(PATH, {**values, "format": "webp"}, "ana")
    assert not signer.is_valid(PATH, values)
    assert not signer.is_valid(PATH, values, "bob")
    for path in ("/v1/results/ab13", f"{PATH}/", f"{PATH}/thumbnail", PATH[:-1], PATH.upper(), ""):
        assert not signer.is_valid(path, values, "ana"), path
    lent = query(signer.sign(f"{PATH}1", 60))
    assert not signer.is_valid(PATH, {**lent, "expires": f"1{lent['expires']}"})


@pytest.mark.parametrize(
    "changed",
    [
        {"expires": "9999999999"},
        {"expires": "+1800000060"},
        {"expires": "1800000060 "},
        {"expires": "١٨٠٠٠٠٠٠٦٠"},
        {"expires": "1e12"},
        {"expires": "-1"},
        {"expires": "9" * 5000},
        {"expires": ""},
        {"signature": ""},
        {"signature": "A" * 43},
        {"signature": "ä" * 43},
        {"signature": "A" * 100_000},
    ],
)
def test_modified_query_is_invalid(clock: Clock, changed: dict[str, str]) -> None:
    signer = UrlSigner([NEW], clock)
    assert not signer.is_valid(PATH, query(signer.sign(PATH, 60)) | changed)


def test_every_character_of_the_signature_is_checked(clock: Clock) -> None:
    signer = UrlSigner([NEW], clock)
    values = query(signer.sign(PATH, 60))
    signature = values["signature"]
    for place, character in enumerate(signature):
        other = signature[:place] + ("A" if character != "A" else "B") + signature[place + 1 :]
        assert not signer.is_valid(PATH, {**values, "signature": other})
    for missing in ("expires", "signature"):
        assert not signer.is_valid(PATH, {name: value for name, value in values.items() if name != missing})


def test_key_rotation_keeps_old_urls_valid(clock: Clock) -> None:
    before = query(UrlSigner([OLD], clock).sign(PATH, 60))
    both = UrlSigner([NEW, OLD], clock)
    assert both.is_valid(PATH, before)
    assert UrlSigner([NEW], clock).is_valid(PATH, query(both.sign(PATH, 60)))
    assert not UrlSigner([NEW], clock).is_valid(PATH, before)


@pytest.mark.parametrize("keys", [[], [b"short"], [NEW, b""]])
def test_short_signing_keys_are_refused(keys: list[bytes]) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        UrlSigner(keys)


def settings_with_secrets(folder: Path, **values: Any) -> Settings:
    return Settings(state_dir=folder, secrets=SecretsSettings(**values))


def test_urls_are_signed_where_keys_are_required(tmp_path: Path) -> None:
    site = settings_with_secrets(tmp_path, keys=(SecretStr("s" * 32),))
    assert signed_urls.public_url(site, PATH) == PATH
    assert not signed_urls.is_valid(site, PATH, {})
    url = signed_urls.public_url(site, PATH, requires_key=lambda _: True)
    assert signed_urls.is_valid(site, PATH, query(url))
    assert "s" * 32 not in url
    assert not signed_urls.is_valid(settings_with_secrets(tmp_path, keys=(SecretStr("t" * 32),)), PATH, query(url))
    both = settings_with_secrets(tmp_path, keys=(SecretStr("t" * 32), SecretStr("s" * 32)))
    assert signed_urls.is_valid(both, PATH, query(url))


async def test_signed_urls_in_responses_work_without_a_key(tmp_path: Path) -> None:
    """Clients without a key: signed URLs work with and without additional query parameters."""
    async with opened(tmp_path) as door:
        site = door.app.state.settings = settings_with_secrets(tmp_path, sign_links=True)
        (name,) = await door.draw(File(encode(drawn()), "image/png", 64, 64, 7))
        metadata = (await door.client.get(f"/v1/results/{name}/metadata")).json()
        listed = (await door.client.get("/v1/generations")).json()["generations"][0]["results"][0]
        urls = [metadata["url"], metadata["thumbnail_url"], listed["image_url"], listed["thumbnail_url"]]
        assert len({urlsplit(url).path for url in urls}) == 2
        for url in urls:
            assert signed_urls.is_valid(site, urlsplit(url).path, query(url)), url
            for one in (url, f"{url}&download=1"):
                answer = await door.client.get(one)
                assert answer.status_code == 200
                assert answer.headers["content-type"].startswith("image/")
