"""Admission control: bounds on concurrent requests and on the bytes of their bodies.

`Admission` runs before Ray Serve counts a request. A client may send its body slowly, so the body is read here first,
within limits of bytes and seconds, and the request takes one of the `AdmissionSlots` when the body is complete. Every
admitted request has a deadline; nothing waits for a slot. Errors have the shape of the path's vocabulary.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from fastapi import Request, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.api.http.bodies import WHOLE_BODY, plain, read_capped
from serve.api.middleware.authentication import authenticated
from serve.api.middleware.deadlines import context_or_default
from serve.errors import AtelierError, Overloaded
from serve.observability import request_context
from serve.observability.request_context import Priority, RequestContext
from serve.settings import GatewaySettings, LimitsSettings

Answer = Callable[[Request, Exception], Awaitable[Response]]

_TOO_MUCH = "too many large requests are in work; try again later"
_WITHOUT_BODY = frozenset(["GET", "HEAD", "OPTIONS"])


class HotRoute(Protocol):
    """Serves requests that match it, whose bodies have been read. `serve` renders its own errors."""

    def match(self, scope: Scope) -> Any: ...
    async def serve(self, match: Any, scope: Scope, receive: Receive, send: Send, body: bytes) -> None: ...


class AdmissionSlots:
    """At most ``most`` concurrent requests; further ones get 503 with Retry-After.

    The share ``kept_share`` of the slots is reserved for high priority, and the same share again is closed to low
    priority. So requests of a lower priority are refused before all slots are taken.
    """

    def __init__(self, most: int, kept_share: float) -> None:
        reserved = int(most * kept_share)
        self._most = {Priority.HIGH: most, Priority.NORMAL: most - reserved, Priority.LOW: most - 2 * reserved}
        self._taken = 0

    def taken(self, priority: Priority) -> AdmissionSlots:
        """Holds a slot for a ``with`` block. Raises Overloaded."""
        if self._taken >= self._most[priority]:
            raise Overloaded("too many requests are in work; try again later")
        return self

    def __enter__(self) -> None:
        self._taken += 1

    def __exit__(self, *_: object) -> None:
        self._taken -= 1


class Admission:
    """``answer`` renders an error in the vocabulary of the request's path."""

    def __init__(
        self,
        app: ASGIApp,
        limits: LimitsSettings,
        gateway: GatewaySettings,
        answer: Answer,
        hot_route: Callable[[], HotRoute | None] = lambda: None,
    ) -> None:
        """``hot_route``: what serves some requests instead of ``app``, once it is there."""
        self.app = app
        self._hot_route = hot_route
        self._limits = limits
        self._max_held_bytes = gateway.max_held_bytes
        self._held_bytes = 0
        self._gateway = gateway
        self._slots = AdmissionSlots(gateway.max_ongoing_requests, gateway.kept_share)
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        refused = (result := authenticated(scope)) is not None and result.refusal is not None
        request = Request(scope, receive)
        hot_route = None if refused else self._hot_route()
        match = None if hot_route is None else hot_route.match(scope)
        if match is None:
            send = self._with_own_refusals(request, send)
        if scope["method"] in _WITHOUT_BODY:  # short, health probes among them: they need no slot
            await self.app(scope, receive, send)
            return
        body, context = bytearray(), context_or_default(scope, self._gateway)
        try:
            await self._read_in_time(context, request, body, kept=not refused)
            if not refused:
                self._inflate(request, body)
            with self._slots.taken(context.priority):
                if match is not None and hot_route is not None:
                    await hot_route.serve(match, scope, receive, send, bytes(body))
                else:
                    whole = bytes(body)
                    await self.app({**_unencoded(scope), WHOLE_BODY: whole}, _replayed(whole, receive), send)
        except AtelierError as error:
            await (await self._answer(request, error))(scope, receive, send)
        finally:
            self._held_bytes -= len(body)

    async def _read_in_time(self, context: RequestContext, request: Request, body: bytearray, kept: bool) -> None:
        if context.deadline is None:
            await self._read(request, body, kept)
            return
        with request_context.use(context):
            async with request_context.deadline_timeout():
                await self._read(request, body, kept)

    async def _read(self, request: Request, body: bytearray, kept: bool) -> None:
        """Fills ``body``. A body that is not ``kept`` is read too: a client sees no answer while it is sending."""
        full = False

        def take(piece: bytes) -> None:
            nonlocal full
            full = full or self._held_bytes + len(piece) > self._max_held_bytes
            if full:
                self._held_bytes -= len(body)
                body.clear()
            else:
                self._held_bytes += len(piece)
                body.extend(piece)

        await read_capped(request, self._limits, take if kept else _discard)
        if full:
            raise Overloaded(_TOO_MUCH)

    def _inflate(self, request: Request, body: bytearray) -> None:
        """Decompresses ``body`` and counts the bytes it then has: a few kilobytes may become megabytes."""
        plain_body = plain(bytes(body), request.headers, self._limits)
        more = len(plain_body) - len(body)
        if self._held_bytes + more > self._max_held_bytes:
            raise Overloaded(_TOO_MUCH)
        self._held_bytes += more
        body[:] = plain_body

    def _with_own_refusals(self, request: Request, send: Send) -> Send:
        """``send`` that replaces Ray Serve's refusals, which are plain text, by errors in the path's vocabulary."""
        replaced = False

        async def replace_refusal(message: Message) -> None:
            nonlocal replaced
            if message["type"] == "http.response.start" and _is_ray_serve_refusal(message):
                replaced = True
                answer = await self._answer(request, Overloaded("too many requests are waiting; try again later"))
                await answer(request.scope, request.receive, send)
            elif not replaced:
                await send(message)

        return replace_refusal


def _discard(_: bytes) -> None: ...


def _is_ray_serve_refusal(start: Message) -> bool:
    kinds = [value for name, value in start["headers"] if name.lower() == b"content-type"]
    return start["status"] == 503 and any(kind.startswith(b"text/plain") for kind in kinds)


def _unencoded(scope: Scope) -> Scope:
    """``scope`` without Content-Encoding, for a body that is decompressed."""
    return {**scope, "headers": [header for header in scope["headers"] if header[0] != b"content-encoding"]}


def _replayed(body: bytes, receive: Receive) -> Receive:
    """``receive`` that yields ``body`` again."""
    message: Message | None = {"type": "http.request", "body": body, "more_body": False}

    async def receive_again() -> Message:
        nonlocal message
        first, message = message, None
        return first or await receive()

    return receive_again


_hot_route: HotRoute | None = None


def set_process_hot_route(hot_route: HotRoute | None) -> None:
    """Ray Serve creates its outermost middleware before the gateway, so that reads the route from here."""
    global _hot_route
    _hot_route = hot_route


def process_hot_route() -> HotRoute | None:
    return _hot_route
