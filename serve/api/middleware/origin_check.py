"""Pages of other sites: browsers let them send to us, with whatever they know of their users, unless we refuse."""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from fastapi import Request, Response
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from serve.api.http.urls import own_url
from serve.api.middleware.scopes import PROBES
from serve.errors import Forbidden
from serve.security.identity.authentication import is_key_required
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


def is_known(host: str, settings: Settings) -> bool:
    """Whether a site that everybody may use without a key goes by this name: the value of the header Host.

    Whoever owns a name can let it lead here, and browsers then take this site for his. Addresses, and names without a
    dot, nobody owns.
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


def _plain(authority: str) -> str:
    """Without the port where it is the usual one."""
    return authority.lower().removesuffix(":443").removesuffix(":80")


class OriginCheck:
    """Refuses what pages of other sites send, and what comes by another's name where no key is asked for; what pages of
    other sites read is theirs to see only as CORS has it."""

    def __init__(
        self, app: ASGIApp, settings: Settings, answer: Callable[[Request, Exception], Awaitable[Response]]
    ) -> None:
        self.app = app
        self._settings = settings
        self._by_name_alone = not is_key_required(settings)
        """No key stands between a page and this site."""
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        error = self._refusal(scope)
        if error is None:
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await (await self._answer(Request(scope, receive), error))(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 4403, "reason": error.title})

    def _refusal(self, scope: Scope) -> Forbidden | None:
        if scope["type"] not in ("http", "websocket"):
            return None
        headers = Headers(scope=scope)
        asks = self._by_name_alone and not scope["path"].startswith(PROBES)
        if asks and not is_known(headers.get("host", ""), self._settings):
            return Forbidden("this site does not go by that name; http.public_url says which one it has", "Host")
        if scope["type"] == "websocket" or scope["method"] in _READING or "origin" not in headers:
            return None  # sockets look by themselves
        if is_welcome(headers["origin"], headers.get("host", ""), self._settings):
            return None
        return Forbidden("not for pages of other sites; http.allowed_origins names those that may", "Origin")
