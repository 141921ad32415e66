"""The guarded fetcher against real servers that answer well, badly, slowly, without end, or from inside."""

from __future__ import annotations

import asyncio
import base64
import gzip
import socket
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web
from picture_hosts import Host, answering, raw
from pictures import drawn, encode

from serve.errors import AtelierError, InvalidRequest, Overloaded, TooLarge, UnsupportedMedia
from serve.guards.destinations import destinations
from serve.guards.fetch import Fetcher
from serve.guards.names import Addresses
from serve.settings import FetchSettings

PNG = encode(drawn())
OUTSIDE, INSIDE = "127.0.0.2", "127.0.0.1"


def settings(**values: Any) -> FetchSettings:
    """Loopback stands for the open Internet."""
    usual = {"allow": ("127.0.0.0/8",), "allow_http": True, "ports": (), "timeout_s": 5.0, "max_bytes": 100_000}
    return FetchSettings(**usual | values)


def picture(body: bytes = PNG, **headers: str) -> web.Response:
    return web.Response(body=body, headers={"Content-Type": "image/png"} | headers)


def moved(to: str, status: int = 302) -> web.Response:
    return web.Response(status=status, headers={"Location": to})


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    async with Host({"/a.png": picture()}).listening() as host:
        yield host


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def refused(url: str, with_settings: FetchSettings | None = None, names: Addresses | None = None) -> AtelierError:
    fetcher = Fetcher(with_settings or settings(), names)
    try:
        with pytest.raises(AtelierError) as caught:
            await fetcher.fetch_picture(url, "image_url")
    finally:
        await fetcher.close()
    assert caught.value.field == "image_url"
    assert 400 <= caught.value.status < 500
    return caught.value


async def test_a_picture_is_fetched_and_nothing_is_told(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    host.answers["/set"] = web.Response(
        status=302, headers={"Location": "/a.png?x=1#there", "Set-Cookie": "a=b; Path=/"}
    )
    fetcher = Fetcher(settings())
    assert await fetcher.fetch_picture(host.url("/set"), "url") == PNG
    (_, first), (path, second) = host.asked
    assert path == "/a.png?x=1"
    for headers in (first, second):
        assert set(headers) == {"host", "accept", "accept-encoding", "user-agent", "connection"}
        assert headers["accept-encoding"] == "identity"
        assert headers["user-agent"].startswith("atelier/")


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "GIF", "BMP", "TIFF"])
async def test_every_format_that_can_be_read(host: Host, kind: str) -> None:
    data = encode(drawn("RGB"), kind)
    host.answers["/b"] = picture(data, **{"Content-Type": "application/octet-stream"})
    assert await Fetcher(settings()).fetch_picture(host.url("/b"), "url") == data


async def test_by_default_nothing_of_ones_own_is_fetched(host: Host) -> None:
    for url in (host.url("/a.png"), f"https://127.0.0.1:{host.port}/a.png", "https://localhost/a.png"):
        await refused(url, FetchSettings())
    names = Addresses(destinations(()).may_call, answering(INSIDE))
    told = await refused("https://pictures.example.com/a.png", FetchSettings(), names)
    assert host.asked == []
    nobody = Addresses(destinations(()).may_call, nowhere)
    assert str(await refused("https://pictures.example.com/a.png", FetchSettings(), nobody)) == str(told)


def nowhere(host: str, port: int, family: socket.AddressFamily) -> list[Any]:
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


async def test_a_name_that_changes_its_mind_gains_nothing() -> None:
    """Of 127.0.0.2, which is allowed, and 127.0.0.1, which is not; both listen on one port."""
    site = settings(allow=(f"{OUTSIDE}/32",))
    names = Addresses(destinations(site.allow).may_call, answering(OUTSIDE, INSIDE))
    async with (
        Host({"/a.png": picture()}, OUTSIDE).listening() as outer,
        Host({"/a.png": picture()}, INSIDE, outer.port).listening() as inner,
    ):
        fetcher = Fetcher(site, names)
        url = f"http://pictures.example.com:{outer.port}/a.png"
        assert await fetcher.fetch_picture(url, "url") == PNG
        with pytest.raises(InvalidRequest, match="could not be fetched"):
            await fetcher.fetch_picture(url, "url")
        assert (len(outer.asked), len(inner.asked)) == (1, 0)


async def test_a_name_of_both_kinds_of_addresses_is_refused() -> None:
    def both(host: str, port: int, family: socket.AddressFamily) -> list[Any]:
        return answering(OUTSIDE)(host, port, family) + answering(INSIDE)(host, port, family)

    site = settings(allow=(f"{OUTSIDE}/32",))
    async with Host({"/a.png": picture()}, OUTSIDE).listening() as outer:
        names = Addresses(destinations(site.allow).may_call, both)
        await refused(f"http://pictures.example.com:{outer.port}/a.png", site, names)
    assert outer.asked == []


@pytest.mark.parametrize(
    "to",
    [
        "http://127.0.0.1:{port}/a.png", "http://2130706433:{port}/a.png", "http://[::1]:{port}/a.png",
        "http://localhost:{port}/a.png", "//127.0.0.1:{port}/a.png", "file:///etc/passwd", "data:image/png;base64,AAAA",
        "http://a:b@127.0.0.2:{port}/a.png", "", "http://127.0.0.2:{port}/" + "x" * 3000,
    ],
)  # fmt: skip
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirection_to_where_it_must_not_go(to: str, status: int) -> None:
    site = settings(allow=(f"{OUTSIDE}/32",))
    async with (
        Host({"/a.png": picture()}, OUTSIDE).listening() as outer,
        Host({"/a.png": picture()}, INSIDE, outer.port).listening() as inner,
    ):
        outer.answers["/go"] = moved(to.format(port=outer.port), status)
        told = await refused(outer.url("/go"), site)
        assert "could not be fetched" in told.message
        assert (len(outer.asked), len(inner.asked)) == (1, 0)


async def test_redirections_are_few(host: Host) -> None:
    host.answers |= {f"/{n}": moved(f"/{n + 1}") for n in range(3)} | {"/3": picture(), "/loop": moved("/loop")}
    assert await Fetcher(settings()).fetch_picture(host.url("/0"), "url") == PNG
    await refused(host.url("/0"), settings(max_redirects=2))
    host.asked.clear()
    await refused(host.url("/loop"))
    assert len(host.asked) == 4


async def test_no_error_tells_what_is_there(host: Host) -> None:
    """Closed, silent, an error, a refusal, a name that is not: one and the same."""

    async def silent(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(30)

    async def nonsense(writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2p1\r\n")

    with socket.socket() as unused:
        unused.bind((INSIDE, 0))
        closed = f"http://{INSIDE}:{unused.getsockname()[1]}/"
        host.answers |= {"/500": web.Response(status=500, text="stack trace"), "/401": web.Response(status=401)}
        host.answers |= {"/204": web.Response(status=204), "/206": web.Response(status=206, body=PNG)}
        found = [closed, host.url("/500"), host.url("/401"), host.url("/404"), host.url("/204"), host.url("/206")]
        async with raw(silent) as (quiet, _), raw(nonsense) as (other, _):
            found += [quiet, other, "http://nowhere.invalid/"]
            told = {str(await refused(url, settings(idle_timeout_s=0.2))) for url in found}
    assert len(told) == 1, told


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"<html></html>" * 9, "text/html"), (PNG, "text/html"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml"),
        (b"root:x:0:0:root:/root:/bin/bash", "image/png"), (b"", "image/png"), (b"%PDF-1.4 and more", "image/png"),
        (b"RIFF1234WAVEfmt ", "image/webp"), (b"\x89PN", "image/png"),
    ],
)  # fmt: skip
async def test_what_is_no_picture(host: Host, body: bytes, kind: str) -> None:
    host.answers["/b"] = picture(body, **{"Content-Type": kind})
    assert isinstance(await refused(host.url("/b")), UnsupportedMedia)


async def test_a_declared_size_over_the_cap_is_not_read() -> None:
    async def large(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 999999999\r\n\r\n" + PNG)
        await writer.drain()
        await asyncio.sleep(5)

    async with raw(large) as (url, _):
        began = time.monotonic()
        assert isinstance(await refused(url), TooLarge)
        assert time.monotonic() - began < 4, "it was not waited for"


@pytest.mark.parametrize("head", [b"Transfer-Encoding: chunked\r\n", b""])
async def test_an_endless_body_is_cut_at_the_cap(head: bytes) -> None:
    piece = bytes(65_536)

    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n" + head + b"\r\n")
        framed = b"%x\r\n%b\r\n" % (len(piece), piece) if head else piece
        start = PNG[:100]
        writer.write(b"%x\r\n%b\r\n" % (len(start), start) if head else start)
        while True:
            writer.write(framed)
            await writer.drain()

    async with raw(endless) as (url, sent):
        assert isinstance(await refused(url), TooLarge)
        await until(lambda: bool(sent))
    assert sent[0] < 50_000_000, "what the sockets hold, and no more"


async def drip(writer: asyncio.StreamWriter, begin: bytes, piece: bytes) -> None:
    writer.write(begin)
    while True:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("begin", "piece"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n\r\n" + PNG[:50], b"x"),
        (b"HTTP/1.1 200 OK\r\nX: ", b"x"),
        (b"HTTP/1.1 200 OK\r\n", b"a: b\r\n"),
        (b"", b"H"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
)
async def test_a_slow_answer_has_an_end(begin: bytes, piece: bytes) -> None:
    """It is never silent for long, and never done."""
    async with raw(lambda writer: drip(writer, begin, piece)) as (url, _):
        began = time.monotonic()
        await refused(url, settings(timeout_s=1.0, idle_timeout_s=0.9))
        assert time.monotonic() - began < 4


async def test_a_slow_name_has_an_end() -> None:
    names = Addresses(lambda host, address: True, lambda *_: time.sleep(2) or [])  # type: ignore[func-returns-value]
    began = time.monotonic()
    await refused("http://pictures.example.com/", settings(timeout_s=0.2), names)
    assert time.monotonic() - began < 1.5


@pytest.mark.parametrize("head", [b"X: " + b"x" * 5000, b"\r\n".join(b"X%d: y" % n for n in range(500)), b"bad header"])
async def test_headers_have_bounds(head: bytes) -> None:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n" + head + b"\r\n\r\n" + PNG)

    async with raw(answer) as (url, _):
        assert "could not be fetched" in (await refused(url)).message


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, gzip", "x-unknown"])
async def test_what_is_compressed_is_not_inflated(host: Host, encoding: str) -> None:
    bomb = gzip.compress(bytes(50_000_000), 9)

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(body=bomb, headers={"Content-Type": "image/png", "Content-Encoding": encoding})

    host.answers["/bomb"] = answer
    assert "could not be fetched" in (await refused(host.url("/bomb"))).message


@pytest.mark.parametrize("head", [b"Content-Length: 5000\r\n", b"Transfer-Encoding: chunked\r\n"])
async def test_a_body_that_is_cut_off(head: bytes) -> None:
    async def answer(writer: asyncio.StreamWriter) -> None:
        start = PNG[:60]
        body = b"%x\r\n%b\r\n" % (len(start), start) if b"chunked" in head else start
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n" + head + b"\r\n" + body)

    async with raw(answer) as (url, _):
        assert "could not be fetched" in (await refused(url)).message


async def test_only_so_many_are_fetched_at_once(host: Host) -> None:
    may_answer = asyncio.Event()

    async def waits(request: web.Request) -> web.StreamResponse:
        await may_answer.wait()
        return picture()

    host.answers["/slow"] = waits
    fetcher = Fetcher(settings(at_once=2))
    running = [asyncio.create_task(fetcher.fetch_picture(host.url("/slow"), "url")) for _ in range(66)]
    await until(lambda: len(host.asked) == 2)
    with pytest.raises(Overloaded):
        await fetcher.fetch_picture(host.url("/slow"), "url")
    assert len(host.asked) == 2
    for task in running[2:]:
        task.cancel()
    may_answer.set()
    assert await asyncio.gather(*running[:2]) == [PNG, PNG]
    await asyncio.gather(*running, return_exceptions=True)


async def test_data_urls() -> None:
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


async def test_the_log_has_no_address(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "serve"):
        await refused(host.url("/private?token=hunter2"))
    assert "not fetched" in caplog.text
    assert "hunter2" not in caplog.text
    assert str(host.port) not in caplog.text
