"""A reference whose picture is named by its URL (A-021, F 12)."""

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

WHOSE = {"user_id": "ada", "subject_name": "cat"}


async def named(door: Door, url: str, **more: str) -> httpx.Response:
    return await door.client.post("/api/references", files={"url": (None, url)}, data={**WHOSE, **more})


async def test_a_reference_by_its_url(tmp_path: Path) -> None:
    data = encode(drawn(size=48))
    pictures = {"/cat": picture(data), "/bomb": picture(decompression_bomb())}
    async with opened(tmp_path) as door, Host(pictures).listening() as host:
        door.app.state.fetcher = Fetcher(settings())
        told = await named(door, host.url("/cat"))
        assert told.status_code == 201
        assert (told.json()["md5"], told.json()["width"]) == (hashlib.md5(data).hexdigest(), 48)
        assert is_problem(await named(door, host.url("/none")), 400, "url")
        assert is_problem(await named(door, host.url("/bomb")), 413, "url")


@pytest.mark.parametrize(
    "url", ["https://169.254.169.254/latest/meta-data/", "http://localhost/", "file:///etc/passwd"]
)
async def test_what_may_not_be_named(tmp_path: Path, url: str) -> None:
    async with opened(tmp_path) as door:
        assert is_problem(await named(door, url), 400, "url")
        both = {"image": ("a.png", encode(drawn()), "image/png"), "url": (None, "https://example.com/")}
        assert is_problem(await door.client.post("/api/references", files=both, data=WHOSE), 400, "url")
        assert is_problem(await door.client.post("/api/references", data=WHOSE, files={"x": (None, "1")}), 400, "x")


async def test_a_job_by_its_pictures_url(state: State) -> None:
    """Kept before there is a job: what the address shows later is of no interest."""
    data = encode(drawn(size=48))
    hidden = {"/hidden": picture(decompression_bomb())}
    async with keyed_site(state) as site, Host({"/cat": picture(data), **hidden}).listening() as host:
        site.app.state.fetcher = Fetcher(settings())
        async with site.door((await site.key("ada")).secret) as ada:

            async def added(url: str) -> httpx.Response:
                return await ada.post("/v1/jobs", json={"kind": "vectorize", "input": {"image": url}})

            assert (await added(host.url("/cat"))).status_code == 202
            assert is_problem(await added(host.url("/hidden")), 413, "image")
            for url in ("https://169.254.169.254/", "http://localhost/x.png", "ftp://example.org/", "x"):
                assert is_problem(await added(url), 400, "image")


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
async def test_a_reference_that_is_drawn(tmp_path: Path, more: bytes) -> None:
    """What is safe in an SVG is drawn; of all else nothing is kept (C-102)."""
    async with opened(tmp_path) as door:
        files = {"image": ("logo.svg", DRAWN % more, "image/svg+xml")}
        told = await door.client.post("/api/references", files=files, data=WHOSE)
        assert told.status_code == 201, told.text
        assert (told.json()["width"], told.json()["height"]) == (1024, 512)
        kept = await door.client.get(f"/api/references/{told.json()['id']}/image?user_id=ada")
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
async def test_a_drawing_that_is_none(tmp_path: Path, data: bytes, status: int) -> None:
    async with opened(tmp_path) as door:
        told = await door.client.post("/api/references", files={"image": ("a.svg", data, "image/png")}, data=WHOSE)
        assert is_problem(told, status, "image"), told.text
