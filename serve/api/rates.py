"""Rate limits of HTTP and WebSockets: counted before anything else is done, told in the headers of every answer."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence

from fastapi import Request, Response
from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.errors import TooManyRequests
from serve.limits.addresses import FORWARDING
from serve.limits.headers import rate_limit_headers
from serve.limits.limiter import Client, Limiter, Work, refuse_beyond

ClientOf = Callable[[HTTPConnection], Awaitable[Client]]
"""Who asks. It raises nothing: a request whose key is none is counted by address, and refused by who checks keys."""
Answer = Callable[[Request, Exception], Awaitable[Response]]

_UNCOUNTED = ("/health/", "/v2/health/", "/-/")
_READS = frozenset(["GET", "HEAD"])
_WORK: Sequence[tuple[re.Pattern[str], Work]] = (
    (re.compile(r"/v1/jobs|/v1/jobs/[^/]+/retry|/v1/images/\w+|/(api/)?generate|/api/\w+/generate"), "draw"),
    (re.compile(r"/sdapi/v1/(txt2img|img2img)|/v2/models/[^/]+(/versions/[^/]+)?/generate(_stream)?"), "draw"),
    (re.compile(r"/v2/models/illustrate(/versions/[^/]+)?/infer"), "draw"),
    (re.compile(r"/v2/models/[^/]+(/versions/[^/]+)?/infer|/api/convert(-ai)?|/api/analyze-image"), "vectorize"),
)


def work_of(method: str, path: str) -> Work:
    """What a request is about, from what is known before it is read."""
    if method in _READS:
        return "read"
    path = path.rstrip("/")
    return next((work for pattern, work in _WORK if pattern.fullmatch(path)), "write")


async def client_of(connection: HTTPConnection) -> Client:
    """By address alone, as `serve.api.client_address` found it."""
    client = connection.client
    headers = {name for name, _ in connection.scope["headers"]}
    return Client(None, client.host if client else "", forwarded=any(name in headers for name in FORWARDING))


class RateLimits:
    """``answer`` renders an error in the vocabulary of the request's path. Probes of health and CORS's questions are
    not counted."""

    def __init__(self, app: ASGIApp, limiter: Limiter, answer: Answer, client_of: ClientOf = client_of) -> None:
        self.app = app
        self._limiter = limiter
        self._answer = answer
        self._client_of = client_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not _is_counted(scope):
            await self.app(scope, receive, send)
            return
        work = work_of(scope.get("method", "GET"), scope["path"])
        standings = await self._limiter.take(await self._client_of(HTTPConnection(scope)), work)
        headers = dict(rate_limit_headers(standings))

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(headers)
            await send(message)

        try:
            refuse_beyond(standings)
        except TooManyRequests as error:
            await self._refuse(error, scope, receive, told if scope["type"] == "http" else send, headers)
            return
        await self.app(scope, receive, told if headers and scope["type"] == "http" else send)

    async def _refuse(
        self, error: TooManyRequests, scope: Scope, receive: Receive, send: Send, headers: Mapping[str, str]
    ) -> None:
        request = Request({**scope, "type": "http", "method": scope.get("method", "GET")}, receive)
        response = await self._answer(request, error)
        if scope["type"] == "http":
            await response(scope, receive, send)
        elif "websocket.http.response" in scope.get("extensions", {}):
            response.headers.update(headers)
            await response(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1013, "reason": "try again later"})


def _is_counted(scope: Scope) -> bool:
    if scope["type"] not in ("http", "websocket"):
        return False
    path: str = scope["path"]
    return scope.get("method") != "OPTIONS" and not path.startswith(_UNCOUNTED)
