"""A keyed site on real sockets, and an ASGI client that says what httpx would not."""

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
from odd_requests import Ask, Headers

from serve.api.inference.grpc import OpenInferenceServicer, add_servicer_to_server

PATIENCE_S = 3.0
"""After that the client of ``told`` goes away: who waits for events would wait on."""


@dataclass
class Answer:
    """``status`` is None when the client went away before there was one."""

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    def json(self) -> Any:
        return json.loads(self.body)


async def told(app: Any, ask: Ask, peer: str = CLIENT) -> Answer:
    """Raises what the application raises before it has answered, TimeoutError if it goes on without its client."""
    path, _, query = ask.path.partition(b"?")
    scope: dict[str, Any] = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "scheme": "http",
        "method": ask.method, "path": unquote_to_bytes(path).decode(errors="replace"), "raw_path": path, "state": {},
        "query_string": query, "root_path": "", "headers": list(_with_host(ask)), "client": (peer, 5000),
        "server": ("atelier", 80),
    }  # fmt: skip
    answer, gone, sent = Answer(), asyncio.Event(), False

    async def receive() -> dict[str, Any]:
        nonlocal sent
        if not sent:
            sent = True
            return {"type": "http.request", "body": ask.body, "more_body": False}
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(gone.wait(), PATIENCE_S)
        return {"type": "http.disconnect"}

    async def send(message: Mapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = {name.decode().lower(): value.decode("latin-1") for name, value in message["headers"]}
            if answer.headers.get("content-type", "").startswith("text/event-stream"):
                asyncio.get_running_loop().call_later(0.02, gone.set)
        elif message["type"] == "http.response.body":
            answer.body += message.get("body", b"")

    try:
        async with asyncio.timeout(30):
            await app(scope, receive, send)
    except TimeoutError:
        raise
    except Exception:
        if answer.status is None:  # Starlette raises again what it has answered as an error of the server's
            raise
    return answer


def _with_host(ask: Ask) -> Headers:
    return ask.headers if any(name == b"host" for name, _ in ask.headers) else [(b"host", b"atelier"), *ask.headers]


@contextlib.asynccontextmanager
async def sockets(site: KeyedSite, **options: Any) -> AsyncIterator[tuple[str, int]]:
    """Host and port of its HTTP door, by uvicorn as in a gateway."""
    config = uvicorn.Config(site.whole, port=0, log_level="error", lifespan="off", **options)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    async with asyncio.timeout(20):
        while not server.started:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.01)
    yield "127.0.0.1", server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = server.force_exit = True
    await serving


@contextlib.asynccontextmanager
async def calls(site: KeyedSite) -> AsyncIterator[str]:
    """host:port of its gRPC door."""
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", 64 * 1024 * 1024)])
    servicer = OpenInferenceServicer(site.app.state.models, site.state.settings, site.entrance)
    add_servicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(0)
