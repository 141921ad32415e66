"""Authentication, authorisation and rate limits: applied before a request's body is read.

A key identifies the user; a signed URL gives access to that URL only. The request is counted for its IP address and
its user, and the key's scope is checked. `AuthenticationMiddleware` stores the result in the ASGI scope. A refusal is
rendered by `Refusals` within the application, so that it has all headers of an answer; the rest of the request is not
read.
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
from serve.security.identity.sessions import SessionCookies
from serve.security.limits.addresses import FORWARDING
from serve.security.limits.limiter import Client, Limiter, raise_if_exceeded, rate_limit_headers
from serve.security.limits.rate_leases import RateStatus
from serve.security.signing import signed_urls
from serve.security.signing.secret_store import secret_box_of
from serve.settings import Settings
from serve.state import State

Answer = Callable[[Request, Exception], Awaitable[Response]]

_RESULT = "atelier.authenticated"
"""The key of the result in the ASGI scope."""
_MAX_QUERY = 8192
"""Longest query string in bytes that is searched for a signature."""


@dataclass(frozen=True)
class Authenticated:
    """The result for one request. ``headers`` are those of the client's rate limits."""

    principal: Principal
    headers: Sequence[tuple[str, str]] = ()
    refusal: AtelierError | None = None


@dataclass(frozen=True, eq=False)
class Authentication:
    """Authenticator and rate limiter. For one event loop; close it."""

    gate: Authenticator
    limiter: Limiter
    sessions: SessionCookies
    settings: Settings

    @classmethod
    async def opened(cls, state: State) -> Authentication:
        """Raises StateUnavailable, and InvalidRequest for an invalid `rates.redis_url`."""
        gate = await Authenticator.open(state)
        await asyncio.to_thread(signed_urls.signer_of, state.settings)  # reads the site's secret
        sessions = SessionCookies(await asyncio.to_thread(secret_box_of, state.settings))
        limiter = Limiter.create(state.settings.rates, state.database)
        limiter.start()
        return cls(gate, limiter, sessions, state.settings)

    async def close(self) -> None:
        await self.limiter.close()
        await self.gate.close()

    async def check(self, scope: Scope) -> Authenticated:
        """Checks an HTTP request or a WebSocket. Errors are in the result: no `AtelierError` is raised."""
        method, path = scope.get("method", "GET"), scope["path"]
        required = needed(method, path)
        headers: Sequence[tuple[bytes, bytes]] = scope["headers"]
        principal, refusal = await self._authorize(headers, _address(scope), required)
        if required is None:
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

    async def authorize(
        self, headers: Sequence[tuple[bytes, bytes]], address: str, required: str
    ) -> tuple[Principal, Client]:
        """The principal with the scope ``required``, and the client that the caller counts by ``limiter.check``.

        For gRPC, which has no signed URLs, and where the rate class is known after the message is parsed. Raises
        Unauthorized, Forbidden and TooManyAttempts; a refused call is counted here.
        """
        principal, refusal = await self._authorize(headers, address, required)
        client = _client(principal, headers, address)
        if refusal is not None:
            await self.limiter.check(client, "read")
            raise refusal
        return principal, client

    async def authenticate(self, headers: Sequence[tuple[bytes, bytes]], address: str) -> Principal:
        """The principal of the key, else of the browser's session. Raises as `Authenticator.authenticate` does."""
        values = {name: [value.decode("latin-1") for own, value in headers if own == name] for name in _KEYS}
        if not any(values.values()) and (key := self.sessions.key_in(headers)) is not None:
            values[_API_KEY] = [key]
        return await self.gate.authenticate(values[_AUTHORIZATION], values[_API_KEY], address or None)

    async def _authorize(
        self, headers: Sequence[tuple[bytes, bytes]], address: str, required: str | None
    ) -> tuple[Principal, AtelierError | None]:
        """The principal of the key, and the error if the key is invalid or lacks the scope ``required``."""
        principal = LINK
        try:
            principal = await self.authenticate(headers, address)
            if required is not None:
                principal.require(required)
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


def authenticated(scope: Scope) -> Authenticated | None:
    """The result for a request; None for probes and where there is no `Authentication`."""
    result: Authenticated | None = scope.get(_RESULT)
    return result


def principal_of(connection: HTTPConnection) -> Principal:
    """The principal of a request; the local user where there is no `Authentication`."""
    return principal_of_scope(connection.scope)


def principal_of_scope(scope: Scope) -> Principal:
    """As `principal_of`, from the request's ASGI scope."""
    result = authenticated(scope)
    return LOCAL if result is None else result.principal


async def reauthenticate(connection: HTTPConnection) -> Principal:
    """The principal of a long-lived connection. Raises Unauthorized and Forbidden if its key has ended meanwhile."""
    result = authenticated(connection.scope)
    entrance: Authentication | None = getattr(connection.app.state, "entrance", None)
    if result is None or entrance is None or result.principal.key_id is None:
        return principal_of(connection)
    headers: Sequence[tuple[bytes, bytes]] = connection.scope["headers"]
    principal = await entrance.authenticate(headers, _address(connection.scope))
    return replace(principal, is_linked=result.principal.is_linked)


class AuthenticationMiddleware:
    """Checks each request once and stores the result in its ASGI scope.

    It may run several times for a request, in Ray Serve's proxy and in the application: the first that has an
    ``entrance`` checks.
    """

    def __init__(self, app: ASGIApp, entrance: Callable[[], Authentication | None]) -> None:
        self.app = app
        self._entrance = entrance

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if _is_checked(scope) and _RESULT not in scope and (entrance := self._entrance()) is not None:
            scope[_RESULT] = await entrance.check(scope)
        await self.app(scope, receive, send)


class Refusals:
    """Renders refusals, and adds the headers of rate limits to answers. Runs within the application.

    ``answer`` renders an error in the vocabulary of the request's path.
    """

    def __init__(self, app: ASGIApp, answer: Answer) -> None:
        self.app = app
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        result = authenticated(scope)
        if result is None:
            await self.app(scope, receive, send)
            return
        headers = dict(result.headers)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(headers)
            await send(message)

        send_answer = send_with_headers if headers and scope["type"] == "http" else send
        if result.refusal is None:
            await self.app(scope, receive, send_answer)
        else:
            await self._refuse(result, scope, receive, send_answer)

    async def _refuse(self, result: Authenticated, scope: Scope, receive: Receive, send: Send) -> None:
        assert result.refusal is not None
        request = Request({**scope, "type": "http", "method": scope.get("method", "GET")}, receive)
        response = await self._answer(request, result.refusal)
        if scope["type"] == "http":
            await response(scope, receive, send)
        elif "websocket.http.response" in scope.get("extensions", {}):
            response.headers.update(dict(result.headers))
            await response(scope, receive, send)
        else:
            code = 1013 if result.refusal.retry_after_s is not None else 4000 + result.refusal.status
            await send({"type": "websocket.close", "code": code, "reason": result.refusal.title})


def _is_checked(scope: Scope) -> bool:
    """False for health probes and CORS preflight requests."""
    if scope["type"] not in ("http", "websocket") or scope.get("method") == "OPTIONS":
        return False
    path: str = scope["path"]
    return not path.startswith(PROBES)


def _client(principal: Principal, headers: Sequence[tuple[bytes, bytes]], address: str) -> Client:
    user_id = principal.user_id if principal.key_id is not None else None
    return Client(user_id, address, bool([name for name, _ in headers if name in FORWARDING]))


def _address(scope: Scope) -> str:
    """The client's IP address, which `serve.api.middleware.client_address` has put into the scope."""
    client = scope.get("client")
    return client[0] if client else ""


_process_authentication: Authentication | None = None


def set_process_authentication(entrance: Authentication | None) -> None:
    """Ray Serve creates its outermost middleware before the `Authentication` exists, so that reads it from here."""
    global _process_authentication
    _process_authentication = entrance


def process_authentication() -> Authentication | None:
    return _process_authentication
