"""Authentication, authorisation and rate limits: applied before a request's body is read.

A key says who asks, or a signed address opens itself alone; the request is counted for its address and its user; and
its scope is looked at. What is found goes along in the ASGI scope. Where the answer is no, the application gives it,
with all headers that its answers have, and nothing else of the request is looked at.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from urllib.parse import parse_qsl

from fastapi import Request, Response
from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.api.middleware.rate_classes import work_of
from serve.api.middleware.scopes import PROBES, READS, needed
from serve.errors import AtelierError
from serve.security.identity.authentication import API_KEY, Authenticator
from serve.security.identity.roles import LINK, LOCAL, Principal
from serve.security.limits.addresses import FORWARDING
from serve.security.limits.limiter import Client, Limiter, raise_if_exceeded, rate_limit_headers
from serve.security.limits.rate_leases import RateStatus
from serve.security.signing import signed_urls
from serve.settings import Settings
from serve.state import State

Answer = Callable[[Request, Exception], Awaitable[Response]]

ENTERED = "atelier.entered"
"""Where it is in the scope."""
_MAX_QUERY = 8192
"""Bytes that are searched for a signature."""


@dataclass(frozen=True)
class Authenticated:
    """``headers`` tell how the client stands to its limits."""

    principal: Principal
    headers: Sequence[tuple[str, str]] = ()
    refusal: AtelierError | None = None


@dataclass(frozen=True, eq=False)
class Authentication:
    """For one event loop; close it."""

    gate: Authenticator
    limiter: Limiter
    settings: Settings

    @classmethod
    async def opened(cls, state: State) -> Authentication:
        """Raises StateUnavailable, and InvalidRequest for a `rates.redis_url` that is none."""
        gate = await Authenticator.open(state)
        await asyncio.to_thread(signed_urls.signer_of, state.settings)  # reads the site's secret
        limiter = Limiter.create(state.settings.rates, state.database)
        limiter.start()
        return cls(gate, limiter, state.settings)

    async def close(self) -> None:
        await self.limiter.close()
        await self.gate.close()

    async def enter(self, scope: Scope) -> Authenticated:
        """Of HTTP or a WebSocket. Raises nothing of ours."""
        method, path = scope.get("method", "GET"), scope["path"]
        wanted = needed(method, path)
        headers: Sequence[tuple[bytes, bytes]] = scope["headers"]
        principal, refusal = await self._may(headers, _address(scope), wanted)
        if wanted is None:
            refusal = None
        elif method in READS and self._is_linked(scope):
            principal, refusal = replace(principal, is_linked=True), None
        standings: Sequence[RateStatus] = ()
        try:
            standings = await self.limiter.take(_client(principal, headers, _address(scope)), work_of(method, path))
            raise_if_exceeded(standings)
        except AtelierError as error:
            refusal = error
        return Authenticated(principal, rate_limit_headers(standings), refusal)

    async def admit(
        self, headers: Sequence[tuple[bytes, bytes]], address: str, wanted: str
    ) -> tuple[Principal, Client]:
        """For a door without addresses that are signed: who it is, and who is to be counted, by ``limiter.check``, once
        it is known for what. Raises what refuses, and that is counted here."""
        principal, refusal = await self._may(headers, address, wanted)
        client = _client(principal, headers, address)
        if refusal is not None:
            await self.limiter.check(client, "read")
            raise refusal
        return principal, client

    async def known(self, headers: Sequence[tuple[bytes, bytes]], address: str) -> Principal:
        """Whom the key names. Raises as `Authenticator.admit` does."""
        given = {name: [value.decode("latin-1") for own, value in headers if own == name] for name in _KEYS}
        return await self.gate.authenticate(given[_AUTHORIZATION], given[_API_KEY], address or None)

    async def _may(
        self, headers: Sequence[tuple[bytes, bytes]], address: str, wanted: str | None
    ) -> tuple[Principal, AtelierError | None]:
        """Whom the key names, and why he may not, if he may not."""
        principal = LINK
        try:
            principal = await self.known(headers, address)
            if wanted is not None:
                principal.require(wanted)
        except AtelierError as error:
            return principal, error
        return principal, None

    def _is_linked(self, scope: Scope) -> bool:
        query: bytes = scope.get("query_string", b"")
        if b"signature" not in query or len(query) > _MAX_QUERY:
            return False
        values = dict(parse_qsl(query.decode("latin-1")))
        return signed_urls.is_valid(self.settings, scope["path"], values)


_AUTHORIZATION, _API_KEY = b"authorization", API_KEY.encode()
_KEYS = (_AUTHORIZATION, _API_KEY)


def entered(scope: Scope) -> Authenticated | None:
    found: Authenticated | None = scope.get(ENTERED)
    return found


def principal_of(connection: HTTPConnection) -> Principal:
    """The principal of a request. Without an `Authentication` there are no keys either."""
    found = entered(connection.scope)
    return LOCAL if found is None else found.principal


async def admitted_still(connection: HTTPConnection) -> Principal:
    """The principal of a long-lived connection, whose key may have ended. Raises Unauthorized and Forbidden."""
    found = entered(connection.scope)
    entrance: Authentication | None = getattr(connection.app.state, "entrance", None)
    if found is None or entrance is None or found.principal.key_id is None:
        return principal_of(connection)
    headers: Sequence[tuple[bytes, bytes]] = connection.scope["headers"]
    principal = await entrance.known(headers, _address(connection.scope))
    return replace(principal, is_linked=found.principal.is_linked)


class Entry:
    """Settles it, as early as there is an entrance in this process."""

    def __init__(self, app: ASGIApp, entrance: Callable[[], Authentication | None]) -> None:
        self.app = app
        self._entrance = entrance

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if _is_asked(scope) and ENTERED not in scope and (entrance := self._entrance()) is not None:
            scope[ENTERED] = await entrance.enter(scope)
        await self.app(scope, receive, send)


class Refusals:
    """Within the application. ``answer`` renders an error in the vocabulary of the request's path."""

    def __init__(self, app: ASGIApp, answer: Answer) -> None:
        self.app = app
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = entered(scope)
        if found is None:
            await self.app(scope, receive, send)
            return
        headers = dict(found.headers)

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(headers)
            await send(message)

        telling = told if headers and scope["type"] == "http" else send
        if found.refusal is None:
            await self.app(scope, receive, telling)
        else:
            await self._refuse(found, scope, receive, telling)

    async def _refuse(self, found: Authenticated, scope: Scope, receive: Receive, send: Send) -> None:
        assert found.refusal is not None
        request = Request({**scope, "type": "http", "method": scope.get("method", "GET")}, receive)
        response = await self._answer(request, found.refusal)
        if scope["type"] == "http":
            await response(scope, receive, send)
        elif "websocket.http.response" in scope.get("extensions", {}):
            response.headers.update(dict(found.headers))
            await response(scope, receive, send)
        else:
            code = 1013 if found.refusal.retry_after_s is not None else 4000 + found.refusal.status
            await send({"type": "websocket.close", "code": code, "reason": found.refusal.title})


def _is_asked(scope: Scope) -> bool:
    """Probes of health and CORS's questions are not."""
    if scope["type"] not in ("http", "websocket") or scope.get("method") == "OPTIONS":
        return False
    path: str = scope["path"]
    return not path.startswith(PROBES)


def _client(principal: Principal, headers: Sequence[tuple[bytes, bytes]], address: str) -> Client:
    user_id = principal.user_id if principal.key_id is not None else None
    return Client(user_id, address, any(name in FORWARDING for name, _ in headers))


def _address(scope: Scope) -> str:
    """As `serve.api.middleware.client_address` found it."""
    client = scope.get("client")
    return client[0] if client else ""


_here: Authentication | None = None


def open_here(entrance: Authentication | None) -> None:
    """Ray Serve makes its outermost middleware before there is anything that it could be given: it looks here."""
    global _here
    _here = entrance


def here() -> Authentication | None:
    return _here
