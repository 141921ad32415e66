"""Runs first of all: from here on ``scope["client"]`` is the client, and not the last proxy before the gateway."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from serve.security.limits.addresses import PEER, ClientAddresses
from serve.settings import Settings


class ClientAddress:
    """Uvicorn's own way is switched off (`serve.cluster.ray_environment`): it believes whoever calls by HAProxy."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self._origins = ClientAddresses(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            peer = scope.get("client")
            scope["client"] = (self._origins.address_of(peer[0] if peer else "", scope["headers"]), 0)
            scope["headers"] = [header for header in scope["headers"] if header[0] != PEER]  # it has the token
        await self.app(scope, receive, send)
