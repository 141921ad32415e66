"""Progress and interruption of a user's requests: ``progress``, ``interrupt``, ``skip``, ``/internal``.

That project serves one user. Here each user sees and stops their own requests.
"""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any

from fastapi import APIRouter, Query

from serve.api.a1111.models import (
    NOTHING,
    NoMembers,
    PendingResponse,
    ProgressQuery,
    ProgressResponse,
    TaskProgressRequest,
    TaskProgressResponse,
)
from serve.api.a1111.progress_registry import ProgressRegistryOf, Task
from serve.api.http.bodies import CappedRoute
from serve.api.http.callers import UserId
from serve.ensembles.illustrator.encoding import Encoding, as_base64, as_url, opaque, to_file

router = APIRouter(route_class=CappedRoute)

_PNG = Encoding("png", metadata=False)
_JPEG = Encoding("jpeg", quality=80, metadata=False)


@router.get(
    "/sdapi/v1/progress",
    response_model=ProgressResponse,
    response_description="How far it is; without a request, all is 0",
)
async def progress(query: Annotated[ProgressQuery, Query()], user_id: UserId, registry: ProgressRegistryOf) -> Any:
    """How far the caller is: of the oldest request that is being drawn, else of the oldest one."""
    tasks = registry.tasks_of(user_id)
    task = next((task for task in tasks if not task.waits), tasks[0] if tasks else None)
    shown = None if task is None or query.skip_current_image else await _picture(task, _PNG)
    return {
        "progress": task.progress if task else 0.0,
        "eta_relative": task.eta_s if task else 0.0,
        "state": _state(task, len(tasks)),
        "current_image": as_base64(shown) if shown else None,
        "textinfo": "Queued..." if task is not None and task.waits else None,
    }


@router.post("/sdapi/v1/interrupt", response_model=NoMembers, response_description="They end")
async def interrupt(user_id: UserId, registry: ProgressRegistryOf) -> Any:
    """Ends all of the caller's requests; each is answered with 499."""
    for task in registry.tasks_of(user_id):
        task.interrupt()
    return {}


@router.post("/sdapi/v1/skip", responses=NOTHING, response_description="It ends")
async def skip(user_id: UserId, registry: ProgressRegistryOf) -> None:
    """Ends the oldest of the caller's requests."""
    for task in registry.tasks_of(user_id)[:1]:
        task.interrupt()


@router.post(
    "/internal/progress",
    response_model=TaskProgressResponse,
    response_description="How far it is; an unknown id is neither active, queued nor completed",
)
async def internal_progress(body: TaskProgressRequest, user_id: UserId, registry: ProgressRegistryOf) -> Any:
    """How far one request is, by the ``force_task_id`` that it came with."""
    task = registry.find(user_id, body.id_task)
    content: dict[str, Any] = {
        "active": task is not None and not task.waits,
        "queued": task is not None and task.waits,
        "paused": False,
        "completed": task is None and registry.is_over(user_id, body.id_task),
        "progress": None,
        "eta": None,
        "live_preview": None,
        "id_live_preview": -1,
        "textinfo": "Queued..." if task is not None else "Waiting...",
    }
    if task is None or task.waits:
        return content
    content |= {
        "progress": task.progress,
        "eta": task.eta_s or None,
        "id_live_preview": task.previews,
        "textinfo": None,
    }
    if body.live_preview and body.id_live_preview != task.previews and (shown := await _picture(task, _JPEG)):
        content["live_preview"] = as_url(shown, _JPEG.media_type)
    return content


@router.get(
    "/internal/pending-tasks", response_model=PendingResponse, response_description="Their ids, the oldest first"
)
async def pending_tasks(user_id: UserId, registry: ProgressRegistryOf) -> Any:
    """The caller's requests that wait to be drawn."""
    waiting = [task.id for task in registry.tasks_of(user_id) if task.waits]
    return {"size": len(waiting), "tasks": waiting}


async def _picture(task: Task, encoding: Encoding) -> bytes | None:
    """The newest preview in its own size, which is small: clients poll often."""
    if task.preview is None:
        return None
    return await asyncio.to_thread(to_file, opaque(task.preview.pixels), encoding)


def _state(task: Task | None, count: int) -> dict[str, Any]:
    """``sampling_step`` counts for one picture: all pictures of a request are drawn together."""
    each = task.pictures if task else 1
    return {
        "skipped": False,
        "interrupted": task is not None and task.interrupted,
        "stopping_generation": task is not None and task.interrupted,
        "job": task.id if task else "",
        "job_count": count,
        "job_timestamp": time.strftime("%Y%m%d%H%M%S", time.gmtime()) if task else "0",
        "job_no": 0,
        "sampling_step": task.step // each if task else 0,
        "sampling_steps": task.steps // each if task else 0,
    }
