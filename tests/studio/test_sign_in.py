"""Sign-in of browsers by an API key: the cookie, what it opens, and what other sites cannot do with it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from keyed_door import ME, KeyedSite, keyed_site

from serve.security.identity.sessions import COOKIE
from serve.state import State

HERE = {"Origin": "http://atelier"}


@pytest.fixture
async def site(state: State) -> AsyncIterator[KeyedSite]:
    async with keyed_site(state, access={"cache_s": 0.0}) as opened:
        yield opened


@pytest.fixture
async def browser(site: KeyedSite) -> AsyncIterator[httpx.AsyncClient]:
    """It keeps cookies and has no key of its own."""
    async with site.door() as client:
        yield client


async def signed_in(site: KeyedSite, browser: httpx.AsyncClient, user: str = "ada") -> str:
    """The id of the key."""
    made = await site.key(user)
    answer = await browser.post("/api/session", json={"key": made.secret}, headers=HERE)
    assert (answer.status_code, answer.json()["user_id"]) == (200, user)
    cookie = answer.headers["set-cookie"]
    assert made.secret not in cookie
    assert all(part in cookie for part in ("HttpOnly", "SameSite=strict", "Path=/"))
    return made.key.id


async def test_session_before_and_after_sign_in(site: KeyedSite, browser: httpx.AsyncClient) -> None:
    before = (await browser.get("/api/session")).json()
    assert before == {"required": True, "user_id": None, "role": None, "scopes": []}
    assert (await browser.get("/v1/me")).status_code == 401
    await signed_in(site, browser)
    assert (await browser.get("/v1/me")).json()["user_id"] == "ada"
    assert (await browser.get("/api/session")).json()["role"] == "user"
    assert (await browser.delete("/api/session", headers=HERE)).status_code == 204
    assert (await browser.get("/v1/me")).status_code == 401


async def test_wrong_keys_are_refused_and_set_no_cookie(browser: httpx.AsyncClient) -> None:
    for key, status in (("atl_wrong", 401), ("x" * 2000, 400), ("", 400)):
        answer = await browser.post("/api/session", json={"key": key}, headers=HERE)
        assert (answer.status_code, "set-cookie" in answer.headers) == (status, False), answer.text
        assert "key" in answer.json()["detail"] or answer.json()["field"] in ("key", "Authorization")


async def test_session_ends_with_its_key(site: KeyedSite, browser: httpx.AsyncClient) -> None:
    key_id = await signed_in(site, browser)
    await site.entrance.gate.keys.revoke(key_id, ME)
    assert (await browser.get("/v1/me")).status_code == 401


async def test_damaged_cookies_open_nothing(site: KeyedSite, browser: httpx.AsyncClient) -> None:
    await signed_in(site, browser)
    sealed = browser.cookies[COOKIE]
    for value in ("", "x", sealed[:-8], sealed[::-1], "a" * 5000):
        answer = await browser.get("/v1/me", headers={"Cookie": f"{COOKIE}={value}"})
        assert answer.status_code == 401, value


async def test_changes_need_a_page_of_this_site(site: KeyedSite, browser: httpx.AsyncClient) -> None:
    """A browser sends the cookie by itself; the origin says which page made it do so."""
    await signed_in(site, browser)
    job = {"kind": "illustrate", "input": {"prompt": "red apple"}}
    assert (await browser.post("/v1/jobs", json=job)).status_code == 403
    assert (
        await browser.post("/v1/jobs", json=job, headers={"Origin": "https://elsewhere.example"})
    ).status_code == 403
    assert (await browser.post("/v1/jobs", json=job, headers=HERE)).status_code == 202


async def test_a_key_in_a_header_counts_before_the_session(site: KeyedSite, browser: httpx.AsyncClient) -> None:
    await signed_in(site, browser)
    other = (await site.key("bob")).secret
    assert (await browser.get("/v1/me", headers={"Authorization": f"Bearer {other}"})).json()["user_id"] == "bob"
