"""Requests are counted and timed, from the first byte of ours that sees them to the end of their answer."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.errors import AtelierError
from serve.metrics import catalogue

HTTP, WEBSOCKET, GRPC = "http", "websocket", "grpc"
_NOTE = "atelier.measured"
UNROUTED = "unrouted"
"""The route of what was refused before one was looked for, or has none: no path of a client's becomes a label."""
ABANDONED = "499"
"""The status of a request whose client went away before its answer began, as nginx has it."""


@dataclass
class Note:
    """What is to be told of a request: it goes along in its scope, and every copy of that."""

    route: str = UNROUTED
    status: str = ABANDONED


class Measured:
    """The outermost of all; where another one is outside of it already, it only says the route."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in (HTTP, WEBSOCKET):
            await self.app(scope, receive, send)
            return
        note: Note | None = scope.get(_NOTE)
        if note is not None:
            await self._routed(note, scope, receive, send)
            return
        note = scope[_NOTE] = Note()

        async def told(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                note.status = str(message["status"])
            elif message["type"] == "websocket.accept":
                note.status = "101"
            await send(message)

        with measured(scope["type"], note):
            await self._routed(note, scope, receive, told)

    async def _routed(self, note: Note, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self.app(scope, receive, send)
        except Exception:
            if note.status == ABANDONED:  # nothing was said of it yet, and it will be this
                note.status = "500"
            raise
        finally:
            if (route := scope.get("route")) is not None:
                note.route = route.path


@contextlib.contextmanager
def measured(door: str, note: Note) -> Iterator[None]:
    began = time.perf_counter()
    catalogue.REQUESTS_IN_PROGRESS.add(1, door)
    try:
        yield
    finally:
        catalogue.REQUESTS_IN_PROGRESS.add(-1, door)
        catalogue.REQUESTS.add(1, door, note.route, note.status)
        catalogue.REQUEST_SECONDS.observe(time.perf_counter() - began, door, note.route)


def count_refusal(door: str, error: AtelierError) -> None:
    catalogue.REFUSALS.add(1, door, type(error).__name__)
