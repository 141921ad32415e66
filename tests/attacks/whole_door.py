"""A site with keys on real sockets, and an ASGI client that sends requests httpx would not."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_to_bytes

import grpc
import uvicorn
from keyed_door import CLIENT, KeyedSite
from odd_requests import AttackRequest, Headers

from serve.api.inference.grpc import OpenInferenceServicer
from serve.api.inference.grpc_service import add_servicer_to_server

CLIENT_TIMEOUT_S = 3.0
"""After that, the client of ``send_request`` disconnects: event streams would not end."""


@dataclass
class Answer:
    """``status`` is None if the client disconnected before the response started."""

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    def json(self) -> Any:
        return json.loads(self.body)


async def send_request(app: Any, request: AttackRequest, peer: str = CLIENT) -> Answer:
    """Raises exceptions of the application before the response, and TimeoutError if it continues without its client."""
    path, _, query = request.path.partition(b"?")
    scope: dict[str, Any] = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "scheme": "http",
        "method": request.method, "path": unquote_to_bytes(path).decode(errors="replace"), "raw_path": path,
        "state": {}, "query_string": query, "root_path": "", "headers": list(_with_host(request)),
        "client": (peer, 5000), "server": ("atelier", 80),
    }  # fmt: skip
    answer, disconnected, sent = Answer(), asyncio.Event(), False

    async def receive() -> dict[str, Any]:
        nonlocal sent
        if not sent:
            sent = True
            return {"type": "http.request", "body": request.body, "more_body": False}
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(disconnected.wait(), CLIENT_TIMEOUT_S)
        return {"type": "http.disconnect"}

    async def send(message: Mapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = {name.decode().lower(): value.decode("latin-1") for name, value in message["headers"]}
            if answer.headers.get("content-type", "").startswith("text/event-stream"):
                asyncio.get_running_loop().call_later(0.02, disconnected.set)
        elif message["type"] == "http.response.body":
            answer.body += message.get("body", b"")

    try:
        async with asyncio.timeout(60):
            await app(scope, receive, send)
    except TimeoutError:
        raise
    except Exception:
        if answer.status is None:  # Starlette re-raises errors that it has answered with 500
            raise
    return answer


def _with_host(request: AttackRequest) -> Headers:
    return (
        request.headers
        if any(name == b"host" for name, _ in request.headers)
        else [(b"host", b"atelier"), *request.headers]
    )


@contextlib.asynccontextmanager
async def sockets(site: KeyedSite, **options: Any) -> AsyncIterator[tuple[str, int]]:
    """Host and port of its HTTP endpoint, served by uvicorn as in a gateway."""
    config = uvicorn.Config(site.whole, port=0, log_level="error", lifespan="off", **options)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    async with asyncio.timeout(60):
        while not server.started:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.01)
    yield "127.0.0.1", server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = server.force_exit = True
    await serving


@contextlib.asynccontextmanager
async def calls(site: KeyedSite) -> AsyncIterator[str]:
    """host:port of its gRPC endpoint."""
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", 64 * 1024 * 1024)])
    servicer = OpenInferenceServicer(site.app.state.models, site.state.settings, site.entrance)
    add_servicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(0)
