"""Probes for whoever runs the stack."""

from __future__ import annotations

import dataclasses

from fastapi import APIRouter, Response

from serve.api.native import StackEngines
from serve.api.problems import render

router = APIRouter()


@router.head("/health/live", include_in_schema=False)
@router.get("/health/live")
async def live() -> dict[str, str]:
    """The gateway answers."""
    return {"status": "live"}


@router.head("/health/ready", include_in_schema=False)
@router.get("/health/ready")
async def ready(stack: StackEngines) -> Response:
    """A real inference per engine went through; 503 with the reasons when one did not."""
    health = await stack.health()
    engines = {name: dataclasses.asdict(engine) for name, engine in health.engines.items()}
    status = "ready" if health.ready else "not ready"
    return render({"status": status, "engines": engines}, 200 if health.ready else 503, None if health.ready else 2)
