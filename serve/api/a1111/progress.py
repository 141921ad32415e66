"""How far a user's requests are, and their end before time: ``progress``, ``interrupt``, ``skip``, ``/internal``.

That project draws for one user. Here everybody sees, and stops, what is their own.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from fastapi import APIRouter, Request

from serve.api.a1111 import schema
from serve.api.a1111.drawing_request import MAX_TASK_ID
from serve.api.a1111.progress_registry import Desks, Task
from serve.api.http.bodies import read_json
from serve.api.http.callers import caller_of
from serve.api.http.values import flag, text, whole
from serve.api.native.conversion import SiteSettings
from serve.ensembles.illustrator.encoding import Encoding, as_base64, as_url, to_file

router = APIRouter()

_PNG = Encoding("png", metadata=False)
_JPEG = Encoding("jpeg", quality=80, metadata=False)


@router.get("/sdapi/v1/progress", openapi_extra=schema.PROGRESS)
async def progress(request: Request, desk: Desks) -> dict[str, Any]:
    """How far the caller is: of the oldest request that is being drawn, else of the oldest one."""
    tasks = desk.tasks_of(caller_of(request).user_id)
    task = next((task for task in tasks if not task.waits), tasks[0] if tasks else None)
    without_picture = flag(request.query_params, "skip_current_image")
    shown = None if task is None or without_picture else await _picture(task, _PNG)
    return {
        "progress": task.progress if task else 0.0,
        "eta_relative": task.eta_s if task else 0.0,
        "state": _state(task, len(tasks)),
        "current_image": as_base64(shown) if shown else None,
        "textinfo": "Queued..." if task is not None and task.waits else None,
    }


@router.post("/sdapi/v1/interrupt", openapi_extra=schema.INTERRUPTED)
async def interrupt(request: Request, desk: Desks) -> dict[str, Any]:
    """Ends all of the caller's requests; each is answered with 499."""
    for task in desk.tasks_of(caller_of(request).user_id):
        task.interrupt()
    return {}


@router.post("/sdapi/v1/skip", openapi_extra=schema.SKIPPED)
async def skip(request: Request, desk: Desks) -> None:
    """Ends the oldest of the caller's requests."""
    for task in desk.tasks_of(caller_of(request).user_id)[:1]:
        task.interrupt()


@router.post("/internal/progress", openapi_extra=schema.ONE_PROGRESS)
async def internal_progress(request: Request, desk: Desks, settings: SiteSettings) -> dict[str, Any]:
    """How far one request is, by the ``force_task_id`` that it came with."""
    values = await read_json(request, settings.limits)
    user_id, task_id = caller_of(request).user_id, text(values, "id_task", MAX_TASK_ID) or ""
    has = whole(values, "id_live_preview", -1)
    task = desk.find(user_id, task_id)
    told: dict[str, Any] = {
        "active": task is not None and not task.waits,
        "queued": task is not None and task.waits,
        "paused": False,
        "completed": task is None and desk.is_over(user_id, task_id),
        "progress": None,
        "eta": None,
        "live_preview": None,
        "id_live_preview": -1,
        "textinfo": "Queued..." if task is not None else "Waiting...",
    }
    if task is None or task.waits:
        return told
    told |= {"progress": task.progress, "eta": task.eta_s or None, "id_live_preview": task.previews, "textinfo": None}
    if flag(values, "live_preview", True) and has != task.previews and (shown := await _picture(task, _JPEG)):
        told["live_preview"] = as_url(shown, _JPEG.media_type)
    return told


@router.get("/internal/pending-tasks", openapi_extra=schema.PENDING)
async def pending_tasks(request: Request, desk: Desks) -> dict[str, Any]:
    """The caller's requests that wait to be drawn."""
    waiting = [task.id for task in desk.tasks_of(caller_of(request).user_id) if task.waits]
    return {"size": len(waiting), "tasks": waiting}


async def _picture(task: Task, encoding: Encoding) -> bytes | None:
    """The newest preview, as small as it came: clients ask often."""
    if task.preview is None:
        return None
    return await asyncio.to_thread(to_file, task.preview.pixels, encoding)


def _state(task: Task | None, count: int) -> dict[str, Any]:
    """``sampling_step`` is of one picture: all of a request are drawn together."""
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
