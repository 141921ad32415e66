"""`HotRoutes`: requests that are served without FastAPI and Ray Serve's layers: inferences and conversions.

`serve.api.middleware.admission` calls it with the whole body of an admitted request, so key, limits, deadline, request
id, trace, metrics and slots are those of every request. What no handler matches takes the way of all routes, and so do
requests of pages (with an origin). Both ways give the same answers (`tests/api/inference/test_hot_route.py`,
`tests/api/native/test_hot_conversions.py`).
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from fastapi import Request, Response
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import Receive, Scope, Send

from serve.api.middleware.authentication import authenticated
from serve.api.middleware.deadlines import GRACE_S, MAX_TIMEOUT_S, context_of
from serve.api.middleware.origin_check import OriginCheck
from serve.api.middleware.request_trace import set_route
from serve.errors import AtelierError, DeadlineExceeded
from serve.observability import request_context
from serve.settings import Settings

Answer = Callable[[Request, Exception], Awaitable[Response]]
Respond = Callable[[Scope, bytes], Awaitable[Response]]

WATCH_AFTER_S = 0.05
"""From then on a client that disconnects cancels its request; most requests have ended by then."""


@dataclass(frozen=True, slots=True)
class HotMatch:
    """``route``: the template of its path; ``respond`` answers the request's scope and body."""

    route: str
    respond: Respond


class HotHandler(Protocol):
    def match(self, scope: Scope) -> HotMatch | None:
        """For an HTTP request that it serves."""
        ...


class HotRoutes:
    """``answer`` renders an error in the vocabulary of the request's path; ``ongoing`` counts the requests in work by
    +1 and -1, since a gateway that drains waits for them."""

    def __init__(
        self,
        handlers: Sequence[HotHandler],
        settings: Settings,
        answer: Answer,
        ongoing: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._handlers = list(handlers)
        self._settings = settings
        self._answer = answer
        self._ongoing = ongoing
        self._origins = OriginCheck(_unused, settings, answer)
        self._gzip_min_bytes = settings.limits.gzip_min_bytes

    def add(self, handler: HotHandler) -> None:
        self._handlers.append(handler)

    def match(self, scope: Scope) -> HotMatch | None:
        """For a request that is served here."""
        if scope["method"] != "POST":
            return None
        for handler in self._handlers:
            if (match := handler.match(scope)) is not None:
                return None if [name for name, _ in scope["headers"] if name == b"origin"] else match
        return None

    async def serve(self, match: HotMatch, scope: Scope, receive: Receive, send: Send, body: bytes) -> None:
        """Answers a request that `match` has matched; ``body`` is whole and decompressed."""
        set_route(scope, match.route)
        self._ongoing(1)
        unexpected: Exception | None = None
        try:
            watch = _DisconnectWatch(receive)
            try:
                response = await self._respond(match, scope, body)
            except Exception as error:
                response = await self._answer(Request(scope), error)
                unexpected = None if isinstance(error, AtelierError) else error
            finally:
                watch.stop()
            await self._send(response, scope, receive, send)
        finally:
            self._ongoing(-1)
        if unexpected is not None:
            raise unexpected

    async def _respond(self, match: HotMatch, scope: Scope, body: bytes) -> Response:
        if (refusal := self._origins.refusal(scope)) is not None:
            raise refusal
        context = context_of(scope, self._settings.gateway)
        with request_context.use(context):
            if context.deadline is None:
                return await match.respond(scope, body)
            context.left_s(MAX_TIMEOUT_S)
            async with request_context.deadline_timeout(GRACE_S):
                response = await match.respond(scope, body)
        if context.is_over:
            raise DeadlineExceeded("there was not enough time to finish")
        return response

    async def _send(self, response: Response, scope: Scope, receive: Receive, send: Send) -> None:
        result = authenticated(scope)
        if result is not None:
            response.headers.update(dict(result.headers))
        if len(response.body) < self._gzip_min_bytes:
            await response(scope, receive, send)
        else:
            await GZipMiddleware(response, self._gzip_min_bytes, compresslevel=5)(scope, receive, send)


class _DisconnectWatch:
    """Cancels the task that creates it once its client is gone, until it is stopped."""

    __slots__ = ("_receive", "_task", "_timer", "_watching")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._task = asyncio.current_task()
        self._watching: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(WATCH_AFTER_S, self._start)

    def stop(self) -> None:
        self._timer.cancel()
        if self._watching is not None:
            self._watching.cancel()

    def _start(self) -> None:
        self._watching = asyncio.create_task(self._watch(), context=contextvars.Context())

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if self._task is not None:
            self._task.cancel()


async def _unused(scope: Scope, receive: Receive, send: Send) -> None:
    raise NotImplementedError
