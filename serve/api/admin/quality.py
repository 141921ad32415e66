"""Routes below /api/admin for measured quality, and the check for keys of administrators."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, Field

from serve.api.http.models import Time
from serve.api.http.stateful import StateOf
from serve.api.middleware.authentication import principal_of
from serve.api.middleware.scopes import needed
from serve.security.identity.roles import READ
from serve.state.quality import MetricsCollector


async def administrator(request: Request) -> None:
    """The second check of the scope, after the middleware's. Raises Forbidden."""
    principal_of(request).require(needed(request.method, request.scope["path"]) or READ)


Admin = Depends(administrator)
"""For ``dependencies=[Admin]``."""

router = APIRouter(prefix="/api/admin", dependencies=[Admin])


class Counts(BaseModel):
    total: int
    successes: int
    success_rate: float | None
    average_generation_time_s: float | None


class ModelCounts(Counts):
    model: str | None


class KindCounts(Counts):
    kind: str


class ErrorCount(BaseModel):
    message: str | None
    total: int


class DayCounts(BaseModel):
    day: Annotated[str, Field(examples=["2026-05-01"])]
    total: int
    successes: int


class QualityResponse(Counts):
    range: Annotated[str, Field(examples=["7d"])]
    since: Time
    until: Time
    cached: int
    cache_hit_rate: float | None
    p50_generation_time_s: float | None
    p95_generation_time_s: float | None
    by_model: list[ModelCounts]
    by_kind: list[KindCounts]
    errors: list[ErrorCount]
    by_day: list[DayCounts]


_RANGE: dict[str, Any] = {"pattern": "^[1-9][0-9]{0,4}[mhd]$"}
_WITHIN = "Until now: minutes, hours or days such as 90m, 24h or 7d, at most 366d."


@router.get(
    "/quality",
    response_model=QualityResponse,
    response_description="Times in seconds, without answers from the cache",
)
async def quality(
    state: StateOf,
    time_range: Annotated[str, Query(alias="range", description=_WITHIN, json_schema_extra=_RANGE)] = "7d",
) -> dict[str, Any]:
    """Successes, times and errors of requests within the last minutes, hours or days (A-091)."""
    return await MetricsCollector(state.database).get_quality_metrics(time_range)
