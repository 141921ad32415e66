"""The HTTP application and the gRPC servicer on real sockets, in a thread of this process. No Ray."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator

import grpc.aio
import uvicorn
from standin import Served, StandIn

from serve.api.app import create_app
from serve.api.inference.grpc import OpenInferenceServicer
from serve.api.inference.grpc_service import add_servicer_to_server
from serve.api.inference.models import Models
from serve.ensembles.illustrator.service import IllustratorService
from serve.settings import Settings


@contextlib.contextmanager
def both_doors(
    illustrator: IllustratorService | None = None, settings: Settings | None = None, vectorizer: StandIn | None = None
) -> Iterator[Served]:
    """A stand-in Vectorizer and ``illustrator`` behind HTTP and gRPC."""
    settings, vectorizer = settings or Settings(), vectorizer or StandIn()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    models = Models(vectorizer, settings, illustrator)
    application = create_app(vectorizer, settings, models, illustrator)
    server = uvicorn.Server(uvicorn.Config(application, port=port, log_level="warning"))
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
    assert ready.wait(60)
    try:
        yield Served(f"127.0.0.1:{port}", f"127.0.0.1:{found['grpc']}")
    finally:
        server.should_exit = True
        thread.join(60)
