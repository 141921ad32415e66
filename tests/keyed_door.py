"""A site that needs keys, with the whole middleware of a gateway, around stand-ins."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc.aio
import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from illustrator_standin import IllustratorStandIn
from jobs_standin import with_settings
from standin import StandIn

from serve.api.app import answer, create_app
from serve.api.inference.grpc import OpenInferenceServicer
from serve.api.inference.grpc_service import add_servicer_to_server
from serve.api.inference.hot_route import HotInference
from serve.api.middleware.admission import Admission
from serve.api.middleware.authentication import Authentication, AuthenticationMiddleware
from serve.api.middleware.client_address import ClientAddress
from serve.api.middleware.hot_routes import HotRoutes
from serve.api.middleware.request_trace import RequestTrace
from serve.api.middleware.response_headers import RequestId, ScrubHeaders
from serve.api.native.conversion import HotConversions
from serve.jobs.direct.service import DirectService
from serve.security.identity.audit import Actor
from serve.security.identity.keys import CreatedKey
from serve.state import State

ME = Actor(address="command line of tester")
CLIENT = "203.0.113.9"


@dataclass(frozen=True, eq=False)
class KeyedSite:
    """``app`` is the application, ``whole`` the same behind all middleware."""

    app: FastAPI
    whole: Any
    state: State
    entrance: Authentication
    illustrator: Any

    async def key(self, user_id: str, role: str = "user", **more: Any) -> CreatedKey:
        return await self.entrance.gate.keys.create(user_id, ME, role=role, **more)

    def door(self, key: str | None = None, peer: str = CLIENT) -> httpx.AsyncClient:
        """A client whose address is ``peer``."""
        transport = httpx.ASGITransport(self.whole, client=(peer, 5000), raise_app_exceptions=False)
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        return httpx.AsyncClient(transport=transport, base_url="http://atelier", timeout=60, headers=headers)


@contextlib.asynccontextmanager
async def keyed_site(
    state: State, illustrator: Any = None, service: Any = None, hot: bool = True, **sections: Any
) -> AsyncIterator[KeyedSite]:
    """``sections`` maps a section name to the settings that differ; ``illustrator`` and ``service`` (the Vectorizer)
    replace the stand-ins. ``hot``: with the routes that pass by FastAPI."""
    access = {"required": "on"} | sections.pop("access", {})
    rates = {"per_address": False, "per_user": False} | sections.pop("rates", {})
    settings = with_settings(state.settings, access=access, rates=rates, **sections)
    state = State(state.database, state.objects, settings)
    service, illustrator = service or StandIn(), illustrator or IllustratorStandIn()
    entrance, direct = await Authentication.opened(state), DirectService(state, illustrator, service, settings)
    app = create_app(service, settings, illustrator=illustrator, state=state, direct=direct, entrance=entrance)
    hot_routes = HotRoutes([HotInference(app.state.models, settings), HotConversions(app)], settings, answer)
    before: Any = Admission(app, settings.limits, settings.gateway, answer, lambda: hot_routes if hot else None)
    before = ScrubHeaders(RequestId(RequestTrace(AuthenticationMiddleware(before, lambda: entrance))))
    await direct.start()
    yield KeyedSite(app, ClientAddress(before, settings), state, entrance, illustrator)
    await direct.close()
    await entrance.close()


@contextlib.asynccontextmanager
async def listening(site: KeyedSite) -> AsyncIterator[str]:
    """host:port of the site, served in this event loop."""
    server = uvicorn.Server(uvicorn.Config(site.whole, port=0, log_level="warning", lifespan="off"))
    serving = asyncio.create_task(server.serve())
    async with asyncio.timeout(60):
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.01)
    yield f"127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    await serving


@contextlib.asynccontextmanager
async def calling(site: KeyedSite) -> AsyncIterator[str]:
    """host:port of its gRPC server."""
    server = grpc.aio.server()
    servicer = OpenInferenceServicer(site.app.state.models, site.state.settings, site.entrance)
    add_servicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(0)


@pytest.fixture
async def ada(site: KeyedSite) -> AsyncIterator[httpx.AsyncClient]:
    async with site.door((await site.key("ada")).secret) as client:
        yield client


@pytest.fixture
async def bob(site: KeyedSite) -> AsyncIterator[httpx.AsyncClient]:
    async with site.door((await site.key("bob")).secret) as client:
        yield client


@pytest.fixture
async def admin(site: KeyedSite) -> AsyncIterator[httpx.AsyncClient]:
    async with site.door((await site.key("root", "admin")).secret) as client:
        yield client
