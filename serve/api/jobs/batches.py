"""`/v1/batches`: jobs that one request has added (A-081, C-140)."""

from __future__ import annotations

from fastapi import APIRouter, Response

from serve.api.http.problems import render
from serve.api.jobs.dependencies import BatchId, JobServicesOf
from serve.api.jobs.models import BatchInfo
from serve.api.jobs.rendering import batch_of
from serve.api.library.archive import zip_response
from serve.api.library.files import ZIP_RESPONSE
from serve.api.library.generation_files import files_of
from serve.api.native.conversion import SiteSettings
from serve.api.openapi.operation import CONFLICT
from serve.errors import Conflict
from serve.state.gallery import MAX_IDS, Generation, get_generations

router = APIRouter()


@router.get("/v1/batches/{batch_id}", response_model=BatchInfo, response_description="The batch")
async def get(batch_id: BatchId, services: JobServicesOf, settings: SiteSettings) -> Response:
    """A batch: its jobs in brief, how many are in which status, and how far they are."""
    return render(batch_of(await services.views.of_batch(batch_id), settings), 200, None)


@router.post(
    "/v1/batches/{batch_id}/cancel",
    response_model=BatchInfo,
    response_description="The batch",
    responses={202: {"model": BatchInfo, "description": "Workers have not let go of all of it yet"}},
)
async def cancel(batch_id: BatchId, services: JobServicesOf, settings: SiteSettings) -> Response:
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
