"""The guarded fetcher against real servers: what it sends, what it accepts, and which hosts it does not call."""

from __future__ import annotations

import asyncio
import base64
import socket
from typing import Any

import pytest
from aiohttp import web
from picture_hosts import INSIDE, OUTSIDE, PNG, Host, answering, moved, picture, refused, settings
from pictures import drawn, encode
from waiting import until

from loadtests.load.stack import free_ports
from serve.errors import InvalidRequest, Overloaded, TooLarge, UnsupportedMedia
from serve.security.fetching.dns_pinning import PinnedResolver
from serve.security.fetching.fetcher import Fetcher
from serve.settings import FetchSettings
from serve.settings.egress_policy import destinations


async def test_fetch_sends_no_cookies_and_no_identifying_headers(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    host.answers["/set"] = web.Response(
        status=302, headers={"Location": "/a.png?x=1#there", "Set-Cookie": "a=b; Path=/"}
    )
    fetcher = Fetcher(settings())
    assert await fetcher.fetch_picture(host.url("/set"), "url") == PNG
    (_, first), (path, second) = host.requests
    assert path == "/a.png?x=1"
    for headers in (first, second):
        assert set(headers) == {"host", "accept", "accept-encoding", "user-agent", "connection"}
        assert headers["accept-encoding"] == "identity"
        assert headers["user-agent"].startswith("atelier/")


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "GIF", "BMP", "TIFF"])
async def test_every_readable_format_is_fetched(host: Host, kind: str) -> None:
    data = encode(drawn("RGB"), kind)
    host.answers["/b"] = picture(data, **{"Content-Type": "application/octet-stream"})
    assert await Fetcher(settings()).fetch_picture(host.url("/b"), "url") == data


async def test_private_addresses_are_refused_by_default(host: Host) -> None:
    for url in (host.url("/a.png"), f"https://127.0.0.1:{host.port}/a.png", "https://localhost/a.png"):
        await refused(url, FetchSettings())
    names = PinnedResolver(destinations(()).may_call, answering(INSIDE))
    private_refusal = await refused("https://pictures.example.com/a.png", FetchSettings(), names)
    assert host.requests == []
    unresolvable = PinnedResolver(destinations(()).may_call, name_not_found)
    assert str(await refused("https://pictures.example.com/a.png", FetchSettings(), unresolvable)) == str(
        private_refusal
    )


def name_not_found(host: str, port: int, family: socket.AddressFamily) -> list[Any]:
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


async def test_dns_rebinding_is_refused() -> None:
    """127.0.0.2 is allowed and 127.0.0.1 is not; both listen on one port."""
    site = settings(allow=(f"{OUTSIDE}/32",))
    names = PinnedResolver(destinations(site.allow).may_call, answering(OUTSIDE, INSIDE))
    async with (
        Host({"/a.png": picture()}, OUTSIDE, *free_ports(1)).listening() as outer,  # one that is free at both
        Host({"/a.png": picture()}, INSIDE, outer.port).listening() as inner,
    ):
        fetcher = Fetcher(site, names)
        url = f"http://pictures.example.com:{outer.port}/a.png"
        assert await fetcher.fetch_picture(url, "url") == PNG
        with pytest.raises(InvalidRequest, match="could not be fetched"):
            await fetcher.fetch_picture(url, "url")
        assert (len(outer.requests), len(inner.requests)) == (1, 0)


async def test_name_with_public_and_private_addresses_is_refused() -> None:
    def both(host: str, port: int, family: socket.AddressFamily) -> list[Any]:
        return answering(OUTSIDE)(host, port, family) + answering(INSIDE)(host, port, family)

    site = settings(allow=(f"{OUTSIDE}/32",))
    async with Host({"/a.png": picture()}, OUTSIDE).listening() as outer:
        names = PinnedResolver(destinations(site.allow).may_call, both)
        await refused(f"http://pictures.example.com:{outer.port}/a.png", site, names)
    assert outer.requests == []


@pytest.mark.parametrize(
    "to",
    [
        "http://127.0.0.1:{port}/a.png", "http://2130706433:{port}/a.png", "http://[::1]:{port}/a.png",
        "http://localhost:{port}/a.png", "//127.0.0.1:{port}/a.png", "file:///etc/passwd", "data:image/png;base64,AAAA",
        "http://a:b@127.0.0.2:{port}/a.png", "", "http://127.0.0.2:{port}/" + "x" * 3000,
    ],
)  # fmt: skip
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirect_to_a_forbidden_url_is_refused(to: str, status: int) -> None:
    site = settings(allow=(f"{OUTSIDE}/32",))
    async with (
        Host({"/a.png": picture()}, OUTSIDE, *free_ports(1)).listening() as outer,  # one that is free at both
        Host({"/a.png": picture()}, INSIDE, outer.port).listening() as inner,
    ):
        outer.answers["/go"] = moved(to.format(port=outer.port), status)
        error = await refused(outer.url("/go"), site)
        assert "could not be fetched" in error.message
        assert (len(outer.requests), len(inner.requests)) == (1, 0)


async def test_redirects_are_limited(host: Host) -> None:
    host.answers |= {f"/{n}": moved(f"/{n + 1}") for n in range(3)} | {"/3": picture(), "/loop": moved("/loop")}
    assert await Fetcher(settings()).fetch_picture(host.url("/0"), "url") == PNG
    await refused(host.url("/0"), settings(max_redirects=2))
    host.requests.clear()
    await refused(host.url("/loop"))
    assert len(host.requests) == 4


async def test_concurrent_fetches_are_limited(host: Host) -> None:
    release = asyncio.Event()

    async def wait_for_release(request: web.Request) -> web.StreamResponse:
        await release.wait()
        return picture()

    host.answers["/slow"] = wait_for_release
    fetcher = Fetcher(settings(at_once=2))
    running = [asyncio.create_task(fetcher.fetch_picture(host.url("/slow"), "url")) for _ in range(18)]
    await until(lambda: len(host.requests) == 2)
    with pytest.raises(Overloaded):
        await fetcher.fetch_picture(host.url("/slow"), "url")
    assert len(host.requests) == 2
    for task in running[2:]:
        task.cancel()
    release.set()
    assert await asyncio.gather(*running[:2]) == [PNG, PNG]
    await asyncio.gather(*running, return_exceptions=True)


async def test_data_urls_are_decoded_and_checked() -> None:
    fetcher = Fetcher(settings(max_bytes=20_000))

    def url(data: bytes, kind: str = "image/png") -> str:
        return f"data:{kind};base64,{base64.b64encode(data).decode()}"

    assert await fetcher.fetch_picture(url(PNG), "image_url") == PNG
    assert await fetcher.fetch_picture(url(PNG).replace("data:", "DATA:"), "image_url") == PNG
    for wrong, kind in [
        (url(PNG + bytes(20_000)), TooLarge),
        (url(b"<svg/>", "image/svg+xml"), UnsupportedMedia),
        (url(b"<script>alert(1)</script>", "text/html"), UnsupportedMedia),
        ("data:image/png,%89PNG", InvalidRequest),
        ("data:image/png;base64,!!!!", InvalidRequest),
        ("data:;base64,AAAA", InvalidRequest),
        ("data:image/png;base64,", UnsupportedMedia),
    ]:
        with pytest.raises(kind) as caught:
            await fetcher.fetch_picture(wrong, "image_url")
        assert caught.value.field == "image_url"


async def test_log_contains_no_url(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "serve"):
        await refused(host.url("/private?token=hunter2"))
    assert "not fetched" in caplog.text
    assert "hunter2" not in caplog.text
    assert str(host.port) not in caplog.text
