"""`/v1/jobs`: adding jobs, reading, cancelling, pausing, resuming and repeating them (C-042, API_COMPAT 5)."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request, Response

from serve.api.http.bodies import CappedRoute
from serve.api.http.problems import render
from serve.api.jobs.dependencies import BatchId, JobId, JobServices, JobServicesOf, checked_id
from serve.api.jobs.models import BatchInfo, JobInfo, JobResult, JobsPage, QueueStatus
from serve.api.jobs.rendering import batch_of, error_of, job_of, result_of, status_of
from serve.api.jobs.request_models import (
    MAX_WAIT_S,
    JobForm,
    JobHeaders,
    JobRequestBody,
    JobsQuery,
    PreviewQuery,
    PriorityBody,
)
from serve.api.jobs.requests import parse_body, parse_jobs, wait_s
from serve.api.library.files import ZIP_RESPONSE
from serve.api.library.generations import files_of, zip_response
from serve.api.middleware.authentication import principal_of
from serve.api.native.conversion import SiteSettings
from serve.api.openapi.operation import CONFLICT, JSON, UNKNOWN, bodies
from serve.ensembles.illustrator.encoding import MEDIA_TYPES
from serve.errors import Conflict, NotFound, Overloaded, StateUnavailable
from serve.jobs.queue.generation_queue import Submission
from serve.jobs.queue.views import JobFilters
from serve.settings import Settings
from serve.state.gallery import MAX_IDS, Generation, get_generations
from serve.state.job_states import COMPLETED, PROCESSING, TERMINAL
from serve.state.objects.names import EXTENSIONS

router = APIRouter(route_class=CappedRoute)

_MEDIA_TYPES = {extension: media_type for media_type, extension in EXTENSIONS.items()}
_ADDED: dict[str, Any] = {
    "response_model": JobInfo | BatchInfo,
    "responses": {
        200: {"model": JobInfo | BatchInfo, "description": "The key stood for it already, or all of it is over"},
        **CONFLICT,
    },
}
_JOB: dict[str, Any] = {"response_model": JobInfo, "response_description": "The job"}
_CHANGED: dict[str, Any] = {
    **_JOB,
    "responses": {202: {"model": JobInfo, "description": "Its worker has not let go of it yet"}, **CONFLICT},
}
_GONE = {"description": "It was cancelled"}


@router.post(
    "/v1/jobs",
    status_code=202,
    response_description="The job, or the batch",
    openapi_extra=bodies({JSON: JobRequestBody, "multipart/form-data": JobForm}),
    **_ADDED,
)
async def add(
    headers: Annotated[JobHeaders, Header()],
    body: Annotated[JobRequestBody | JobForm, Depends(parse_body)],
    request: Request,
    services: JobServicesOf,
    settings: SiteSettings,
) -> Response:
    """Put a request, or a batch of them, on the queue. `Prefer: wait=N` waits up to N seconds for the end."""
    jobs = await parse_jobs(body, headers, request, services.state)
    if jobs.is_batch:
        added = await services.queue.add_batch(jobs.requests, jobs.order)
    else:
        added = await services.queue.add(jobs.requests[0], jobs.order)
    wait_limit_s = wait_s(headers.prefer, MAX_WAIT_S)
    if wait_limit_s:
        await _wait(services, added, wait_limit_s)
        added = replace(added, row=None)
    return await answer(
        services, settings, added, {"Preference-Applied": f"wait={wait_limit_s:g}"} if wait_limit_s else {}
    )


async def _wait(services: JobServices, added: Submission, most_s: float) -> None:
    """Until every job is over, or for ``most_s``."""
    deadline = time.monotonic() + most_s
    with contextlib.suppress(Overloaded, StateUnavailable):  # the answer then has the present progress
        for job_id in added.ids:
            await services.follower.wait_until_finished(job_id, 0, max(0.0, deadline - time.monotonic()))


async def answer(services: JobServices, settings: Settings, added: Submission, headers: dict[str, str]) -> Response:
    """202; or 200 where nothing is left to wait for: a repeated idempotency key, or jobs that are all over."""
    if added.batch_id is None:
        views = [await services.views.of_submission(added)]
        body, path = job_of(views[0], settings), f"/v1/jobs/{added.ids[0]}"
    else:
        views = list(await services.views.of_batch(added.batch_id))
        body, path = batch_of(views, settings), f"/v1/batches/{added.batch_id}"
    done = added.is_replay or all(view.status in TERMINAL for view in views)
    response = render(body, 200 if done else 202, None)
    replayed = {"Idempotent-Replayed": "true"} if added.is_replay else {}
    response.headers.update({"Location": path, **replayed, **headers})
    return response


@router.get("/v1/jobs", response_model=JobsPage, response_description="A page, the newest first", responses=UNKNOWN)
async def page(
    query: Annotated[JobsQuery, Query()], request: Request, services: JobServicesOf, settings: SiteSettings
) -> Response:
    """List jobs, the newest first. Positions are told of single jobs alone."""
    filters = JobFilters(
        user_id=principal_of(request).visible_user_id(query.user_id, "user_id"),
        status=query.status,
        kind=query.kind,
        batch_id=None if query.batch_id is None else checked_id(query.batch_id, "batch"),
    )
    views, cursor = await services.views.page(filters, query.cursor, query.limit)
    return render({"jobs": [job_of(view, settings) for view in views], "next_cursor": cursor}, 200, None)


@router.get("/v1/jobs/{job_id}", **_JOB)
async def get(job_id: JobId, services: JobServicesOf, settings: SiteSettings) -> Response:
    """Everything about a job."""
    return await _shown(job_id, services, settings)


@router.get("/v1/jobs/{job_id}/status", response_model=QueueStatus, response_description="Its place in the queue")
async def status(job_id: JobId, services: JobServicesOf, settings: SiteSettings) -> Response:
    """The status of a job in fal's words. COMPLETED is also the status of what failed or was cancelled."""
    return render(status_of(await services.views.status_of(job_id), settings), 200, None)


@router.get(
    "/v1/jobs/{job_id}/result",
    response_model=JobResult,
    response_description="The result; what failed answers its own error",
    responses={
        202: {"model": QueueStatus, "description": "It is not over; its place in the queue"},
        **CONFLICT,
        410: _GONE,
        501: _GONE,
    },
)
async def result(job_id: JobId, services: JobServicesOf, settings: SiteSettings) -> Response:
    """The result of a job. 202 while it is not over, and its own error when it failed."""
    view = await services.views.get(job_id)
    if view.status not in TERMINAL:
        return render(status_of(view, settings), 202, 1)
    if view.status != COMPLETED:
        raise error_of(view)
    return render(result_of(view, settings), 200, None)


@router.get(
    "/v1/jobs/{job_id}/preview",
    responses={
        200: {
            "description": "A picture",
            "content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in MEDIA_TYPES.values()},
        }
    },
)
async def preview(_query: Annotated[PreviewQuery, Query()], job_id: JobId, services: JobServicesOf) -> Response:
    """The newest preview of a picture that is being drawn."""
    view = await services.views.get(job_id)
    name = view.stage.get("preview")
    if not name:
        raise NotFound("there is no preview of this job", "id")
    media_type = _MEDIA_TYPES.get(name.rpartition(".")[2], "application/octet-stream")
    return Response(await services.state.objects.get(name), 200, {"Cache-Control": "no-store"}, media_type)


@router.delete("/v1/jobs/{job_id}", **_CHANGED)
@router.put("/v1/jobs/{job_id}/cancel", **_CHANGED)
@router.post("/v1/jobs/{job_id}/cancel", **_CHANGED)
async def cancel(job_id: JobId, services: JobServicesOf, settings: SiteSettings) -> Response:
    """Cancel a job. 202 while its worker has not let go of it yet; 409 when it is over."""
    await services.queue.cancel(job_id)
    return await _changed(job_id, services, settings)


@router.put("/v1/jobs/{job_id}/pause", **_CHANGED)
@router.post("/v1/jobs/{job_id}/pause", **_CHANGED)
async def pause(job_id: JobId, services: JobServicesOf, settings: SiteSettings) -> Response:
    """Pause a job. What is half drawn is kept. 202 while its worker has not let go of it yet; 409 when it is over."""
    await services.queue.pause(job_id)
    return await _changed(job_id, services, settings)


@router.put("/v1/jobs/{job_id}/resume", **_CHANGED)
@router.post("/v1/jobs/{job_id}/resume", **_CHANGED)
async def resume(job_id: JobId, services: JobServicesOf, settings: SiteSettings) -> Response:
    """Resume a job. It goes on from where it was paused; 409 when it is over."""
    await services.queue.resume(job_id)
    return await _shown(job_id, services, settings)


@router.post("/v1/jobs/{job_id}/retry", status_code=202, response_description="The new job", **_ADDED)
async def retry(job_id: JobId, services: JobServicesOf, settings: SiteSettings) -> Response:
    """Retry a job: the same request, seed and all, as a new one. 409 unless it failed or was cancelled."""
    return await answer(services, settings, await services.queue.retry(job_id), {})


@router.put("/v1/jobs/{job_id}/priority", responses=CONFLICT, **_JOB)
async def set_priority(body: PriorityBody, job_id: JobId, services: JobServicesOf, settings: SiteSettings) -> Response:
    """Change the priority of a job that waits. 409 for any other."""
    await services.queue.set_priority(job_id, body.priority)
    return await _shown(job_id, services, settings)


async def _changed(job_id: str, services: JobServices, settings: Settings) -> Response:
    view = await services.views.get(job_id)
    return render(job_of(view, settings), 202 if view.status == PROCESSING else 200, None)


async def _shown(job_id: str, services: JobServices, settings: Settings) -> Response:
    return render(job_of(await services.views.get(job_id), settings), 200, None)


@router.get("/v1/batches/{batch_id}", response_model=BatchInfo, response_description="The batch")
async def get_batch(batch_id: BatchId, services: JobServicesOf, settings: SiteSettings) -> Response:
    """A batch: its jobs in brief, how many are in which status, and how far they are."""
    return render(batch_of(await services.views.of_batch(batch_id), settings), 200, None)


@router.post(
    "/v1/batches/{batch_id}/cancel",
    response_model=BatchInfo,
    response_description="The batch",
    responses={202: {"model": BatchInfo, "description": "Workers have not let go of all of it yet"}},
)
async def cancel_batch(batch_id: BatchId, services: JobServicesOf, settings: SiteSettings) -> Response:
    """Cancel what is not over of a batch. 202 while workers have not let go of all of it yet."""
    await services.queue.cancel_batch(batch_id)
    batch = batch_of(await services.views.of_batch(batch_id), settings)
    return render(batch, 200 if batch["over"] else 202, None)


@router.get("/v1/batches/{batch_id}/download", responses={**ZIP_RESPONSE, **CONFLICT})
async def download(batch_id: BatchId, services: JobServicesOf, settings: SiteSettings) -> Response:
    """All results of a batch so far as one ZIP, with metadata.json. 409 when there are none yet."""
    views = await services.views.of_batch(batch_id)
    ids = [view.id for view in views if view.results]
    if not ids:
        raise Conflict("has no results yet; come again when a job of it is completed", "id")
    generations: list[Generation] = []
    for start in range(0, len(ids), MAX_IDS):
        generations += await get_generations(services.state.database, ids[start : start + MAX_IDS])
    return zip_response(files_of(services.state.objects, generations, settings), f"atelier-{batch_id[:8]}.zip")
