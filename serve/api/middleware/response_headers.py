"""Headers of every HTTP answer: the request id and security headers; and headers of requests that are removed."""

from __future__ import annotations

import re
import secrets

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.api.http.headers import API

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")


def new_request_id() -> str:
    return secrets.token_hex(16)


class RequestId:
    """Sets ``x-request-id`` of the request and the answer: the client's if it is valid, else a new one."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        client_id = dict(scope["headers"]).get(b"x-request-id", b"")
        request_id = client_id.decode() if _REQUEST_ID.fullmatch(client_id) else new_request_id()
        scope["request_id"] = request_id
        others = [(name, value) for name, value in scope["headers"] if name != b"x-request-id"]
        scope["headers"] = [*others, (b"x-request-id", request_id.encode())]

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["x-request-id"] = request_id  # replaces the one of Ray Serve
                present = {name for name, _ in message["headers"]}
                message["headers"] += [one for one in API if one[0] not in present]
            await send(message)

        await self.app(scope, receive, send_with_id)


class ScrubHeaders:
    """Removes headers that would control Ray Serve. Runs before Ray Serve reads a request."""

    _RAY_SERVE_HEADERS = frozenset(
        [b"x-request-timeout-seconds", b"x-request-disconnect-disabled", b"serve_multiplexed_model_id", b"x-session-id"]
    )

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            scope["headers"] = [
                (name, value)
                for name, value in scope["headers"]
                if name not in self._RAY_SERVE_HEADERS and name.replace(b"-", b"_") != b"serve_multiplexed_model_id"
            ]
        await self.app(scope, receive, send)
