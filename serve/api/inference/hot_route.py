"""`HotInference`: inference of an engine over HTTP without FastAPI and Ray Serve's layers.

`serve.api.middleware.admission` calls it with the whole body of an admitted request, so key, limits, deadline, request
id, trace, metrics and slots are those of every request. What it does not serve takes the way of all routes: ensembles,
models that are not yet known, and requests of pages of other origins. Both ways give the same answers
(`tests/api/inference/test_hot_route.py`).
"""

from __future__ import annotations

import asyncio
import contextvars
import re
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import Request, Response
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import Receive, Scope, Send

from serve.api.inference.codec import HEADER_LENGTH, as_response, decode_request, encode_response, json_bytes_of
from serve.api.inference.models import Models
from serve.api.middleware.authentication import authenticated, principal_of_scope
from serve.api.middleware.deadlines import GRACE_S, MAX_TIMEOUT_S, context_of
from serve.api.middleware.origin_check import OriginCheck
from serve.api.middleware.request_trace import set_route
from serve.errors import AtelierError, DeadlineExceeded
from serve.observability import request_context
from serve.settings import Settings

Match = tuple[str, str]
"""The name of an engine, and its version or nothing."""
Answer = Callable[[Request, Exception], Awaitable[Response]]

_LENGTH = HEADER_LENGTH.lower().encode()
_PATH = re.compile(r"/v2/models/(?P<name>[^/]+)(?:/versions/(?P<version>[^/]+))?/infer")
_ROUTES = ("/v2/models/{name}/infer", "/v2/models/{name}/versions/{version}/infer")
THREAD_MIN_BYTES = 64 * 1024
"""Answers from this size are encoded in a thread: JSON of pixels takes long enough to block the event loop."""
WATCH_AFTER_S = 0.05
"""From then on a client that disconnects cancels its request; most requests have ended by then."""


class HotInference:
    """``answer`` renders an error in the vocabulary of the request's path; ``ongoing`` counts the requests in work by
    +1 and -1, since a gateway that drains waits for them."""

    def __init__(
        self, models: Models, settings: Settings, answer: Answer, ongoing: Callable[[int], None] = lambda _: None
    ) -> None:
        self._models = models
        self._settings = settings
        self._answer = answer
        self._ongoing = ongoing
        self._origins = OriginCheck(_unused, settings, answer)
        self._gzip_min_bytes = settings.limits.gzip_min_bytes

    def match(self, scope: Scope) -> Match | None:
        """The name and version in the path, if the request is served here."""
        path: str = scope["path"]
        if not path.startswith("/v2/models/") or scope["method"] != "POST":
            return None
        parts = _PATH.fullmatch(path)
        if parts is None or not self._models.is_known_engine(parts["name"]):
            return None
        if [name for name, _ in scope["headers"] if name == b"origin"]:
            return None
        return parts["name"], parts["version"] or ""

    async def serve(self, match: Match, scope: Scope, receive: Receive, send: Send, body: bytes) -> None:
        """Answers a request that `match` has matched; ``body`` is whole and decompressed."""
        set_route(scope, _ROUTES[bool(match[1])])
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

    async def _respond(self, match: Match, scope: Scope, body: bytes) -> Response:
        if (refusal := self._origins.refusal(scope)) is not None:
            raise refusal
        context = context_of(scope, self._settings.gateway)
        with request_context.use(context):
            if context.deadline is None:
                return await self._infer(match, scope, body)
            context.left_s(MAX_TIMEOUT_S)
            async with request_context.deadline_timeout(GRACE_S):
                response = await self._infer(match, scope, body)
        if context.is_over:
            raise DeadlineExceeded("there was not enough time to finish")
        return response

    async def _infer(self, match: Match, scope: Scope, body: bytes) -> Response:
        name, version = match
        decoded = decode_request(body, json_bytes_of(_header(scope)), max_tensors=self._settings.limits.max_tensors)
        answer = await self._models.infer(name, version, decoded, principal_of_scope(scope).user_id)
        parts: Any = (name, answer.version, decoded, answer.outputs, answer.parameters)
        if sum(array.nbytes for array in answer.outputs.values()) < THREAD_MIN_BYTES:
            return as_response(*encode_response(*parts))
        return as_response(*await asyncio.to_thread(encode_response, *parts))

    async def _send(self, response: Response, scope: Scope, receive: Receive, send: Send) -> None:
        result = authenticated(scope)
        if result is not None:
            response.headers.update(dict(result.headers))
        if len(response.body) < self._gzip_min_bytes:
            await response(scope, receive, send)
        else:
            await GZipMiddleware(response, self._gzip_min_bytes, compresslevel=5)(scope, receive, send)


def _header(scope: Scope) -> str | None:
    """The first value of the header, as FastAPI reads it."""
    values = [value for name, value in scope["headers"] if name == _LENGTH]
    return values[0].decode("latin-1") if values else None


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
