"""Health probes for load balancers and administrators."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from serve.api.http.problems import render
from serve.api.native.conversion import SiteSettings, StackEngines
from serve.api.native.conversion_models import EngineHealth
from serve.security.identity.authentication import is_key_required

router = APIRouter()


class LiveResponse(BaseModel):
    status: Literal["live"]


class ReadyResponse(BaseModel):
    status: Literal["ready", "not ready"]
    asleep: Annotated[list[str], Field(description="Ensembles that the first request wakes")] = []
    engines: Annotated[dict[str, EngineHealth], Field(description="Where no key is needed")] = {}


_NOT_READY: dict[str, Any] = {"model": ReadyResponse, "description": "An engine is not; `reason` is why"}


@router.head("/health/live", include_in_schema=False)
@router.get("/health/live", response_model=LiveResponse, response_description="It does")
async def live() -> dict[str, str]:
    """Whether the gateway answers."""
    return {"status": "live"}


@router.head("/health/ready", include_in_schema=False)
@router.get(
    "/health/ready",
    response_model=ReadyResponse,
    response_description="Every engine is",
    responses={503: _NOT_READY},
)
async def ready(stack: StackEngines, settings: SiteSettings) -> Response:
    """Whether a real inference per engine goes through. 503 when one did not; the reasons where no key is needed.

    What sleeps, since its site lets it, is ready: it is named, and not woken.
    """
    health = await stack.health()
    body: dict[str, Any] = {"status": "ready" if health.ready else "not ready"}
    if health.asleep:
        body["asleep"] = list(health.asleep)
    if not is_key_required(settings):
        body["engines"] = {name: dataclasses.asdict(engine) for name, engine in health.engines.items()}
    return render(body, 200 if health.ready else 503, None if health.ready else 2)
