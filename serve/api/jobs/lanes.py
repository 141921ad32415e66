"""`GET /v1/queue`, and the lanes of the queue for administrators."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from serve.api.admin.quality import Admin
from serve.api.http.ownership import actor_of
from serve.api.http.problems import render
from serve.api.jobs.dependencies import JobServicesOf
from serve.api.jobs.models import LaneState, QueueInfo
from serve.ensembles.requests import ILLUSTRATE, VECTORIZE
from serve.errors import NotFound
from serve.jobs.queue.generation_queue import set_lane_paused
from serve.state.job_states import PAUSED, PENDING, PROCESSING

router = APIRouter()
LANES = (ILLUSTRATE, VECTORIZE)
_CHANGED: dict[str, Any] = {
    "dependencies": [Admin],
    "response_model": LaneState,
    "response_description": "As it is now",
}


@router.get("/v1/queue", response_model=QueueInfo, response_description="Now")
async def queue(services: JobServicesOf) -> Response:
    """The queue: jobs by lane and status, slots of the workers, and whether a lane is paused."""
    views = await services.views.lanes(LANES)
    counts = {
        name: {status: lane.counts.get(status, 0) for status in (PENDING, PROCESSING, PAUSED)}
        for name, lane in views.items()
    }
    lanes = {name: {**counts[name], "slots": lane.slots, "is_paused": lane.paused} for name, lane in views.items()}
    sums = {status: sum(one[status] for one in counts.values()) for status in (PENDING, PROCESSING, PAUSED)}
    return render({"lanes": lanes, **sums}, 200, None)


@router.post("/api/admin/lanes/{lane}/pause", **_CHANGED)
async def pause(request: Request, lane: str, services: JobServicesOf) -> Response:
    """Pause a lane. Nothing of it starts any more; what is being done goes on."""
    return await _set(request, lane, services, paused=True)


@router.post("/api/admin/lanes/{lane}/resume", **_CHANGED)
async def resume(request: Request, lane: str, services: JobServicesOf) -> Response:
    """Resume a lane. What waits starts again."""
    return await _set(request, lane, services, paused=False)


async def _set(request: Request, lane: str, services: JobServicesOf, paused: bool) -> Response:
    if lane not in LANES:
        raise NotFound(f"there is no such lane; there are {', '.join(LANES)}", "lane")
    await set_lane_paused(services.state.database, lane, paused, actor_of(request))
    return render({"lane": lane, "is_paused": paused}, 200, None)
