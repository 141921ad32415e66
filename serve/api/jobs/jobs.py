"""`/v1/jobs`: adding them, looking at them, and telling them what to do (C-042, API_COMPAT 5)."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace

from fastapi import APIRouter, Request, Response

from serve.api.http.bodies import read_json
from serve.api.http.ownership import user_wanted
from serve.api.http.problems import render
from serve.api.http.values import choice, refuse_unknown, text, whole_within
from serve.api.jobs import orders, requests
from serve.api.jobs.dependencies import JobId, JobServices, Parts, checked_id
from serve.api.jobs.event_schema import PREVIEW
from serve.api.jobs.rendering import batch_of, error_of, job_of, result_of, status_of
from serve.api.jobs.schema import ADDITION, CHANGE, JOB, LISTING, PRIORITY, RESULT, RETRY, STATUS, answers
from serve.api.native.conversion import SiteSettings
from serve.ensembles.requests import ILLUSTRATE, VECTORIZE
from serve.errors import InvalidRequest, NotFound, Overloaded, StateUnavailable
from serve.jobs.queue.generation_queue import Submission
from serve.jobs.queue.views import MAX_JOBS_PER_PAGE, JobFilters
from serve.settings import Settings
from serve.state.job_states import COMPLETED, PROCESSING, STATUSES, TERMINAL
from serve.state.objects import EXTENSIONS

router = APIRouter()

_MEDIA_TYPES = {extension: media_type for media_type, extension in EXTENSIONS.items()}
_USUAL_JOBS = 20


@router.post("/v1/jobs", status_code=202, openapi_extra=ADDITION)
async def add(request: Request, parts: Parts, settings: SiteSettings) -> Response:
    """Put a request, or a batch of them, on the queue. `Prefer: wait=N` waits up to N seconds for the end."""
    asked = await requests.read(request, parts.state, request.app.state.illustrator)
    if asked.is_batch:
        added = await parts.queue.add_batch(asked.requests, asked.order)
    else:
        (one,) = asked.requests
        added = await parts.queue.add(one, asked.order)
    wait_s = orders.wait_s(request.headers)
    if wait_s:
        await _wait(parts, added, wait_s)
        added = replace(added, row=None)
    return await answer(parts, settings, added, {"Preference-Applied": f"wait={wait_s:g}"} if wait_s else {})


async def _wait(parts: JobServices, added: Submission, wait_s: float) -> None:
    """Until every job is over, or the time is."""
    deadline = time.monotonic() + wait_s
    with contextlib.suppress(Overloaded, StateUnavailable):  # then the answer tells how far it is
        for job_id in added.ids:
            await parts.follower.wait_until_finished(job_id, 0, max(0.0, deadline - time.monotonic()))


async def answer(parts: JobServices, settings: Settings, added: Submission, headers: dict[str, str]) -> Response:
    """202, and 200 where there is nothing to wait for: the key stood for it already, or all of it is over."""
    if added.batch_id is None:
        views = [await parts.views.of_submission(added)]
        body, path = job_of(views[0], settings), f"/v1/jobs/{added.ids[0]}"
    else:
        views = list(await parts.views.of_batch(added.batch_id))
        body, path = batch_of(views, settings), f"/v1/batches/{added.batch_id}"
    done = added.is_replay or all(view.status in TERMINAL for view in views)
    response = render(body, 200 if done else 202, None)
    replayed = {"Idempotent-Replayed": "true"} if added.is_replay else {}
    response.headers.update({"Location": path, **replayed, **headers})
    return response


@router.get("/v1/jobs", openapi_extra=LISTING)
async def page(request: Request, parts: Parts, settings: SiteSettings) -> Response:
    """List jobs, the newest first. Positions are told of single jobs alone."""
    values = request.query_params
    refuse_unknown(values, ("user_id", "status", "kind", "batch_id", "cursor", "limit"))
    filters = JobFilters(
        user_id=user_wanted(request, values),
        status=choice(values, "status", STATUSES, "") or None,
        kind=choice(values, "kind", (ILLUSTRATE, VECTORIZE), "") or None,
        batch_id=checked_id(batch_id, "batch") if (batch_id := text(values, "batch_id")) else None,
    )
    limit = whole_within(values, "limit", 1, MAX_JOBS_PER_PAGE, _USUAL_JOBS)
    views, cursor = await parts.views.page(filters, text(values, "cursor"), limit)
    return render({"jobs": [job_of(view, settings) for view in views], "next_cursor": cursor}, 200, None)


@router.get("/v1/jobs/{job_id}", openapi_extra=answers(200, "The job", JOB))
async def get(job_id: JobId, parts: Parts, settings: SiteSettings) -> Response:
    """Everything about a job."""
    return await _shown(job_id, parts, settings)


@router.get("/v1/jobs/{job_id}/status", openapi_extra=answers(200, "Where it is", STATUS))
async def status(job_id: JobId, parts: Parts, settings: SiteSettings) -> Response:
    """Where a job is, in fal's words. COMPLETED is also said of what failed or was cancelled."""
    return render(status_of(await parts.views.status_of(job_id), settings), 200, None)


@router.get("/v1/jobs/{job_id}/result", openapi_extra=RESULT)
async def result(job_id: JobId, parts: Parts, settings: SiteSettings) -> Response:
    """What a job came to. 202 while it is not over, and its own error when it failed."""
    view = await parts.views.get(job_id)
    if view.status not in TERMINAL:
        return render(status_of(view, settings), 202, 1)
    if view.status != COMPLETED:
        raise error_of(view)
    return render(result_of(view, settings), 200, None)


@router.get("/v1/jobs/{job_id}/preview", openapi_extra=PREVIEW)
async def preview(job_id: JobId, parts: Parts) -> Response:
    """The newest preview of a picture that is being drawn."""
    view = await parts.views.get(job_id)
    name = view.stage.get("preview")
    if not name:
        raise NotFound("there is no preview of this job", "id")
    media_type = _MEDIA_TYPES.get(name.rpartition(".")[2], "application/octet-stream")
    return Response(await parts.state.objects.get(name), 200, {"Cache-Control": "no-store"}, media_type)


@router.delete("/v1/jobs/{job_id}", openapi_extra=CHANGE)
@router.put("/v1/jobs/{job_id}/cancel", openapi_extra=CHANGE)
@router.post("/v1/jobs/{job_id}/cancel", openapi_extra=CHANGE)
async def cancel(job_id: JobId, parts: Parts, settings: SiteSettings) -> Response:
    """Cancel a job. 202 while its worker has not let go of it yet; 409 when it is over."""
    await parts.queue.cancel(job_id)
    return await _told(job_id, parts, settings)


@router.put("/v1/jobs/{job_id}/pause", openapi_extra=CHANGE)
@router.post("/v1/jobs/{job_id}/pause", openapi_extra=CHANGE)
async def pause(job_id: JobId, parts: Parts, settings: SiteSettings) -> Response:
    """Pause a job. What is half drawn is kept. 202 while its worker has not let go of it yet; 409 when it is over."""
    await parts.queue.pause(job_id)
    return await _told(job_id, parts, settings)


@router.put("/v1/jobs/{job_id}/resume", openapi_extra=CHANGE)
@router.post("/v1/jobs/{job_id}/resume", openapi_extra=CHANGE)
async def resume(job_id: JobId, parts: Parts, settings: SiteSettings) -> Response:
    """Resume a job. It goes on from where it was paused; 409 when it is over."""
    await parts.queue.resume(job_id)
    return await _shown(job_id, parts, settings)


@router.post("/v1/jobs/{job_id}/retry", status_code=202, openapi_extra=RETRY)
async def retry(job_id: JobId, parts: Parts, settings: SiteSettings) -> Response:
    """Retry a job: the same request, seed and all, as a new one. 409 unless it failed or was cancelled."""
    return await answer(parts, settings, await parts.queue.retry(job_id), {})


@router.put("/v1/jobs/{job_id}/priority", openapi_extra=PRIORITY)
async def set_priority(request: Request, job_id: JobId, parts: Parts, settings: SiteSettings) -> Response:
    """Change the priority of a job that waits. 409 for any other."""
    values = await read_json(request, settings.limits)
    refuse_unknown(values, ("priority",))
    if values.get("priority") is None:
        raise InvalidRequest("is required", "priority")
    await parts.queue.set_priority(job_id, orders.priority_of(values, 0))
    return await _shown(job_id, parts, settings)


async def _told(job_id: str, parts: JobServices, settings: Settings) -> Response:
    view = await parts.views.get(job_id)
    return render(job_of(view, settings), 202 if view.status == PROCESSING else 200, None)


async def _shown(job_id: str, parts: JobServices, settings: Settings) -> Response:
    return render(job_of(await parts.views.get(job_id), settings), 200, None)
