"""Routes for who runs the site, below /api/admin: closed until `admin.token` is set."""

from __future__ import annotations

import hmac
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request

from serve.api.native import SiteSettings
from serve.api.stateful import StateOf
from serve.errors import Forbidden, Unauthorized
from serve.state.quality import MetricsCollector


async def administrator(request: Request, settings: SiteSettings) -> None:
    """Raises Forbidden where nobody may, Unauthorized for who has not the token."""
    token = settings.admin.token
    if token is None or not token.get_secret_value():
        raise Forbidden("these routes are closed; set admin.token (ATELIER_ADMIN__TOKEN) to open them")
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    same = hmac.compare_digest(given.strip().encode("latin-1"), token.get_secret_value().encode())
    if scheme.lower() != "bearer" or not same:
        raise Unauthorized("send the site's admin token as `Authorization: Bearer TOKEN`", "Authorization")


Admin = Depends(administrator)
"""For ``dependencies=[Admin]``."""

router = APIRouter(prefix="/api/admin", dependencies=[Admin])


@router.get("/quality")
async def quality(state: StateOf, time_range: Annotated[str, Query(alias="range")] = "7d") -> dict[str, Any]:
    """How requests fared (A-091) within the last minutes, hours or days, such as 90m, 24h or 7d."""
    return await MetricsCollector(state.database).get_quality_metrics(time_range)
