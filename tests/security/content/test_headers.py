"""Security headers, filenames in `Content-Disposition`, and cross-origin requests (C-102)."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import unquote

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pictures import drawn, encode
from standin import StandIn
from stateful_door import Door, opened

from serve.api.app import create_app
from serve.api.http.headers import disposition
from serve.ensembles.requests import File
from serve.settings import HttpSettings, Settings

DRAWING = File(
    b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 4 4"><path d="M0 0h4v4z"/></svg>', "image/svg+xml", 4, 4
)


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with opened(tmp_path) as door:
        yield door


GUARDED = ("/health/live", "/v1/models", "/nowhere", "/v1/results/none", "/v2", "/openapi.json", "/docs")


@pytest.mark.parametrize("path", GUARDED)
async def test_every_response_has_security_headers(door: Door, path: str) -> None:
    headers = (await door.client.get(path)).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["content-security-policy"].startswith("default-src 'none';")
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["cache-control"] == ("no-cache" if path in ("/openapi.json", "/docs") else "no-store")
    assert all(len(headers.get_list(name)) == 1 for name in headers)


async def test_result_files_have_their_own_security_headers(door: Door) -> None:
    (picture,) = await door.draw(File(encode(drawn()), "image/png", 64, 64, 7))
    (drawing,) = await door.draw(DRAWING)
    for name, policy in ((picture, "default-src 'none'"), (drawing, "sandbox")):
        for part in ("", "?download=1"):
            headers = (await door.client.get(f"/v1/results/{name}{part}")).headers
            assert policy in headers["content-security-policy"]
            assert "script-src" not in headers["content-security-policy"]
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["cross-origin-resource-policy"] == "same-site"
            assert headers["cache-control"].startswith("private, ")


async def test_allowed_origins_may_embed_results(door: Door) -> None:
    door.app.state.settings = Settings(http=HttpSettings(allowed_origins=("https://friend.example",)))
    (picture,) = await door.draw(File(encode(drawn()), "image/png", 64, 64, 7))
    headers = (await door.client.get(f"/v1/results/{picture}")).headers
    assert headers["cross-origin-resource-policy"] == "cross-origin"


NAMES = [
    ("cat.png", 'attachment; filename="cat.png"'),
    ('a"b.png', 'attachment; filename="a_b.png"'),
    ("a\r\nSet-Cookie: x=y.png", 'attachment; filename="a__Set-Cookie_ x_y.png"'),
    ("../../etc/passwd", 'attachment; filename="picture.._.._etc_passwd"'),
    ("..\\..\\boot.ini", 'attachment; filename="picture.._.._boot.ini"'),
    ("C:\\a.png", 'attachment; filename="C__a.png"'),
    ("nul.png", 'attachment; filename="picturenul.png"'),
    ("COM1.png", 'attachment; filename="pictureCOM1.png"'),
    (".htaccess", 'attachment; filename="picture.htaccess"'),
    ("-rf.png", 'attachment; filename="picture-rf.png"'),
    ("~root.png", 'attachment; filename="_root.png"'),
    ("a\u202egnp.exe", 'attachment; filename="a_gnp.exe"'),
    ("a\0b.png", 'attachment; filename="a_b.png"'),
    ("", 'attachment; filename="picture"'),
    ("%2e%2e%2fa.png", 'attachment; filename="_2e_2e_2fa.png"'),
    ("ä/b.png", "attachment; filename=\"a_b.png\"; filename*=UTF-8''%C3%A4_b.png"),
    ("\uff0f\uff02a.png", 'attachment; filename="__a.png"'),
]


@pytest.mark.parametrize(("name", "expected"), NAMES)
def test_content_disposition_filenames(name: str, expected: str) -> None:
    assert disposition("attachment", name).startswith(expected)


ROUGHLY = r'filename="([^"\\/\r\n\x00-\x1f\x7f-\U0010ffff]+)"'
SAFE = re.compile(rf"inline; {ROUGHLY}(?:; filename\*=UTF-8''([\w.~%-]+))?")


@given(st.text())
def test_any_filename_becomes_one_safe_header(name: str) -> None:
    header = disposition("inline", name)
    match = SAFE.fullmatch(header)
    assert match is not None, header
    for filename in filter(None, (match[1], unquote(match[2] or ""))):
        assert not set(filename) & set('/\\"\r\n\0:')
        assert filename[0] not in ".- "
        assert len(filename) <= 220
    header.encode("latin-1")


def site_for(**values: object) -> httpx.AsyncClient:
    app = create_app(StandIn(), Settings(http=HttpSettings(**values)))  # type: ignore[arg-type]
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://atelier:8000")


FRIEND = "https://friend.example"


@pytest.mark.parametrize(
    ("origin", "is_allowed"),
    [
        (None, True), ("http://atelier:8000", True), (FRIEND, True), ("https://evil.example", False), ("null", False),
        ("http://atelier:9000", False), ("http://atelier.evil.example", False), ("file://", False),
        ("https://friend.example.evil.example", False), ("http://friend.example", False),
    ],
)  # fmt: skip
async def test_cross_origin_writes_are_refused(origin: str | None, is_allowed: bool) -> None:
    headers = {} if origin is None else {"Origin": origin}
    async with site_for(allowed_origins=(FRIEND,)) as client:
        sent = await client.post("/api/convert", files={"image": encode(drawn())}, headers=headers)
        assert sent.status_code == (200 if is_allowed else 403)
        assert ("access-control-allow-origin" in sent.headers) is (origin == FRIEND)
        read = await client.get("/health/live", headers=headers)
        assert read.status_code == 200
        assert ("access-control-allow-origin" in read.headers) is (origin == FRIEND)
        if not is_allowed:
            assert sent.json()["field"] == "Origin"
            for method in ("PUT", "DELETE", "PATCH"):
                assert (await client.request(method, "/v1/generations/a/favorite", headers=headers)).status_code == 403


async def test_cors_preflight_answers_only_allowed_origins() -> None:
    preflight = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    async with site_for(allowed_origins=(FRIEND,)) as client:
        allowed = await client.options("/api/convert", headers={**preflight, "Origin": FRIEND})
        assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (200, FRIEND)
        assert "access-control-allow-credentials" not in allowed.headers
        other = await client.options("/api/convert", headers={**preflight, "Origin": "https://evil.example"})
        assert other.status_code == 400
        assert "access-control-allow-origin" not in other.headers
    async with site_for() as client:
        unconfigured = await client.options("/api/convert", headers={**preflight, "Origin": FRIEND})
        assert "access-control-allow-origin" not in unconfigured.headers
