"""`/api/generate`: illustrations by the queue, in the words of C-043 and C-044."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema, WrapValidator

from serve.api.http.bodies import CappedRoute
from serve.api.http.callers import Keyed
from serve.api.http.drawing import Count, Prompt, SizedDrawingFields, camel_case
from serve.api.http.models import Text, reported_as_one, validate
from serve.api.http.ownership import MAX_USER
from serve.api.http.problems import render
from serve.api.jobs.dependencies import JobId, JobServicesOf
from serve.api.jobs.models import Progress
from serve.api.jobs.rendering import error_of, job_of
from serve.api.jobs.request_models import FAL_PRIORITY, JobFields, Priority, PriorityHeader, Quality, Status
from serve.api.jobs.requests import order_of, parse_drawing
from serve.api.library.generations import CamelCaseGeneration, generation_in_camel_case
from serve.api.library.picture_sources import PictureSources, keep_pictures
from serve.api.native.conversion import SiteSettings
from serve.api.native.illustrations import UnsupportedYet
from serve.api.native.styles import book_of
from serve.api.openapi.operation import CONFLICT
from serve.errors import InvalidRequest, rename_fields
from serve.jobs.queue.views import JobView
from serve.settings import Settings
from serve.state.gallery import get_generation
from serve.state.job_states import COMPLETED, TERMINAL

router = APIRouter(route_class=CappedRoute)

DIFFUSION = "diffusion"
_MODELS = (DIFFUSION, "style-transfer")


class GenerationRequest(SizedDrawingFields):
    model_config = ConfigDict(
        alias_generator=camel_case,
        json_schema_extra={"examples": [{"prompt": "red apple, flat", "userId": "ada", "seed": 7}]},
    )
    kept_empty: ClassVar = ("models",)

    prompt: Prompt
    n: Count = 1
    quality: Quality | None = None
    models: Annotated[
        Annotated[list[str], Field(min_length=1)] | None,
        WrapValidator(reported_as_one),
        WithJsonSchema({"type": "array", "minItems": 1, "items": {"enum": [DIFFUSION]}}),
    ] = None
    priority: Priority | None = None
    user_id: Annotated[Text | None, Field(max_length=MAX_USER)] = None


class AddedGeneration(BaseModel):
    success: Literal[True]
    id: str
    status: str
    position: int | None
    estimatedTime: Annotated[float | None, Field(description="seconds")]


class GenerationStatus(BaseModel, alias_generator=camel_case):
    id: str
    user_id: str = ""
    prompt: str = ""
    models: list[str] = []
    status: Status
    priority: int = 0
    progress: Progress
    step: int | None = None
    steps: int | None = None
    preview_url: str | None = None
    position: int | None
    estimated_time: float | None = None
    error: Any = None
    created_at: str | None = None
    started_at: str | None = None
    completed_at: str | None = None


_STARTED: dict[int | str, dict[str, Any]] = {
    202: {"model": GenerationStatus, "description": "It is not over; its progress"}
}


@router.post(
    "/api/generate",
    status_code=202,
    response_model=AddedGeneration,
    response_description="Its place in the queue",
    responses={200: {"model": AddedGeneration, "description": "The key stood for it already"}},
)
async def generate(
    body: GenerationRequest,
    headers: Keyed,
    request: Request,
    services: JobServicesOf,
    settings: SiteSettings,
) -> Response:
    """Put an illustration on the queue."""
    _check_models(body.models)
    header = validate(PriorityHeader, {FAL_PRIORITY: request.headers.get(FAL_PRIORITY)})
    fields = JobFields.model_construct(user_id=body.user_id, priority=body.priority)
    with rename_fields({"user_id": "userId"}):
        order = order_of(fields, headers, header.fal_priority, request, settings)
    inputs = await PictureSources(request).options(body, order.user_id)
    illustrator, book = request.app.state.illustrator, book_of(request)
    drawing = await parse_drawing(body, settings, illustrator, book, inputs, services.state)
    await keep_pictures(drawing.options, request)
    added = await services.queue.add(drawing, order)
    view = await services.views.get(added.ids[0])
    content = {
        "success": True,
        "id": view.id,
        "status": view.status,
        "position": view.position,
        "estimatedTime": view.estimated_s,
    }
    response = render(content, 200 if added.is_replay else 202, None)
    response.headers["Location"] = f"/api/generate/{view.id}/status"
    return response


def _check_models(models: Sequence[str] | None) -> None:
    unknown = [model for model in models or () if model not in _MODELS]
    if unknown:
        raise InvalidRequest(f"{unknown[0][:64]!a} is none; there are {', '.join(_MODELS)}", "models")
    if models is not None and set(models) != {DIFFUSION}:
        raise UnsupportedYet(f"only {DIFFUSION} is offered yet", "models")


@router.get("/api/generate/{job_id}/status", response_model=GenerationStatus, response_description="Its progress")
async def status(job_id: JobId, services: JobServicesOf, settings: SiteSettings) -> Response:
    """The progress of a generation."""
    return render(_status(await services.views.get(job_id), settings), 200, None)


@router.get(
    "/api/generate/{job_id}/result",
    response_model=CamelCaseGeneration,
    response_description="C-044's Generation",
    responses={
        **_STARTED,
        **CONFLICT,
        410: {"description": "It was cancelled"},
        501: {"description": "It was cancelled"},
    },
)
async def result(job_id: JobId, services: JobServicesOf, settings: SiteSettings) -> Response:
    """The result of a generation. 202 while it is not over, and its own error when it failed."""
    view = await services.views.get(job_id)
    if view.status not in TERMINAL:
        return render(_status(view, settings), 202, 1)
    if view.status != COMPLETED:
        raise error_of(view)
    return render(generation_in_camel_case(await get_generation(services.state.database, job_id), settings), 200, None)


@router.delete(
    "/api/generate/{job_id}",
    response_model=GenerationStatus,
    response_description="Its progress",
    responses={**_STARTED, **CONFLICT},
)
async def cancel(job_id: JobId, services: JobServicesOf, settings: SiteSettings) -> Response:
    """Cancel a generation. 202 while its worker has not let go of it yet; 409 when it is over."""
    await services.queue.cancel(job_id)
    view = await services.views.get(job_id)
    return render({"success": True, **_status(view, settings)}, 200 if view.status in TERMINAL else 202, None)


def _status(view: JobView, settings: Settings) -> dict[str, Any]:
    document = {**job_of(view, settings), "models": [DIFFUSION], "estimated_time": view.estimated_s}
    return {camel_case(name): document[name] for name in GenerationStatus.model_fields}
