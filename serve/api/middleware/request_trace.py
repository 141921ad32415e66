"""One span, one record (C-093) and one count for each HTTP request and WebSocket.

By the route's template: addresses hold ids, and queries hold signatures. Who asked is told by the id of the key.
"""

from __future__ import annotations

import contextlib
import logging
import time
import uuid
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.api.middleware.authentication import entered
from serve.api.middleware.request_metrics import ABANDONED, UNROUTED, RequestRecord, measured
from serve.api.middleware.scopes import PROBES
from serve.observability import tracing
from serve.observability.logs.formats import FIELDS

LOGGER = logging.getLogger("serve.requests")

_SEEN = "atelier.seen"
_METHODS = frozenset(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
_OTHER = "_OTHER"
"""As the semantic conventions call a method that is none."""


@dataclass
class Seen:
    """``size`` counts the bytes of the body; ``status`` stays 0 when there was no answer."""

    route: str = ""
    status: int = 0
    size: int = 0


class RequestTrace:
    """Once for a request, however often it stands in its way: the one inside the application knows the route."""

    def __init__(self, app: ASGIApp, requests: bool = True) -> None:
        """``requests``: whether each is a record."""
        self.app = app
        self._requests = requests
        self._templates: dict[int, str] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
        elif (seen := scope.get(_SEEN)) is not None:
            await self._pass(seen, scope, receive, send)
        else:
            await self._observe(scope, receive, send)

    async def _pass(self, seen: Seen, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self.app(scope, receive, send)
        finally:
            if not seen.route and (route := scope.get("route")) is not None:
                seen.route = self._template(scope["app"], route)

    def _template(self, app: FastAPI, route: Any) -> str:
        """With the prefixes of the routers that it is in, which the route itself does not know."""
        if not self._templates:
            known = iter_route_contexts(app.routes)
            self._templates = {id(one.original_route): one.path_format or "" for one in known}
        return self._templates.get(id(route), "")

    async def _observe(self, scope: Scope, receive: Receive, send: Send) -> None:
        seen = scope[_SEEN] = Seen()
        carrier = {tracing.REQUEST_ID: scope.setdefault("request_id", uuid.uuid4().hex)}
        probe = scope["path"].startswith(PROBES)
        if not probe and (parent := _only(scope, tracing.TRACEPARENT)) is not None:
            carrier[tracing.TRACEPARENT] = parent
        method, began = _method(scope), time.perf_counter()
        begun = tracing.continued_span if probe else tracing.entry_span
        note = RequestRecord()
        with (
            contextlib.nullcontext() if probe else measured(scope["type"], note),
            begun(method, carrier, http__request__method=method, url__scheme=_scheme(scope)) as span,
        ):
            try:
                await self._pass(seen, scope, receive, _counted(send, seen))
            except Exception as error:
                seen.status = seen.status or 500
                LOGGER.exception("%s %s failed: %s", method, seen.route, type(error).__name__)
                raise
            finally:
                note.route, note.status = seen.route or UNROUTED, str(seen.status or ABANDONED)
                _tell(span, method, seen)
                if self._requests and not probe:
                    self._write(method, seen, scope, time.perf_counter() - began)

    def _write(self, method: str, seen: Seen, scope: Scope, took_s: float) -> None:
        found = entered(scope)
        fields: dict[str, Any] = {
            "method": method, "route": seen.route, "status": seen.status, "duration_ms": round(took_s * 1000, 2),
            "bytes": seen.size, "key_id": found.principal.key_id if found is not None else None,
        }  # fmt: skip
        told = (method, seen.route or "-", seen.status, took_s * 1000, seen.size)
        LOGGER.info("%s %s %d %.1f ms %d bytes", *told, extra={FIELDS: fields})


def _counted(send: Send, seen: Seen) -> Send:
    traced = tracing.response()

    async def counted(message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.start":
            seen.status = message["status"]
            if traced is not None:
                MutableHeaders(scope=message)[tracing.RESPONSE] = traced
        elif kind == "http.response.body":
            seen.size += len(message.get("body", b""))
        elif kind == "websocket.accept":
            seen.status = 101
        elif kind == "websocket.http.response.start":
            seen.status = message["status"]
        await send(message)

    return counted


def _tell(span: tracing.entry_span, method: str, seen: Seen) -> None:
    if seen.route:
        span.rename(f"{method} {seen.route}")
        span.note(http__route=seen.route)
    if seen.status:
        span.note(http__response__status_code=seen.status)
    if seen.status >= 500:
        span.failed(str(seen.status))


def _method(scope: Scope) -> str:
    method = scope.get("method", "GET")
    return method if method in _METHODS else _OTHER


def _scheme(scope: Scope) -> str:
    return scope["scheme"] if scope.get("scheme") in ("http", "https", "ws", "wss") else "http"


def _only(scope: Scope, name: str) -> str | None:
    """The header, unless there are several."""
    found = [value for own, value in scope["headers"] if own == name.encode()]
    return found[0].decode("latin-1") if len(found) == 1 else None
