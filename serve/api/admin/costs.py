"""What requests cost: of all users for who runs the site, and one's own (D-055)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any, cast

from fastapi import APIRouter, Request, Response

from serve.api.admin.quality import Admin
from serve.api.http.problems import render
from serve.api.http.stateful import StateOf
from serve.api.http.values import choice, moment, refuse_unknown
from serve.api.middleware.authentication import principal_of
from serve.api.native.conversion import SiteSettings
from serve.api.openapi.operation import (
    MAYBE_NUMBER,
    MAYBE_TEXT,
    NUMBER,
    TEXT,
    TIME,
    WHOLE,
    answer,
    json_object,
    list_of,
    query,
)
from serve.security.identity.roles import ADMIN
from serve.state.costs import BY, By, cost_of_user, costs
from serve.state.tables import utc_now

router = APIRouter()
admins = APIRouter(prefix="/api/admin", dependencies=[Admin])

USUAL = timedelta(days=30)
_SUMS = {"requests": WHOLE, "cpu_seconds": NUMBER, "gpu_seconds": NUMBER, "money": MAYBE_NUMBER}
_CURRENCY = {**TEXT, "example": "EUR"}
_SINCE = query("since", TIME, "From when on; 30 days ago without it.")
_BY = query("by", {"type": "string", "enum": list(BY), "default": "user"}, "What one row is of.")
_ROW = json_object({"of": MAYBE_TEXT, **_SUMS})
_COSTS = json_object({"by": TEXT, "since": TIME, "currency": _CURRENCY, "costs": list_of(_ROW)})
_OWN = json_object({"user_id": TEXT, "since": TIME, "currency": _CURRENCY, **_SUMS})


@admins.get("/costs", openapi_extra={**answer("Sums, the dearest first", _COSTS), "parameters": [_BY, _SINCE]})
async def site_costs(request: Request, state: StateOf, settings: SiteSettings) -> Response:
    """What was made since then cost: by user (for keys with the scope `admin`), model or day. Money where `prices` has
    any."""
    values = request.query_params
    refuse_unknown(values, ("by", "since"))
    by = cast(By, choice(values, "by", BY, "user"))
    if by == "user":  # it names them, which no other figure does
        principal_of(request).require(ADMIN)
    since = _since(values)
    found = await costs(state.database, by, since, settings.prices)
    told = {"by": by, "since": since.isoformat(), "currency": settings.prices.currency}
    return render({**told, "costs": [asdict(one) for one in found]}, 200, None)


@router.get("/v1/me/costs", openapi_extra={**answer("Your sum", _OWN), "parameters": [_SINCE]})
async def own_costs(request: Request, state: StateOf, settings: SiteSettings) -> Response:
    """What you had made since then cost."""
    refuse_unknown(request.query_params, ("since",))
    user_id, since = principal_of(request).user_id, _since(request.query_params)
    found: dict[str, Any] = asdict(await cost_of_user(state.database, user_id, since, settings.prices))
    told = {"user_id": user_id, "since": since.isoformat(), "currency": settings.prices.currency}
    return render({**told, **{name: found[name] for name in _SUMS}}, 200, None)


def _since(values: Mapping[str, str]) -> datetime:
    return moment(values, "since") or utc_now() - USUAL


router.include_router(admins)
