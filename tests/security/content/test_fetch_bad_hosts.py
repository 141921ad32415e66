"""The guarded fetcher against servers that answer invalidly, slowly or without end."""

from __future__ import annotations

import asyncio
import gzip
import socket
import threading

import pytest
from aiohttp import web
from picture_hosts import INSIDE, PNG, Host, picture, raw, refused, settings
from waiting import until

from serve.errors import TooLarge, UnsupportedMedia
from serve.security.fetching.dns_pinning import PinnedResolver


async def test_fetch_errors_do_not_reveal_the_host_state(host: Host) -> None:
    """A closed port, silence, an error status and an unresolvable name give one and the same error."""

    async def silent(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(30)

    async def nonsense(writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2p1\r\n")

    with socket.socket() as unused:
        unused.bind((INSIDE, 0))
        closed = f"http://{INSIDE}:{unused.getsockname()[1]}/"
        host.answers |= {"/500": web.Response(status=500, text="stack trace"), "/401": web.Response(status=401)}
        host.answers |= {"/204": web.Response(status=204), "/206": web.Response(status=206, body=PNG)}
        urls = [closed, host.url("/500"), host.url("/401"), host.url("/404"), host.url("/204"), host.url("/206")]
        async with raw(silent) as (quiet, _), raw(nonsense) as (other, _):
            urls += [quiet, other, "http://nowhere.invalid/"]
            messages = {str(await refused(url, settings(idle_timeout_s=0.2))) for url in urls}
    assert len(messages) == 1, messages


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"<html></html>" * 9, "text/html"), (PNG, "text/html"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml"),
        (b"root:x:0:0:root:/root:/bin/bash", "image/png"), (b"", "image/png"), (b"%PDF-1.4 and more", "image/png"),
        (b"RIFF1234WAVEfmt ", "image/webp"), (b"\x89PN", "image/png"),
    ],
)  # fmt: skip
async def test_response_that_is_no_picture_is_refused(host: Host, body: bytes, kind: str) -> None:
    host.answers["/b"] = picture(body, **{"Content-Type": kind})
    assert isinstance(await refused(host.url("/b")), UnsupportedMedia)


async def test_declared_size_over_the_cap_is_refused_unread() -> None:
    async def large(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 999999999\r\n\r\n" + PNG)
        await writer.drain()
        await asyncio.sleep(600)

    async with raw(large) as (url, _):
        assert isinstance(await refused(url, settings(timeout_s=300, idle_timeout_s=300)), TooLarge)


@pytest.mark.parametrize("head", [b"Transfer-Encoding: chunked\r\n", b""])
async def test_endless_body_is_cut_at_the_cap(head: bytes) -> None:
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
async def test_slow_response_is_cut_at_the_timeout(begin: bytes, piece: bytes) -> None:
    """The response is never silent for long and never complete."""
    async with raw(lambda writer: drip(writer, begin, piece)) as (url, _):
        async with asyncio.timeout(60):
            await refused(url, settings(timeout_s=1.0, idle_timeout_s=0.9))


async def test_slow_name_resolution_is_cut_at_the_timeout() -> None:
    answered = threading.Event()
    names = PinnedResolver(lambda host, address: True, lambda *_: [answered.wait(300)][1:])
    try:
        async with asyncio.timeout(60):
            await refused("http://pictures.example.com/", settings(timeout_s=0.2), names)
    finally:
        answered.set()


@pytest.mark.parametrize("head", [b"X: " + b"x" * 5000, b"\r\n".join(b"X%d: y" % n for n in range(500)), b"bad header"])
async def test_oversized_response_headers_are_refused(head: bytes) -> None:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n" + head + b"\r\n\r\n" + PNG)

    async with raw(answer) as (url, _):
        assert "could not be fetched" in (await refused(url)).message


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, gzip", "x-unknown"])
async def test_compressed_response_is_refused(host: Host, encoding: str) -> None:
    bomb = gzip.compress(bytes(50_000_000), 9)

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(body=bomb, headers={"Content-Type": "image/png", "Content-Encoding": encoding})

    host.answers["/bomb"] = answer
    assert "could not be fetched" in (await refused(host.url("/bomb"))).message


@pytest.mark.parametrize("head", [b"Content-Length: 5000\r\n", b"Transfer-Encoding: chunked\r\n"])
async def test_truncated_body_is_refused(head: bytes) -> None:
    async def answer(writer: asyncio.StreamWriter) -> None:
        start = PNG[:60]
        body = b"%x\r\n%b\r\n" % (len(start), start) if b"chunked" in head else start
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n" + head + b"\r\n" + body)

    async with raw(answer) as (url, _):
        assert "could not be fetched" in (await refused(url)).message
