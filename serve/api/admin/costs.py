"""Costs of requests: of all users for administrators, and of the caller (D-055)."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from serve.api.admin.quality import Admin
from serve.api.http.models import Moment, RequestModel, Time, one_of
from serve.api.http.problems import render
from serve.api.http.stateful import StateOf
from serve.api.middleware.authentication import principal_of
from serve.api.native.conversion import SiteSettings
from serve.security.identity.roles import ADMIN
from serve.state.quality import BY, By, cost_of_user, costs
from serve.state.tables import utc_now

router = APIRouter()
admins = APIRouter(prefix="/api/admin", dependencies=[Admin])

DEFAULT_PERIOD = timedelta(days=30)


class OwnCostsQuery(RequestModel):
    since: Annotated[Moment | None, Field(description="From when on; 30 days ago without it.")] = None


class CostsQuery(OwnCostsQuery):
    by: Annotated[By, one_of(BY), Field(description="What one row is of.")] = "user"


class Sums(BaseModel):
    requests: int
    cpu_seconds: float
    gpu_seconds: float
    money: float | None


class CostRow(Sums):
    of: str | None


class CostsResponse(BaseModel):
    by: str
    since: Time
    currency: Annotated[str, Field(examples=["EUR"])]
    costs: list[CostRow]


class OwnCostsResponse(Sums):
    user_id: str
    since: Time
    currency: Annotated[str, Field(examples=["EUR"])]


@admins.get("/costs", response_model=CostsResponse, response_description="Sums, the dearest first")
async def site_costs(
    query: Annotated[CostsQuery, Query()], request: Request, state: StateOf, settings: SiteSettings
) -> Response:
    """The costs of all requests since then: by user (for keys with the scope `admin`), model or day. Money where
    `prices` has any."""
    if query.by == "user":  # it names users, which no other figure does
        principal_of(request).require(ADMIN)
    since = query.since or utc_now() - DEFAULT_PERIOD
    rows = await costs(state.database, query.by, since, settings.prices)
    content = {"by": query.by, "since": since.isoformat(), "currency": settings.prices.currency}
    return render({**content, "costs": [asdict(row) for row in rows]}, 200, None)


@router.get("/v1/me/costs", response_model=OwnCostsResponse, response_description="Your sum")
async def own_costs(
    query: Annotated[OwnCostsQuery, Query()], request: Request, state: StateOf, settings: SiteSettings
) -> Response:
    """The costs of your own requests since then."""
    user_id, since = principal_of(request).user_id, query.since or utc_now() - DEFAULT_PERIOD
    sums: dict[str, Any] = asdict(await cost_of_user(state.database, user_id, since, settings.prices))
    content = {"user_id": user_id, "since": since.isoformat(), "currency": settings.prices.currency}
    return render({**content, **{name: sums[name] for name in Sums.model_fields}}, 200, None)


router.include_router(admins)
