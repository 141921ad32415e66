"""Routes of the queue: jobs, batches, events, and C-043's /api/generate. They need ``app.state.jobs``.

Begin with `jobs`; `request_models` and `models` are its requests and answers.
"""

from __future__ import annotations

from fastapi import APIRouter

from serve.api.jobs import events, generate, jobs, lanes
from serve.api.jobs.dependencies import JobServices

__all__ = ["JobServices", "router"]

router = APIRouter()
for _part in (jobs, events, generate, lanes):
    router.include_router(_part.router)
