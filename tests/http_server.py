"""An application on a real socket, for what a transport in memory cannot show: streams, and clients that go away."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator

import uvicorn
from fastapi import FastAPI
from standin import StandIn

from serve.api.app import create_app
from serve.ensembles.illustrator.illustration import IllustratorService
from serve.jobs.direct.service import DirectService
from serve.settings import Settings
from serve.state import State

Opening = Callable[[], contextlib.AbstractAsyncContextManager[FastAPI]]


@contextlib.contextmanager
def listening(application: FastAPI) -> Iterator[str]:
    """Its address, as host:port, while a thread serves it."""
    with _served(lambda: contextlib.nullcontext(application)) as address:
        yield address


@contextlib.contextmanager
def keeping(settings: Settings, illustrator: IllustratorService) -> Iterator[str]:
    """The same of one that draws and keeps what it draws."""

    @contextlib.asynccontextmanager
    async def opened() -> AsyncIterator[FastAPI]:
        state, service = await State.open(settings), StandIn()
        direct = DirectService(state, illustrator, service, settings)
        await direct.start()
        yield create_app(service, settings, illustrator=illustrator, state=state, direct=direct)
        await direct.close()
        await state.close()

    with _served(opened) as address:
        yield address


@contextlib.contextmanager
def _served(opened: Opening) -> Iterator[str]:
    """Opened in the event loop that serves it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    servers: list[uvicorn.Server] = []

    async def serve() -> None:
        async with opened() as application:
            servers.append(uvicorn.Server(uvicorn.Config(application, port=port, log_level="warning")))
            await servers[0].serve()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    deadline = time.monotonic() + 20
    while not (servers and servers[0].started) and time.monotonic() < deadline:
        time.sleep(0.01)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        for server in servers:
            server.should_exit = True
        thread.join(20)
