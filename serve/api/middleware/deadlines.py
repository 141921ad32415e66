"""Deadline and priority of a request, which its caller sets: the same contract for HTTP and gRPC.

HTTP has headers; gRPC has the same as metadata, and a deadline of its own (`GrpcDeadline`). The open inference
protocol's parameters ``timeout`` and ``priority`` narrow it (`context_with_parameters`). The earliest deadline counts.
The time starts when the gateway has the head of the request, so it includes the upload of the body and all waiting.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from fastapi import Request, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.api.middleware.authentication import authenticated
from serve.api.middleware.request_metrics import note_deadline
from serve.api.middleware.scopes import PROBES
from serve.errors import AtelierError, InvalidRequest
from serve.observability import request_context
from serve.observability.request_context import Priority, RequestContext
from serve.security.identity.roles import ADMIN, LOCAL, Principal
from serve.settings import GatewaySettings

Answer = Callable[[Request, Exception], Awaitable[Response]]
Headers = Sequence[tuple[bytes, bytes]]

REQUEST_TIMEOUT, PRIORITY = "X-Request-Timeout", "X-Priority"
MAX_TIMEOUT_S = 3600.0
PRIORITIES: Mapping[str, Priority] = {priority.name.lower(): priority for priority in Priority}
GRACE_S = 0.25
"""The work of a request ends at its deadline with a precise error; so much later it is cancelled in any case."""

_RECEIVED_AT, _CONTEXT = "atelier.received_at", "atelier.context"
"""Keys in the ASGI scope."""
_SECONDS = re.compile(rb"\d{1,4}(\.\d{0,20})?")
"""A decimal number of seconds without sign or exponent."""
_LEVELS = {1: Priority.HIGH, 2: Priority.NORMAL, 3: Priority.LOW}
"""Triton's parameter ``priority``, as of a model with three levels. 0 and unknown levels mean the default."""


def read_context(headers: Headers, began: float, principal: Principal, gateway: GatewaySettings) -> RequestContext:
    """The context that the headers request. ``began`` is by ``time.monotonic``.

    Raises InvalidRequest, and Forbidden for a priority that ``principal`` may not request.
    """
    may_be_high = principal == LOCAL or gateway.high_priority == "everybody" or principal.has_scope(ADMIN)
    context = RequestContext(most=Priority.HIGH if may_be_high else Priority.NORMAL)
    if (value := _one(headers, REQUEST_TIMEOUT)) is not None:
        timeout_s = float(value) if _SECONDS.fullmatch(value) else 0.0
        if not 0 < timeout_s <= MAX_TIMEOUT_S:
            raise InvalidRequest(f"must be seconds above 0, at most {MAX_TIMEOUT_S:g}", REQUEST_TIMEOUT)
        context = RequestContext(began + timeout_s, most=context.most)
    if (value := _one(headers, PRIORITY)) is not None:
        priority = PRIORITIES.get(value.decode("latin-1").strip().lower())
        if priority is None:
            raise InvalidRequest(f"must be one of {', '.join(PRIORITIES)}", PRIORITY)
        context = context.with_priority(priority, PRIORITY)
    return context


def _one(headers: Headers, name: str) -> bytes | None:
    values = [value for own, value in headers if own == name.lower().encode()]
    if len(values) > 1:
        raise InvalidRequest("is there more than once", name)
    return values[0] if values else None


def context_with_parameters(parameters: Mapping[str, Any]) -> RequestContext:
    """The current context, narrowed by the parameters of one inference. Raises InvalidRequest, Forbidden."""
    level = parameters.get("priority", 0)
    if isinstance(level, bool) or not isinstance(level, int) or level < 0:
        raise InvalidRequest("must be a whole number: 1 is high, 2 normal, 3 low", "priority")
    context = request_context.current().with_timeout(timeout_of(parameters))
    note_deadline(context.deadline)
    return context.with_priority(_LEVELS.get(level), "priority")


def timeout_of(parameters: Mapping[str, Any]) -> float | None:
    """Triton's request parameter ``timeout``, converted from microseconds to seconds; None for 0."""
    timeout_us = parameters.get("timeout", 0)
    if isinstance(timeout_us, bool) or not isinstance(timeout_us, int) or not 0 <= timeout_us <= MAX_TIMEOUT_S * 1e6:
        raise InvalidRequest("must be a number of microseconds, at most an hour", "timeout")
    return timeout_us / 1e6 or None


class RequestReceived:
    """Notes the time at which the request was received. Runs as early as possible."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault(_RECEIVED_AT, time.monotonic())
        await self.app(scope, receive, send)


def context_of(scope: Scope, gateway: GatewaySettings) -> RequestContext:
    """The context that an HTTP request's headers set. Raises as `read_context` does."""
    if _CONTEXT not in scope:
        result = authenticated(scope)
        principal = LOCAL if result is None else result.principal
        began: float = scope.get(_RECEIVED_AT) or time.monotonic()
        scope[_CONTEXT] = read_context(scope["headers"], began, principal, gateway)
        note_deadline(scope[_CONTEXT].deadline)
    context: RequestContext = scope[_CONTEXT]
    return context


def context_or_default(scope: Scope, gateway: GatewaySettings) -> RequestContext:
    """`context_of`, or the default for invalid headers: for middleware that cannot answer errors yet."""
    try:
        return context_of(scope, gateway)
    except AtelierError:
        return RequestContext()


class Deadlines:
    """Sets the `RequestContext` of a request, and answers 504 after its deadline. Runs within the application.

    ``answer`` renders an error in the vocabulary of the request's path.
    """

    def __init__(self, app: ASGIApp, gateway: GatewaySettings, answer: Answer) -> None:
        self.app = app
        self._gateway = gateway
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(PROBES):
            await self.app(scope, receive, send)
            return
        begun = False

        async def send_in_time(message: Message) -> None:
            """An answer that starts in time is completed: a stream reports the deadline in its last event."""
            nonlocal begun
            if message["type"] == "http.response.start" and message["status"] < 400 and context.is_over:
                limit.reschedule(-1.0)  # now: nothing of the answer is sent
                await asyncio.sleep(GRACE_S)
            begun = True
            limit.reschedule(None)
            await send(message)

        try:
            context = context_of(scope, self._gateway)
            context.left_s(MAX_TIMEOUT_S)
            with request_context.use(context):
                async with request_context.deadline_timeout(GRACE_S) as limit:
                    await self.app(scope, receive, send_in_time)
        except AtelierError as error:
            if begun:
                raise
            await (await self._answer(Request(scope, receive), error))(scope, receive, send)
