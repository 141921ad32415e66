"""Subject references and job inputs whose picture is given by URL (A-021, F 12)."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import httpx
import pytest
from keyed_door import keyed_site
from picture_hosts import Host, picture, settings
from pictures import decompression_bomb, drawn, encode
from PIL import Image
from stateful_door import Door, is_problem, opened

from serve.security.fetching.fetcher import Fetcher
from serve.state import State

OWNER = {"user_id": "ada", "subject_name": "cat"}


async def create_by_url(door: Door, url: str, **more: str) -> httpx.Response:
    return await door.client.post("/api/references", files={"url": (None, url)}, data={**OWNER, **more})


async def test_reference_is_created_from_a_url(tmp_path: Path) -> None:
    data = encode(drawn(size=48))
    pictures = {"/cat": picture(data), "/bomb": picture(decompression_bomb())}
    async with opened(tmp_path) as door, Host(pictures).listening() as host:
        door.app.state.fetcher = Fetcher(settings())
        response = await create_by_url(door, host.url("/cat"))
        assert response.status_code == 201
        assert (response.json()["md5"], response.json()["width"]) == (hashlib.md5(data).hexdigest(), 48)
        assert is_problem(await create_by_url(door, host.url("/none")), 400, "url")
        assert is_problem(await create_by_url(door, host.url("/bomb")), 413, "url")


@pytest.mark.parametrize(
    "url", ["https://169.254.169.254/latest/meta-data/", "http://localhost/", "file:///etc/passwd"]
)
async def test_forbidden_url_and_ambiguous_form_are_refused(tmp_path: Path, url: str) -> None:
    async with opened(tmp_path) as door:
        assert is_problem(await create_by_url(door, url), 400, "url")
        both = {"image": ("a.png", encode(drawn()), "image/png"), "url": (None, "https://example.com/")}
        assert is_problem(await door.client.post("/api/references", files=both, data=OWNER), 400, "url")
        assert is_problem(await door.client.post("/api/references", data=OWNER, files={"x": (None, "1")}), 400, "x")


async def test_job_input_is_fetched_from_a_url(state: State) -> None:
    """The picture is stored before the job exists: later changes at the URL have no effect."""
    data = encode(drawn(size=48))
    hidden = {"/hidden": picture(decompression_bomb())}
    async with keyed_site(state) as site, Host({"/cat": picture(data), **hidden}).listening() as host:
        site.app.state.fetcher = Fetcher(settings())
        async with site.door((await site.key("ada")).secret) as ada:

            async def add_job(url: str) -> httpx.Response:
                return await ada.post("/v1/jobs", json={"kind": "vectorize", "input": {"image": url}})

            assert (await add_job(host.url("/cat"))).status_code == 202
            assert is_problem(await add_job(host.url("/hidden")), 413, "image")
            for url in ("https://169.254.169.254/", "http://localhost/x.png", "ftp://example.org/", "x"):
                assert is_problem(await add_job(url), 400, "image")


DRAWN = b"""<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="40" height="20">
<rect width="40" height="20" fill="#ff0000"/>%s</svg>"""


@pytest.mark.parametrize(
    "more",
    [
        b"", b"<script>alert(1)</script>", b'<image href="file:///etc/passwd" width="9" height="9"/>',
        b'<image href="http://169.254.169.254/x.png" width="9" height="9"/>', b'<g onload="alert(1)"/>',
        b'<foreignObject width="9" height="9"><body xmlns="http://www.w3.org/1999/xhtml">x</body></foreignObject>',
    ],
)  # fmt: skip
async def test_svg_reference_is_sanitised_and_rasterised(tmp_path: Path, more: bytes) -> None:
    """The safe parts of an SVG are drawn; nothing else is stored (C-102)."""
    async with opened(tmp_path) as door:
        files = {"image": ("logo.svg", DRAWN % more, "image/svg+xml")}
        response = await door.client.post("/api/references", files=files, data=OWNER)
        assert response.status_code == 201, response.text
        assert (response.json()["width"], response.json()["height"]) == (1024, 512)
        kept = await door.client.get(f"/api/references/{response.json()['id']}/image?user_id=ada")
        assert kept.content.startswith(b"\x89PNG")
        with Image.open(io.BytesIO(kept.content)) as image:
            assert image.convert("RGB").getcolors() == [(1024 * 512, (255, 0, 0))]


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"<svg xmlns='http://www.w3.org/2000/svg'><rect", 422), (b"<html><body/></html>", 415),
        (b'<!DOCTYPE svg [<!ENTITY a "aaaa">]><svg xmlns="http://www.w3.org/2000/svg">&a;</svg>', 422),
        (b"<svg xmlns='http://www.w3.org/2000/svg' width='1' height='1000000'/>", 422),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 422), (b"<", 415),
    ],
)  # fmt: skip
async def test_invalid_svg_reference_is_refused(tmp_path: Path, data: bytes, status: int) -> None:
    async with opened(tmp_path) as door:
        response = await door.client.post("/api/references", files={"image": ("a.svg", data, "image/png")}, data=OWNER)
        assert is_problem(response, status, "image"), response.text
