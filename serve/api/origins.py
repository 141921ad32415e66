"""Pages of other sites: browsers let them send to us, with whatever they know of their users, unless we refuse."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from fastapi import Request, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from serve.api.addresses import own_url
from serve.errors import Forbidden
from serve.settings import Settings

_READING = ("GET", "HEAD", "OPTIONS")


def is_welcome(origin: str | None, host: str, settings: Settings) -> bool:
    """Whether a page of ``origin`` may change things here; what is no browser has none. ``host``: where it asked."""
    allowed = settings.http.allowed_origins
    if origin is None or origin in allowed or "*" in allowed:
        return True
    try:
        given = urlsplit(origin).netloc
    except ValueError:
        return False
    return bool(given) and _plain(given) in (_plain(host), _plain(urlsplit(own_url(settings)).netloc))


def _plain(authority: str) -> str:
    """Without the port where it is the usual one."""
    return authority.lower().removesuffix(":443").removesuffix(":80")


class OwnPages:
    """Refuses what pages of other sites send; what they read is theirs to see only as CORS has it."""

    def __init__(
        self, app: ASGIApp, settings: Settings, answer: Callable[[Request, Exception], Awaitable[Response]]
    ) -> None:
        self.app = app
        self._settings = settings
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] not in _READING:
            request = Request(scope, receive)
            origin = request.headers.get("origin")
            if origin is not None and not is_welcome(origin, request.headers.get("host", ""), self._settings):
                error = Forbidden("not for pages of other sites; http.allowed_origins names those that may", "Origin")
                await (await self._answer(request, error))(scope, receive, send)
                return
        await self.app(scope, receive, send)
