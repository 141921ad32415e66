"""An application on a real socket, for behaviour that an in-memory transport cannot show: streams and disconnects."""

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
from serve.ensembles.illustrator.service import IllustratorService
from serve.jobs.direct.service import DirectService
from serve.jobs.worker.execution import JobExecutor
from serve.jobs.worker.worker import Worker
from serve.settings import Settings
from serve.state import State

Opening = Callable[[], contextlib.AbstractAsyncContextManager[FastAPI]]


@contextlib.contextmanager
def listening(application: FastAPI) -> Iterator[str]:
    """Its address, host:port, while a thread serves it."""
    with _served(lambda: contextlib.nullcontext(application)) as address:
        yield address


@contextlib.contextmanager
def listening_with_state(settings: Settings, illustrator: IllustratorService, *, works: bool = False) -> Iterator[str]:
    """The same with an Illustrator and a state; ``works``: a worker of the queue runs beside it."""

    @contextlib.asynccontextmanager
    async def opened() -> AsyncIterator[FastAPI]:
        state, service = await State.open(settings), StandIn()
        direct = DirectService(state, illustrator, service, settings)
        await direct.start()
        worker = Worker(state, JobExecutor(state, service, illustrator)) if works else None
        if worker is not None:
            await worker.start()
        yield create_app(service, settings, illustrator=illustrator, state=state, direct=direct)
        if worker is not None:
            await worker.close()
        await direct.close()
        await state.close()

    with _served(opened) as address:
        yield address


@contextlib.contextmanager
def _served(opened: Opening) -> Iterator[str]:
    """Opened in the server's event loop."""
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
    deadline = time.monotonic() + 60
    while not (servers and servers[0].started) and time.monotonic() < deadline:
        time.sleep(0.01)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        for server in servers:
            server.should_exit = True
        thread.join(60)
