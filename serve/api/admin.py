"""Routes for who runs the site, below /api/admin: for keys of admins."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request

from serve.access.audit import Actor
from serve.access.roles import READ
from serve.api.entrance import principal_of
from serve.api.rights import needed
from serve.api.stateful import StateOf
from serve.state.quality import MetricsCollector


async def administrator(request: Request) -> None:
    """The entrance has looked already; who goes around it comes no further either. Raises Forbidden."""
    principal_of(request).require(needed(request.method, request.scope["path"]) or READ)


def actor_of(request: Request) -> Actor:
    return Actor.of(principal_of(request), request.client.host if request.client else None)


Admin = Depends(administrator)
"""For ``dependencies=[Admin]``."""

router = APIRouter(prefix="/api/admin", dependencies=[Admin])


@router.get("/quality")
async def quality(state: StateOf, time_range: Annotated[str, Query(alias="range")] = "7d") -> dict[str, Any]:
    """How requests fared (A-091) within the last minutes, hours or days, such as 90m, 24h or 7d."""
    return await MetricsCollector(state.database).get_quality_metrics(time_range)
