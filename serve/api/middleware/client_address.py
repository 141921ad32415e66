"""Sets ``scope["client"]`` to the client's address in place of the last proxy's. The first of the middleware."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from serve.security.limits.addresses import PEER, ClientAddresses
from serve.settings import Settings


class ClientAddress:
    """Replaces Uvicorn's own middleware, which trusts every client (`serve.cluster.ray_environment` disables it)."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self._origins = ClientAddresses(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            peer = scope.get("client")
            scope["client"] = (self._origins.address_of(peer[0] if peer else "", scope["headers"]), 0)
            scope["headers"] = [header for header in scope["headers"] if header[0] != PEER]  # has the proxy's token
        await self.app(scope, receive, send)
