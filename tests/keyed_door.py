"""A site that needs keys, with everything before the application that a gateway has, around stand-ins."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
from fastapi import FastAPI
from illustrator_standin import IllustratorStandIn
from jobs_standin import with_settings
from standin import StandIn

from serve.access.audit import Actor
from serve.access.keys import Made
from serve.api.admission import Admission
from serve.api.app import answer, create_app
from serve.api.client_address import ClientAddress
from serve.api.entrance import Entrance, Entry
from serve.api.middleware import RequestId, ScrubHeaders
from serve.jobs.direct import Direct
from serve.state import State

ME = Actor(address="command line of tester")
CLIENT = "203.0.113.9"


@dataclass(frozen=True, eq=False)
class KeyedSite:
    """``app`` is the application, ``whole`` the same behind all that comes before it."""

    app: FastAPI
    whole: Any
    state: State
    entrance: Entrance
    illustrator: IllustratorStandIn

    async def key(self, user_id: str, role: str = "user", **more: Any) -> Made:
        return await self.entrance.gate.keys.create(user_id, ME, role=role, **more)

    def door(self, key: str | None = None, peer: str = CLIENT) -> httpx.AsyncClient:
        """A client at the address ``peer``."""
        transport = httpx.ASGITransport(self.whole, client=(peer, 5000), raise_app_exceptions=False)
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        return httpx.AsyncClient(transport=transport, base_url="http://atelier", timeout=60, headers=headers)


@contextlib.asynccontextmanager
async def keyed_site(state: State, **sections: Any) -> AsyncIterator[KeyedSite]:
    """``sections`` has the settings that differ, by the name of their section."""
    access = {"required": "on"} | sections.pop("access", {})
    rates = {"per_address": False, "per_user": False} | sections.pop("rates", {})
    settings = with_settings(state.settings, access=access, rates=rates, **sections)
    state = State(state.database, state.objects, settings)
    service, illustrator = StandIn(), IllustratorStandIn()
    entrance, direct = await Entrance.opened(state), Direct(state, illustrator, service, settings)
    app = create_app(service, settings, illustrator=illustrator, state=state, direct=direct, entrance=entrance)
    before: Any = Admission(app, settings.limits, settings.gateway, answer)
    before = ScrubHeaders(RequestId(Entry(before, lambda: entrance)))
    await direct.start()
    yield KeyedSite(app, ClientAddress(before, settings), state, entrance, illustrator)
    await direct.close()
    await entrance.close()
