"""The built files of the web application: addresses, caching, compression, headers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from illustrator_standin import IllustratorStandIn
from standin import StandIn

from loadtests.studio.browser import ALL_PAGES, PAGES
from serve.api.app import create_app
from serve.api.middleware.scopes import STUDIO_PAGES
from serve.api.studio import pages
from serve.settings import Settings


@pytest.fixture
async def door() -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(StandIn(), Settings(), illustrator=IllustratorStandIn())
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "dist"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text("<!doctype html><title>studio</title>")
    (folder / "assets" / "main-abc.js").write_text("1;")
    (folder / "assets" / "main-abc.js.br").write_bytes(b"brotli")
    (folder / "icon.svg").write_text("<svg/>")
    monkeypatch.setattr(pages, "BUILT", folder)
    return folder


@pytest.mark.usefixtures("built")
async def test_every_page_is_the_one_document(door: httpx.AsyncClient) -> None:
    assert list(STUDIO_PAGES) == list(ALL_PAGES.values())
    assert set(ALL_PAGES) - set(PAGES) == {"Operate"}
    for path in STUDIO_PAGES:
        answer = await door.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
        policy = answer.headers["content-security-policy"]
        assert "script-src 'self';" in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["cache-control"] == "no-cache"
    again = await door.get("/", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.usefixtures("built")
async def test_hashed_files_are_cached_for_ever_and_sent_compressed(door: httpx.AsyncClient) -> None:
    async with door.stream("GET", "/studio/assets/main-abc.js", headers={"Accept-Encoding": "gzip, br"}) as answer:
        raw = b"".join([part async for part in answer.aiter_raw()])
    assert (answer.headers["content-encoding"], raw) == ("br", b"brotli")
    assert answer.headers["content-type"].startswith("text/javascript")
    assert "immutable" in answer.headers["cache-control"]
    plain = await door.get("/studio/assets/main-abc.js", headers={"Accept-Encoding": "identity"})
    assert (plain.text, plain.headers["vary"]) == ("1;", "Accept-Encoding")
    assert (await door.get("/studio/icon.svg")).headers["cache-control"] == "no-cache"


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize(
    "path",
    ["missing.js", "index.html", "assets/main-abc.js.br", "..%2F..%2Fserve%2Fapp.py", "%2Fetc%2Fpasswd", "assets"],
)
async def test_other_files_do_not_exist(door: httpx.AsyncClient, path: str) -> None:
    answer = await door.get(f"/studio/{path}")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


async def test_a_site_without_built_files_says_how_to_build_them(
    door: httpx.AsyncClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "BUILT", tmp_path / "none")
    answer = await door.get("/")
    assert answer.status_code == 404
    assert "make studio" in answer.text


async def test_offer_lists_families_and_limits(door: httpx.AsyncClient) -> None:
    offer = (await door.get("/api/studio")).json()
    assert offer["families"]
    assert all(family["sampler"] in family["samplers"] for family in offer["families"])
    assert offer["limits"]["max_upload_bytes"] == Settings().limits.max_body_bytes
    assert offer["keeps"] is False
