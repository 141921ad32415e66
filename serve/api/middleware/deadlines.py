"""How long a request may take and how urgent it is, as its caller says: one contract for every door.

HTTP has headers; gRPC has the same as metadata, and a deadline of its own (`timed`). The open inference protocol's
parameters ``timeout`` and ``priority`` narrow it (`asked_by`). The earliest end counts. The time runs from when the
gateway has the head of the request, so that the upload of its body and all waiting are part of it.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from fastapi import Request, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.api.middleware.authentication import entered
from serve.api.middleware.request_metrics import ends_by
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
"""The work of a request ends by itself at its deadline, with a better message; so much later it is cancelled."""

_ARRIVED, _ASKED = "atelier.arrived", "atelier.asked"
_SECONDS = re.compile(rb"\d{1,4}(\.\d{0,20})?")
"""As programs write numbers of a millisecond and more."""
_LEVELS = {1: Priority.HIGH, 2: Priority.NORMAL, 3: Priority.LOW}
"""Of Triton's parameter ``priority``, as of a model with three levels. 0, and what is no level, is the default."""


def read(headers: Headers, began: float, principal: Principal, gateway: GatewaySettings) -> RequestContext:
    """``began`` is of ``monotonic``. Raises InvalidRequest, and Forbidden for what ``principal`` may not ask for."""
    may_hurry = principal == LOCAL or gateway.high_priority == "everybody" or principal.has_scope(ADMIN)
    asked = RequestContext(most=Priority.HIGH if may_hurry else Priority.NORMAL)
    if (given := _one(headers, REQUEST_TIMEOUT)) is not None:
        timeout_s = float(given) if _SECONDS.fullmatch(given) else 0.0
        if not 0 < timeout_s <= MAX_TIMEOUT_S:
            raise InvalidRequest(f"must be seconds above 0, at most {MAX_TIMEOUT_S:g}", REQUEST_TIMEOUT)
        asked = RequestContext(began + timeout_s, most=asked.most)
    if (given := _one(headers, PRIORITY)) is not None:
        named = PRIORITIES.get(given.decode("latin-1").strip().lower())
        if named is None:
            raise InvalidRequest(f"must be one of {', '.join(PRIORITIES)}", PRIORITY)
        asked = asked.with_priority(named, PRIORITY)
    return asked


def _one(headers: Headers, name: str) -> bytes | None:
    found = [value for own, value in headers if own == name.lower().encode()]
    if len(found) > 1:
        raise InvalidRequest("is there more than once", name)
    return found[0] if found else None


def asked_by(parameters: Mapping[str, Any]) -> RequestContext:
    """What is current, as the parameters of one inference narrow it. Raises InvalidRequest, Forbidden."""
    level = parameters.get("priority", 0)
    if isinstance(level, bool) or not isinstance(level, int) or level < 0:
        raise InvalidRequest("must be a whole number: 1 is high, 2 normal, 3 low", "priority")
    asked = request_context.current().with_timeout(timeout_of(parameters))
    ends_by(asked.deadline)
    return asked.with_priority(_LEVELS.get(level), "priority")


def timeout_of(parameters: Mapping[str, Any]) -> float | None:
    """Triton's request parameter ``timeout``, in microseconds, in seconds; 0 is none."""
    timeout_us = parameters.get("timeout", 0)
    if isinstance(timeout_us, bool) or not isinstance(timeout_us, int) or not 0 <= timeout_us <= MAX_TIMEOUT_S * 1e6:
        raise InvalidRequest("must be a number of microseconds, at most an hour", "timeout")
    return timeout_us / 1e6 or None


class RequestReceived:
    """As early as can be: from here on the time runs."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault(_ARRIVED, time.monotonic())
        await self.app(scope, receive, send)


def asked_of(scope: Scope, gateway: GatewaySettings) -> RequestContext:
    """Of an HTTP request. Raises as `read` does."""
    if _ASKED not in scope:
        found = entered(scope)
        principal = LOCAL if found is None else found.principal
        began: float = scope.get(_ARRIVED) or time.monotonic()
        scope[_ASKED] = read(scope["headers"], began, principal, gateway)
        ends_by(scope[_ASKED].deadline)
    asked: RequestContext = scope[_ASKED]
    return asked


def urgency_of(scope: Scope, gateway: GatewaySettings) -> RequestContext:
    """Of the raw headers, before errors can be answered."""
    try:
        return asked_of(scope, gateway)
    except AtelierError:
        return RequestContext()


class Deadlines:
    """Within the application: a request works under its urgency, and is answered in time.

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

        async def told(message: Message) -> None:
            """An answer that begins in time goes on, as a stream does: it reports the deadline by itself."""
            nonlocal begun
            if message["type"] == "http.response.start" and message["status"] < 400 and asked.is_over:
                limit.reschedule(-1.0)  # at once: nothing of it is sent
                await asyncio.sleep(GRACE_S)
            begun = True
            limit.reschedule(None)
            await send(message)

        try:
            asked = asked_of(scope, self._gateway)
            asked.left_s(MAX_TIMEOUT_S)
            with request_context.use(asked):
                async with request_context.deadline_timeout(GRACE_S) as limit:
                    await self.app(scope, receive, told)
        except AtelierError as error:
            if begun:
                raise
            await (await self._answer(Request(scope, receive), error))(scope, receive, send)
