"""One span, one record (C-093) and one count for each HTTP request and WebSocket.

Named by the route's template, as paths hold ids and queries hold signatures. The key's id identifies the caller.
"""

from __future__ import annotations

import contextlib
import logging
import time
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.api.middleware.authentication import authenticated
from serve.api.middleware.request_metrics import ABANDONED, UNROUTED, RequestRecord, measured
from serve.api.middleware.response_headers import new_request_id
from serve.api.middleware.scopes import PROBES
from serve.observability import tracing
from serve.observability.logs.formats import log_values

LOGGER = logging.getLogger("serve.requests")

_STATE = "atelier.trace"
"""The key of the `TraceState` in the ASGI scope."""
_METHODS = frozenset(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
_OTHER = "_OTHER"
"""The semantic conventions' name for an unknown method."""


@dataclass
class TraceState:
    """What is known of a request so far. ``size`` counts the body's bytes; ``status`` stays 0 without an answer."""

    route: str = ""
    status: int = 0
    size: int = 0


def set_route(scope: Scope, route: str) -> None:
    """Sets the route's template of a request that the application does not route."""
    state: TraceState | None = scope.get(_STATE)
    if state is not None:
        state.route = route


class RequestTrace:
    """One span and record for a request. It runs twice: outermost, and in the application, which knows the route."""

    def __init__(self, app: ASGIApp, requests: bool = True) -> None:
        """``requests``: whether to log each request."""
        self.app = app
        self._requests = requests
        self._templates: dict[int, str] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
        elif (state := scope.get(_STATE)) is not None:
            await self._call(state, scope, receive, send)
        else:
            await self._observe(scope, receive, send)

    async def _call(self, state: TraceState, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self.app(scope, receive, send)
        finally:
            if not state.route and (route := scope.get("route")) is not None:
                state.route = self._template(scope["app"], route)

    def _template(self, app: FastAPI, route: Any) -> str:
        """The route's path with the prefixes of its routers, which the route itself does not have."""
        if not self._templates:
            known = iter_route_contexts(app.routes)
            self._templates = {id(one.original_route): one.path_format or "" for one in known}
        return self._templates.get(id(route), "")

    async def _observe(self, scope: Scope, receive: Receive, send: Send) -> None:
        state = scope[_STATE] = TraceState()
        if "request_id" not in scope:
            scope["request_id"] = new_request_id()
        carrier = {tracing.REQUEST_ID: scope["request_id"]}
        probe = scope["path"].startswith(PROBES)
        if not probe and (parent := _single_header(scope, tracing.TRACEPARENT)) is not None:
            carrier[tracing.TRACEPARENT] = parent
        method, began = _method(scope), time.perf_counter()
        start_span = tracing.continued_span if probe else tracing.entry_span
        record = RequestRecord()
        with (
            contextlib.nullcontext() if probe else measured(scope["type"], record),
            start_span(method, carrier, http__request__method=method, url__scheme=_scheme(scope)) as span,
        ):
            try:
                await self._call(state, scope, receive, _counted(send, state))
            except Exception as error:
                state.status = state.status or 500
                LOGGER.exception("%s %s failed: %s", method, state.route, type(error).__name__)
                raise
            finally:
                record.route, record.status = state.route or UNROUTED, str(state.status or ABANDONED)
                _describe(span, method, state)
                if self._requests and not probe:
                    self._log(method, state, scope, time.perf_counter() - began)

    def _log(self, method: str, state: TraceState, scope: Scope, took_s: float) -> None:
        result = authenticated(scope)
        fields: dict[str, Any] = {
            "method": method, "route": state.route, "status": state.status, "duration_ms": round(took_s * 1000, 2),
            "bytes": state.size, "key_id": result.principal.key_id if result is not None else None,
        }  # fmt: skip
        values = (method, state.route or "-", state.status, took_s * 1000, state.size)
        log_values(LOGGER, "%s %s %d %.1f ms %d bytes", *values, fields=fields)


def _counted(send: Send, state: TraceState) -> Send:
    traced = tracing.response()

    async def counted(message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.start":
            state.status = message["status"]
            if traced is not None:
                MutableHeaders(scope=message)[tracing.RESPONSE] = traced
        elif kind == "http.response.body":
            state.size += len(message.get("body", b""))
        elif kind == "websocket.accept":
            state.status = 101
        elif kind == "websocket.http.response.start":
            state.status = message["status"]
        await send(message)

    return counted


def _describe(span: tracing.entry_span, method: str, state: TraceState) -> None:
    if state.route:
        span.rename(f"{method} {state.route}")
        span.note(http__route=state.route)
    if state.status:
        span.note(http__response__status_code=state.status)
    if state.status >= 500:
        span.failed(str(state.status))


def _method(scope: Scope) -> str:
    method = scope.get("method", "GET")
    return method if method in _METHODS else _OTHER


def _scheme(scope: Scope) -> str:
    return scope["scheme"] if scope.get("scheme") in ("http", "https", "ws", "wss") else "http"


def _single_header(scope: Scope, name: str) -> str | None:
    """The header's value; None without it and for a repeated one."""
    values = [value for own, value in scope["headers"] if own == name.encode()]
    return values[0].decode("latin-1") if len(values) == 1 else None
