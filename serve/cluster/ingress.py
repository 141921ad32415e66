"""The middleware that runs before Ray Serve's own, in gateways and in Ray Serve's fallback proxy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.middleware import Middleware

from serve.api.middleware import authentication
from serve.api.middleware.admission import Admission, process_hot_route
from serve.api.middleware.authentication import AuthenticationMiddleware
from serve.api.middleware.client_address import ClientAddress
from serve.api.middleware.deadlines import RequestReceived
from serve.api.middleware.request_trace import RequestTrace
from serve.api.middleware.response_headers import RequestId, ScrubHeaders
from serve.cluster.ray_process import bind_host, bind_servers_to, find_replica
from serve.observability.logs import formats
from serve.settings import load

if TYPE_CHECKING:
    from fastapi import Request, Response


def before_ray_serve() -> list[Middleware]:
    """Ray Serve calls this in every process that opens an HTTP server."""
    settings = load()
    formats.install()
    bind_servers_to(bind_host(settings.ray.host))
    admission = Middleware(Admission, settings.limits, settings.gateway, _answer, process_hot_route)
    client_address = Middleware(ClientAddress, settings)
    entry = Middleware(AuthenticationMiddleware, authentication.process_authentication)
    first = [Middleware(RequestId), Middleware(ScrubHeaders), client_address, Middleware(RequestReceived)]
    # The last runs first.
    return [Middleware(find_replica), admission, entry, Middleware(RequestTrace, settings.logs.requests), *first]


async def _answer(request: Request, error: Exception) -> Response:
    """`serve.api.app.answer`, which the fallback proxy imports at the first error: it brings every route."""
    from serve.api.app import answer

    return await answer(request, error)
