"""Webhook receivers on loopback: one with configured responses, and raw sockets that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


@dataclass(frozen=True)
class Call:
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found

    @property
    def event(self) -> int:
        return int(self.document["data"]["event"])


Answer = int | web.Response | Callable[[], Awaitable[int]]


@dataclass
class Receiver:
    """``answers`` are used in order, then 200. ``most`` is the largest number of concurrent requests."""

    answers: list[Answer] = field(default_factory=list)
    always: Answer = 200
    host: str = "127.0.0.1"
    port: int = 0
    calls: list[Call] = field(default_factory=list)
    under_way: int = 0
    most: int = 0

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}/hook"

    async def handle(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.calls.append(Call(headers, await request.read()))
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            answer = self.answers.pop(0) if self.answers else self.always
            if callable(answer):
                answer = await answer()
            return web.Response(status=answer) if isinstance(answer, int) else answer
        finally:
            self.under_way -= 1

    @contextlib.asynccontextmanager
    async def listening(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self.handle)
        runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, self.host, self.port, ssl_context=tls)
        await site.start()
        self.port = runner.addresses[0][1]
        try:
            yield self
        finally:
            await runner.cleanup()


@contextlib.asynccontextmanager
async def raw(answer: Callable[[asyncio.StreamWriter], Awaitable[None]]) -> AsyncIterator[tuple[str, list[str]]]:
    """The URL of a server that reads a request head and then runs ``answer``; how each call ended."""
    ends: list[str] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            await answer(writer)
            ends.append("answered")
        except (ConnectionError, asyncio.IncompleteReadError):
            ends.append("cut")
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook", ends
    finally:
        server.close()


async def drip(writer: asyncio.StreamWriter, begin: bytes, piece: bytes, pause_s: float) -> None:
    """Writes ``piece`` repeatedly until the connection is cut."""
    writer.write(begin)
    while True:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(pause_s)
