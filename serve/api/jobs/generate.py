"""`/api/generate`: illustrations by the queue, in the words of C-043 and C-044."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request, Response

from serve.api.http.bodies import read_json
from serve.api.http.drawing import CAMEL_CASE
from serve.api.http.drawing_schema import KEY_PARAMETER, PROMPT, options_of
from serve.api.http.problems import render
from serve.api.http.values import refuse_unknown
from serve.api.jobs import orders
from serve.api.jobs.checks import names, parse_drawing
from serve.api.jobs.dependencies import JobId, Parts
from serve.api.jobs.rendering import error_of, job_of, time_of
from serve.api.jobs.schema import PICTURES, PRIORITY_VALUE, QUALITY, answers
from serve.api.library.generations import schema, told_in_camel_case
from serve.api.native.conversion import SiteSettings
from serve.api.native.illustrations import UnsupportedYet
from serve.api.openapi.operation import CONFLICT, answer, json_object, said
from serve.errors import InvalidRequest, rename_fields
from serve.jobs.queue.views import JobView
from serve.settings import Settings
from serve.state.gallery import get_generation
from serve.state.job_states import COMPLETED, STATUSES, TERMINAL

router = APIRouter()

DIFFUSION = "diffusion"
_MODELS = (DIFFUSION, "style-transfer")
_OWN = ("models", "priority", "userId")
_TEXT = {"type": "string"}
_STATUS = {
    "type": "object",
    "required": ["id", "status", "progress", "position"],
    "properties": {
        "id": _TEXT,
        "status": {"type": "string", "enum": list(STATUSES)},
        "progress": {"type": "number", "minimum": 0, "maximum": 1},
        "position": {"type": ["integer", "null"]},
    },
}
_ADDED = json_object(
    {
        "success": {"const": True},
        "id": _TEXT,
        "status": _TEXT,
        "position": {"type": ["integer", "null"]},
        "estimatedTime": {"type": ["number", "null"], "description": "seconds"},
    }
)
_GENERATION: dict[str, Any] = {
    "parameters": [KEY_PARAMETER],
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["prompt"],
                    "additionalProperties": False,
                    "properties": {
                        "prompt": PROMPT,
                        "models": {"type": "array", "minItems": 1, "items": {"enum": [DIFFUSION]}},
                        "priority": PRIORITY_VALUE,
                        "userId": _TEXT,
                        "n": PICTURES,
                        "quality": QUALITY,
                        **options_of(CAMEL_CASE),
                    },
                },
                "example": {"prompt": "red apple, flat", "userId": "ada", "seed": 7},
            }
        },
    },
    **answer("Where it is in the queue", _ADDED, 202, r200=said("The key stood for it already", _ADDED)),
}
_FAR = said("It is not over; how far it is", _STATUS)
_RESULT = answer("C-044's Generation", schema(True), r202=_FAR, r409=CONFLICT["409"], r410={}, r501={})
_CANCELLED = answer("Where it is", _STATUS, r202=_FAR, r409=CONFLICT["409"])


@router.post("/api/generate", status_code=202, openapi_extra=_GENERATION)
async def generate(request: Request, parts: Parts, settings: SiteSettings) -> Response:
    """Put an illustration on the queue."""
    values = await read_json(request, settings.limits)
    refuse_unknown(values, (*_OWN, *names(CAMEL_CASE)))
    _check_models(values)
    with rename_fields({"user_id": "userId"}):
        asked = {"user_id": values.get("userId"), "priority": values.get("priority")}
        order = orders.order_of(asked, request, settings)
    drawing = await parse_drawing(values, CAMEL_CASE, settings, request.app.state.illustrator)
    added = await parts.queue.add(drawing, order)
    view = await parts.views.get(added.ids[0])
    body = {
        "success": True,
        "id": view.id,
        "status": view.status,
        "position": view.position,
        "estimatedTime": view.estimated_s,
    }
    response = render(body, 200 if added.is_replay else 202, None)
    response.headers["Location"] = f"/api/generate/{view.id}/status"
    return response


def _check_models(values: Mapping[str, Any]) -> None:
    given = values.get("models")
    if given is None:
        return
    if not isinstance(given, list) or not given or not all(isinstance(one, str) for one in given):
        raise InvalidRequest(f"must be a list of one or more of {', '.join(_MODELS)}", "models")
    unknown = [one for one in given if one not in _MODELS]
    if unknown:
        raise InvalidRequest(f"{unknown[0][:64]!a} is none; there are {', '.join(_MODELS)}", "models")
    if set(given) != {DIFFUSION}:
        raise UnsupportedYet(f"only {DIFFUSION} is offered yet", "models")


@router.get("/api/generate/{job_id}/status", openapi_extra=answers(200, "How far it is", _STATUS))
async def status(job_id: JobId, parts: Parts, settings: SiteSettings) -> Response:
    """How far a generation is."""
    return render(_status(await parts.views.get(job_id), settings), 200, None)


@router.get("/api/generate/{job_id}/result", openapi_extra=_RESULT)
async def result(job_id: JobId, parts: Parts, settings: SiteSettings) -> Response:
    """What a generation came to. 202 while it is not over, and its own error when it failed."""
    view = await parts.views.get(job_id)
    if view.status not in TERMINAL:
        return render(_status(view, settings), 202, 1)
    if view.status != COMPLETED:
        raise error_of(view)
    return render(told_in_camel_case(await get_generation(parts.state.database, job_id), settings), 200, None)


@router.delete("/api/generate/{job_id}", openapi_extra=_CANCELLED)
async def cancel(job_id: JobId, parts: Parts, settings: SiteSettings) -> Response:
    """Cancel a generation. 202 while its worker has not let go of it yet; 409 when it is over."""
    await parts.queue.cancel(job_id)
    view = await parts.views.get(job_id)
    return render({"success": True, **_status(view, settings)}, 200 if view.status in TERMINAL else 202, None)


def _status(view: JobView, settings: Settings) -> dict[str, Any]:
    told = job_of(view, settings)
    return {
        "id": view.id,
        "userId": view.user_id,
        "prompt": view.prompt,
        "models": [DIFFUSION],
        "status": view.status,
        "priority": view.priority,
        "progress": view.progress,
        "step": told["step"],
        "steps": told["steps"],
        "previewUrl": told["preview_url"],
        "position": view.position,
        "estimatedTime": view.estimated_s,
        "error": view.error,
        "createdAt": time_of(view.created_at),
        "startedAt": time_of(view.started_at),
        "completedAt": time_of(view.completed_at),
    }
