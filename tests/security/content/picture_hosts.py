"""Picture servers on loopback: one that answers by path, and raw sockets that misbehave; and helpers that fetch from
them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from pictures import drawn, encode

from serve.errors import AtelierError
from serve.security.fetching.dns_pinning import PinnedResolver
from serve.security.fetching.fetcher import Fetcher
from serve.settings import FetchSettings

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Host:
    """``answers`` by path; ``requests`` are the received paths with their headers."""

    answers: dict[str, web.Response | Handler] = field(default_factory=dict)
    address: str = "127.0.0.1"
    port: int = 0
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def url(self, path: str) -> str:
        return f"http://{self.address}:{self.port}{path}"

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.raw_path, {name.lower(): value for name, value in request.headers.items()}))
        answer = self.answers.get(request.path)
        if answer is None:
            return web.Response(status=404)
        if callable(answer):
            return await answer(request)
        return web.Response(body=answer.body, status=answer.status, headers=answer.headers)

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[Host]:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, self.address, self.port).start()
        self.port = runner.addresses[0][1]
        try:
            yield self
        finally:
            await runner.cleanup()


@contextlib.asynccontextmanager
async def raw(answer: Callable[[asyncio.StreamWriter], Awaitable[None]]) -> AsyncIterator[tuple[str, list[int]]]:
    """The URL of a server that reads a request head and then runs ``answer``; the number of bytes sent in each call."""
    sent: list[int] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        counted = _Counting(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            await answer(counted)  # type: ignore[arg-type]
        sent.append(counted.bytes)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/a.png", sent
    finally:
        server.close()


class _Counting:
    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self.bytes = 0

    def write(self, data: bytes) -> None:
        self.bytes += len(data)
        self._writer.write(data)

    async def drain(self) -> None:
        await self._writer.drain()


def answering(*addresses: str) -> Callable[..., Any]:
    """A resolver that returns the addresses in this order, and then the last one again."""
    left = list(addresses)

    def look_up(host: str, port: int, family: socket.AddressFamily) -> list[Any]:
        address = left.pop(0) if len(left) > 1 else left[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    return look_up


PNG = encode(drawn())
OUTSIDE, INSIDE = "127.0.0.2", "127.0.0.1"


def settings(**values: Any) -> FetchSettings:
    """Loopback stands for the public Internet."""
    usual = {"allow": ("127.0.0.0/8",), "allow_http": True, "ports": (), "timeout_s": 5.0, "max_bytes": 100_000}
    return FetchSettings(**usual | values)


def picture(body: bytes = PNG, **headers: str) -> web.Response:
    return web.Response(body=body, headers={"Content-Type": "image/png"} | headers)


def moved(to: str, status: int = 302) -> web.Response:
    return web.Response(status=status, headers={"Location": to})


async def refused(
    url: str, with_settings: FetchSettings | None = None, names: PinnedResolver | None = None
) -> AtelierError:
    fetcher = Fetcher(with_settings or settings(), names)
    try:
        with pytest.raises(AtelierError) as caught:
            await fetcher.fetch_picture(url, "image_url")
    finally:
        await fetcher.close()
    assert caught.value.field == "image_url"
    assert 400 <= caught.value.status < 500
    return caught.value
