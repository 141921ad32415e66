"""Routes for who runs the site, below /api/admin: for keys of admins."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request

from serve.api.http.stateful import StateOf
from serve.api.middleware.authentication import principal_of
from serve.api.middleware.scopes import needed
from serve.api.openapi.operation import MAYBE_NUMBER, MAYBE_TEXT, TEXT, TIME, WHOLE, answer, json_object, list_of
from serve.security.identity.roles import READ
from serve.state.quality import MetricsCollector


async def administrator(request: Request) -> None:
    """The entrance has looked already; who goes around it comes no further either. Raises Forbidden."""
    principal_of(request).require(needed(request.method, request.scope["path"]) or READ)


Admin = Depends(administrator)
"""For ``dependencies=[Admin]``."""

router = APIRouter(prefix="/api/admin", dependencies=[Admin])

_COUNTS = {"total": WHOLE, "successes": WHOLE, "success_rate": MAYBE_NUMBER, "average_generation_time_s": MAYBE_NUMBER}
_QUALITY = {
    "range": {**TEXT, "example": "7d"}, "since": TIME, "until": TIME, **_COUNTS, "cached": WHOLE,
    "cache_hit_rate": MAYBE_NUMBER, "p50_generation_time_s": MAYBE_NUMBER, "p95_generation_time_s": MAYBE_NUMBER,
    "by_model": list_of(json_object({"model": MAYBE_TEXT, **_COUNTS})),
    "by_kind": list_of(json_object({"kind": TEXT, **_COUNTS})),
    "errors": list_of(json_object({"message": MAYBE_TEXT, "total": WHOLE})),
    "by_day": list_of(json_object({"day": {**TEXT, "example": "2026-05-01"}, "total": WHOLE, "successes": WHOLE})),
}  # fmt: skip
_RANGE: dict[str, Any] = {"pattern": "^[1-9][0-9]{0,4}[mhd]$"}
_WITHIN = "Until now: minutes, hours or days such as 90m, 24h or 7d, at most 366d."


@router.get("/quality", openapi_extra=answer("Times in seconds, of what was really made", json_object(_QUALITY)))
async def quality(
    state: StateOf,
    time_range: Annotated[str, Query(alias="range", description=_WITHIN, json_schema_extra=_RANGE)] = "7d",
) -> dict[str, Any]:
    """How requests fared within the last minutes, hours or days (A-091)."""
    return await MetricsCollector(state.database).get_quality_metrics(time_range)
