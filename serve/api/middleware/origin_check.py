"""Protection against pages of other sites (CSRF, DNS rebinding): browsers send their requests with credentials."""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable
from functools import lru_cache, partial
from urllib.parse import urlsplit

from fastapi import Request, Response
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from serve.api.http.urls import own_url
from serve.api.middleware.scopes import PROBES
from serve.errors import Forbidden
from serve.security.identity.authentication import API_KEY, is_key_required
from serve.security.identity.sessions import COOKIE
from serve.settings import Settings

_READING = ("GET", "HEAD", "OPTIONS")
_MAX_HOSTS = 256
"""Values of the header Host that are remembered."""


def is_allowed_origin(origin: str | None, host: str, settings: Settings) -> bool:
    """Whether a page of ``origin`` may change things here. ``host`` is the header Host.

    Clients other than browsers send no origin, and are allowed.
    """
    allowed = settings.http.allowed_origins
    if origin is None or origin in allowed or "*" in allowed:
        return True
    try:
        authority = urlsplit(origin).netloc
    except ValueError:
        return False
    return bool(authority) and _plain(authority) in (_plain(host), _plain(urlsplit(own_url(settings)).netloc))


def is_known_host(host: str, settings: Settings) -> bool:
    """Whether a site without keys is served under ``host``, the header Host.

    The owner of a domain can make it resolve to this site, whose answers browsers then give to the owner's pages (DNS
    rebinding). IP addresses and names without a dot cannot be owned.
    """
    name = urlsplit(f"//{host}").hostname or ""
    if "." not in name or name.endswith(".localhost") or _is_address(name):
        return True
    urls = (own_url(settings), *settings.http.allowed_origins)
    return name in (settings.http.host, *(urlsplit(url).hostname for url in urls))


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _refusal_of_session(headers: Headers) -> Forbidden | None:
    """Browsers send a session's cookie by themselves, and the origin with every change; a change without one is not
    from a page."""
    has_key = "authorization" in headers or API_KEY in headers
    if has_key or f"{COOKIE}=" not in headers.get("cookie", ""):
        return None
    return Forbidden("a browser's session may only change things from a page of this site; send a key", "Origin")


def _plain(authority: str) -> str:
    """``authority`` without a default port."""
    return authority.lower().removesuffix(":443").removesuffix(":80")


class OriginCheck:
    """Refuses changes by pages of other sites and, on a site without keys, unknown names in the header Host.

    CORS limits what pages of other sites may read.
    """

    def __init__(
        self, app: ASGIApp, settings: Settings, answer: Callable[[Request, Exception], Awaitable[Response]]
    ) -> None:
        self.app = app
        self._settings = settings
        self._checks_host = not is_key_required(settings)
        self._is_known_host = lru_cache(_MAX_HOSTS)(partial(is_known_host, settings=settings))
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        error = self.refusal(scope)
        if error is None:
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await (await self._answer(Request(scope, receive), error))(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 4403, "reason": error.title})

    def refusal(self, scope: Scope) -> Forbidden | None:
        """The error of a request that is refused."""
        if scope["type"] not in ("http", "websocket"):
            return None
        headers = Headers(scope=scope)
        checks_host = self._checks_host and not scope["path"].startswith(PROBES)
        if checks_host and not self._is_known_host(headers.get("host", "")):
            return Forbidden("this site does not go by that name; http.public_url says which one it has", "Host")
        if scope["type"] == "websocket" or scope["method"] in _READING:
            return None  # WebSocket routes check the origin themselves
        if "origin" not in headers:
            return _refusal_of_session(headers)
        if is_allowed_origin(headers["origin"], headers.get("host", ""), self._settings):
            return None
        return Forbidden("not for pages of other sites; http.allowed_origins names those that may", "Origin")
