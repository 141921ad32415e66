"""What is in work at once, and what may wait: bounds that answer in our own words.

`Admission` runs before Ray Serve counts a request. A body arrives as slowly as its client likes, and a place behind the
door is worth more than that: the body is read here first, under caps in bytes and seconds, and the request takes its
place once it is whole. What has a place is in work, with a deadline; nothing waits without one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterator

from fastapi import Request, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.api.http.bodies import capped, plain
from serve.api.middleware.authentication import entered
from serve.api.middleware.deadlines import urgency_of
from serve.errors import AtelierError, Overloaded
from serve.observability import request_context
from serve.observability.request_context import Priority
from serve.settings import GatewaySettings, LimitsSettings

Answer = Callable[[Request, Exception], Awaitable[Response]]

_TOO_MUCH = "too many large requests are in work; try again later"
_WITHOUT_BODY = frozenset(["GET", "HEAD", "OPTIONS"])


class AdmissionSlots:
    """At most ``most`` at once; further requests are refused with Retry-After.

    ``kept_share`` of them are for high priority alone, and as many again not for low: who is less urgent is refused
    before there is no place left.
    """

    def __init__(self, most: int, kept_share: float) -> None:
        kept = int(most * kept_share)
        self._most = {Priority.HIGH: most, Priority.NORMAL: most - kept, Priority.LOW: most - 2 * kept}
        self._taken = 0

    @contextlib.contextmanager
    def taken(self, priority: Priority) -> Iterator[None]:
        """Raises Overloaded."""
        if self._taken >= self._most[priority]:
            raise Overloaded("too many requests are in work; try again later")
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1


class Admission:
    """``answer`` renders an error in the vocabulary of the request's path."""

    def __init__(self, app: ASGIApp, limits: LimitsSettings, gateway: GatewaySettings, answer: Answer) -> None:
        self.app = app
        self._limits = limits
        self._max_held_bytes = gateway.max_held_bytes
        self._held_bytes = 0
        self._gateway = gateway
        self._places = AdmissionSlots(gateway.max_ongoing_requests, gateway.kept_share)
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        refused = (found := entered(scope)) is not None and found.refusal is not None
        request = Request(scope, receive)
        send = self._in_our_words(request, send)
        if scope["method"] in _WITHOUT_BODY:  # health among them: brief, and never behind those that are not
            await self.app(scope, receive, send)
            return
        body, asked = bytearray(), urgency_of(scope, self._gateway)
        try:
            with request_context.use(asked):
                async with request_context.deadline_timeout():
                    await self._read(request, body, kept=not refused)
            if not refused:
                self._inflate(request, body)
            with self._places.taken(asked.priority):
                await self.app(_unencoded(scope), _again(bytes(body), receive), send)
        except AtelierError as error:
            await (await self._answer(request, error))(scope, receive, send)
        finally:
            self._held_bytes -= len(body)

    async def _read(self, request: Request, body: bytearray, kept: bool) -> None:
        """Fills ``body``. A body that is not kept is read too: a client that still sends sees no answer."""
        full = False
        async for chunk in capped(request, self._limits):
            if not kept:
                continue
            full = full or self._held_bytes + len(chunk) > self._max_held_bytes
            if full:
                self._held_bytes -= len(body)
                body.clear()
            else:
                self._held_bytes += len(chunk)
                body += chunk
        if full:
            raise Overloaded(_TOO_MUCH)

    def _inflate(self, request: Request, body: bytearray) -> None:
        """Counts the inflated body: a few kilobytes may become megabytes."""
        whole = plain(bytes(body), request.headers, self._limits)
        more = len(whole) - len(body)
        if self._held_bytes + more > self._max_held_bytes:
            raise Overloaded(_TOO_MUCH)
        self._held_bytes += more
        body[:] = whole

    def _in_our_words(self, request: Request, send: Send) -> Send:
        """Ray Serve refuses in plain text."""
        replaced = False

        async def told(message: Message) -> None:
            nonlocal replaced
            if message["type"] == "http.response.start" and _is_rays_refusal(message):
                replaced = True
                answer = await self._answer(request, Overloaded("too many requests are waiting; try again later"))
                await answer(request.scope, request.receive, send)
            elif not replaced:
                await send(message)

        return told


def _is_rays_refusal(start: Message) -> bool:
    kinds = [value for name, value in start["headers"] if name.lower() == b"content-type"]
    return start["status"] == 503 and any(kind.startswith(b"text/plain") for kind in kinds)


def _unencoded(scope: Scope) -> Scope:
    """``scope`` of a request whose body is plain by now."""
    return {**scope, "headers": [header for header in scope["headers"] if header[0] != b"content-encoding"]}


def _again(body: bytes, receive: Receive) -> Receive:
    """``receive`` as if ``body`` had not been read yet."""
    message: Message | None = {"type": "http.request", "body": body, "more_body": False}

    async def replayed() -> Message:
        nonlocal message
        first, message = message, None
        return first or await receive()

    return replayed
