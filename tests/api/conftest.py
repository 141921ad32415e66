"""The real HTTP application and the real gRPC servicer around a stand-in Vectorizer, in this process. No Ray."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator

import grpc.aio
import httpx
import pytest
import uvicorn
from illustrator_standin import IllustratorStandIn
from standin import Served, StandIn

from serve.api.app import create_app
from serve.api.open_inference.grpc import OpenInferenceServicer, add_servicer_to_server
from serve.api.open_inference.models import Models
from serve.settings import Settings


@pytest.fixture
def service() -> StandIn:
    return StandIn()


@pytest.fixture
async def door(service: StandIn) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application without a network between them."""
    transport = httpx.ASGITransport(create_app(service, Settings()), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://atelier", timeout=30) as client:
        yield client


@pytest.fixture
def illustrator() -> IllustratorStandIn:
    return IllustratorStandIn()


@pytest.fixture
async def studio(service: StandIn, illustrator: IllustratorStandIn) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application that also draws."""
    app = create_app(service, Settings(), illustrator=illustrator)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://atelier", timeout=30) as client:
        yield client


@pytest.fixture(scope="session")
def served() -> Iterator[Served]:
    """Both doors on real sockets, for the clients that people have."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings, standin = Settings(), StandIn()
    models = Models(standin, settings)
    server = uvicorn.Server(uvicorn.Config(create_app(standin, settings, models), port=port, log_level="warning"))
    ready, found = threading.Event(), {}

    async def serve() -> None:
        options = [("grpc.max_receive_message_length", 64 * 1024 * 1024)]
        door = grpc.aio.server(options=options)
        add_servicer_to_server(OpenInferenceServicer(models, settings), door)
        found["grpc"] = door.add_insecure_port("127.0.0.1:0")
        await door.start()
        task = asyncio.ensure_future(server.serve())
        while not server.started:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        ready.set()
        await task
        await door.stop(None)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert ready.wait(20)
    yield Served(f"127.0.0.1:{port}", f"127.0.0.1:{found['grpc']}")
    server.should_exit = True
    thread.join(20)
