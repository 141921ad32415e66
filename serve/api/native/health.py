"""Probes for whoever runs the stack."""

from __future__ import annotations

import dataclasses
from typing import Any

from fastapi import APIRouter, Response

from serve.api.http.problems import render
from serve.api.native.conversion import SiteSettings, StackEngines
from serve.api.openapi.operation import FLAG, NUMBER, TEXT, answer, json_object, mapping_of
from serve.security.identity.required import is_required

router = APIRouter()

_ENGINE = json_object({"ready": FLAG, "latency_ms": NUMBER, "version": TEXT, "reason": TEXT})
_READY = json_object(
    {
        "status": {"enum": ["ready", "not ready"]},
        "asleep": {"type": "array", "items": TEXT, "description": "Ensembles that the first request wakes"},
        "engines": mapping_of(_ENGINE),
    },
    optional=["asleep", "engines"],
)
_NOT_READY = {
    "description": "An engine is not; `reason` tells why",
    "content": {"application/json": {"schema": _READY}},
}


@router.head("/health/live", include_in_schema=False)
@router.get("/health/live", openapi_extra=answer("It does", json_object({"status": {"const": "live"}})))
async def live() -> dict[str, str]:
    """Whether the gateway answers."""
    return {"status": "live"}


@router.head("/health/ready", include_in_schema=False)
@router.get("/health/ready", openapi_extra=answer("Every engine is", _READY, r503=_NOT_READY))
async def ready(stack: StackEngines, settings: SiteSettings) -> Response:
    """Whether a real inference per engine goes through. 503 when one did not; the reasons where no key is needed.

    What sleeps, since its site lets it, is ready: it is named, and not woken.
    """
    health = await stack.health()
    told: dict[str, Any] = {"status": "ready" if health.ready else "not ready"}
    if health.asleep:
        told["asleep"] = list(health.asleep)
    if not is_required(settings):
        told["engines"] = {name: dataclasses.asdict(engine) for name, engine in health.engines.items()}
    return render(told, 200 if health.ready else 503, None if health.ready else 2)
