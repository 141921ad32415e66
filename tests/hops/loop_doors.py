"""HTTP and gRPC in the event loop of the test, around ensembles with an admission queue, and their deadline errors.
No Ray."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc.aio
import httpx
from tritonclient.grpc import service_pb2_grpc

from serve.api.app import create_app
from serve.api.inference.grpc import OpenInferenceServicer
from serve.api.inference.grpc_service import add_servicer_to_server
from serve.api.inference.models import Models
from serve.jobs.direct.service import DirectService
from serve.settings import Settings
from serve.state import State

ERRORS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "/v1/": lambda body: body["error"]["code"],
    "/v2/": lambda body: "time" in body["error"] and "deadline_exceeded",
    "/sd": lambda body: body["error"] == "DeadlineExceeded" and "deadline_exceeded",
    "/": lambda body: body["type"].rpartition(":")[2].replace("-", "_"),
}


@contextlib.asynccontextmanager
async def loop_doors(
    service: Any, illustrator: Any = None, state: State | None = None
) -> AsyncIterator[tuple[httpx.AsyncClient, Any]]:
    """A client of the HTTP application and a stub of the gRPC server. Without a ``state`` nothing is stored."""
    settings = Settings() if state is None else state.settings
    direct = DirectService(state, illustrator, service, settings)
    database = None if state is None else state.database
    models = Models(service, settings, illustrator, direct.version_selector, database)
    app = create_app(service, settings, models, illustrator, state, direct)
    server = grpc.aio.server()
    add_servicer_to_server(OpenInferenceServicer(models, settings), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        httpx.AsyncClient(transport=transport, base_url="http://atelier", timeout=60) as http,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        yield http, service_pb2_grpc.GRPCInferenceServiceStub(channel)
    await server.stop(None)
    await direct.close()


def is_late(answer: httpx.Response) -> bool:
    """Whether a response reports a missed deadline, in the error shape of its endpoint; a started stream has it in
    the last event."""
    path = answer.request.url.path
    read_code = next(read for prefix, read in ERRORS.items() if path.startswith(prefix))
    if answer.headers["content-type"].startswith("text/event-stream"):
        last = [line for line in answer.text.splitlines() if line.startswith("data: ")][-1]
        return bool(read_code(json.loads(last.removeprefix("data: "))) == "deadline_exceeded")
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.status_code == 504
    return bool(read_code(answer.json()) == "deadline_exceeded")
