"""What OpenAPI says of the routes of jobs."""

from __future__ import annotations

from typing import Any

from serve.api.http.callers import KEY
from serve.api.http.drawing import SNAKE_CASE
from serve.api.http.drawing_schema import PROMPT, options_of
from serve.api.http.ownership import MAX_USER
from serve.api.jobs.orders import FAL_PRIORITY, MAX_WAIT_S, TIMEOUT_S, WEBHOOK_EVENTS
from serve.api.jobs.rendering import BRIEF_PROMPT
from serve.api.native.presets import QUALITIES
from serve.api.openapi.operation import CONFLICT, UNKNOWN, answer, json_object, said
from serve.diffusion.noise import MAX_SEED
from serve.ensembles.illustrator.illustration import MAX_PICTURES
from serve.ensembles.requests import ILLUSTRATE, VECTORIZE
from serve.jobs.queue.generation_queue import MAX_PRIORITY, PRIORITIES
from serve.jobs.queue.idempotency import MAX_KEY
from serve.jobs.queue.views import MAX_JOBS_PER_PAGE
from serve.state.job_states import COMPLETED, STATUSES

_TEXT = {"type": "string"}
_WHOLE = {"type": "integer"}
_MAYBE_WHOLE = {"type": ["integer", "null"]}
_MAYBE_OBJECT = {"type": ["object", "null"]}
_MAYBE_TEXT = {"type": ["string", "null"]}
_MAYBE_NUMBER = {"type": ["number", "null"]}
_TIME = {"type": ["string", "null"], "format": "date-time"}
_URL = {"type": "string", "format": "uri"}
_USER = {"type": "string", "maxLength": MAX_USER, "description": "the key's user by default"}
PRIORITY_VALUE = {
    "oneOf": [
        {"type": "integer", "minimum": -MAX_PRIORITY, "maximum": MAX_PRIORITY},
        {"enum": list(PRIORITIES)},
    ],
    "default": 0,
}
_STATUS = {"type": "string", "enum": list(STATUSES)}
QUALITY = {"type": "string", "enum": [quality.name for quality in QUALITIES]}
PICTURES = {"type": "integer", "minimum": 1, "maximum": MAX_PICTURES, "default": 1}

DRAWING = {
    "type": "object",
    "description": "of illustrate and prompt_to_svg",
    "additionalProperties": False,
    "properties": {"prompt": PROMPT, "n": PICTURES, "quality": QUALITY, **options_of(SNAKE_CASE)},
}
_VECTORIZE_OPTIONS: dict[str, Any] = {
    "result_id": {"type": "string", "description": "a stored result in place of a picture"},
    "tier": {"type": "string", "enum": ["auto", "basic", "1", "2", "3"], "default": "auto"},
    "target_quality": {"type": "number", "minimum": 0, "maximum": 1, "default": 0.9},
    "time_budget": {"type": "number", "description": "seconds"},
    "max_bytes": {"type": "integer", "minimum": 100},
    "max_paths": {"type": "integer", "minimum": 1},
    "validate": {"type": "boolean", "default": False},
}
_VECTORIZE = {
    "type": "object",
    "description": "of vectorize",
    "anyOf": [{"required": ["image"]}, {"required": ["result_id"]}],
    "additionalProperties": False,
    "properties": {
        "image": {"type": "string", "description": "a data: URL in base64, or the https: address of a picture"},
        **_VECTORIZE_OPTIONS,
    },
}
_OF_ALL: dict[str, Any] = {
    "user_id": _USER,
    "priority": PRIORITY_VALUE,
    "webhook_url": _URL,
    "timeout_s": {
        "type": "number",
        "minimum": TIMEOUT_S[0],
        "maximum": TIMEOUT_S[1],
        "description": "seconds from now to its end, all waiting included; then it has failed",
    },
}
_BODY = {
    "type": "object",
    "required": ["kind", "input"],
    "additionalProperties": False,
    "properties": {
        "kind": {"type": "string", "enum": [ILLUSTRATE, VECTORIZE, "prompt_to_svg"]},
        "input": {"anyOf": [DRAWING, _VECTORIZE]},
        **_OF_ALL,
        "webhook_events": {"type": "array", "items": {"enum": list(WEBHOOK_EVENTS)}},
        "seeds": {"type": "array", "items": {"type": "integer", "minimum": -1, "maximum": MAX_SEED}},
        "prompts": {"type": "array", "items": PROMPT},
        "count": {"type": "integer", "minimum": 1, "description": "jobs whose seeds follow one another"},
    },
}
_FORM = {
    "type": "object",
    "properties": {
        "image": {"type": "string", "format": "binary", "description": "PNG, JPEG, WebP, GIF, BMP or TIFF"},
        "kind": {"type": "string", "enum": [VECTORIZE], "default": VECTORIZE},
        **_OF_ALL,
        "webhook_events": {"type": "string", "description": "with commas between them"},
        **_VECTORIZE_OPTIONS,
    },
}
_EXAMPLE = {"kind": "illustrate", "input": {"prompt": "red apple, flat", "seed": 7}, "user_id": "ada", "count": 4}

JOB = {
    "type": "object",
    "required": ["id", "status", "progress", "results", "status_url", "response_url", "cancel_url"],
    "properties": {
        **dict.fromkeys(("id", "request_id", "user_id", "kind", "lane", "prompt"), _TEXT),
        "status": _STATUS,
        "wish": {"enum": ["cancel", "pause", None], "description": "what its worker has still to heed"},
        "position": {"type": ["integer", "null"], "description": "1 starts next"},
        "progress": {"type": "number", "minimum": 0, "maximum": 1},
        **dict.fromkeys(("estimated_s", "generation_time_s"), _MAYBE_NUMBER),
        **dict.fromkeys(("step", "steps"), _MAYBE_WHOLE),
        **dict.fromkeys(("batch_id", "retried_from", "preview_url"), _MAYBE_TEXT),
        **dict.fromkeys(("priority", "attempt", "last_event"), _WHOLE),
        "cached": {"type": "boolean"},
        "parameters": {"type": "object"},
        "results": {"type": "array", "items": {"type": "object"}},
        **dict.fromkeys(("error", "details"), _MAYBE_OBJECT),
        **dict.fromkeys(("created_at", "started_at", "completed_at", "expires_at"), _TIME),
        **dict.fromkeys(("status_url", "response_url", "cancel_url", "events_url"), _URL),
    },
}
_BRIEF = {
    "type": "object",
    "required": ["id", "status", "progress", "prompt", "error", "results"],
    "properties": {
        "id": _TEXT,
        "status": _STATUS,
        "progress": {"type": "number", "minimum": 0, "maximum": 1},
        "prompt": {"type": "string", "maxLength": BRIEF_PROMPT, "description": "cut short"},
        "seed": _WHOLE,
        "error": _MAYBE_OBJECT,
        "results": {"type": "array", "items": {"type": "object", "required": ["url"], "properties": {"url": _URL}}},
    },
}
BATCH = {
    "type": "object",
    "required": ["id", "batch_id", "over", "progress", "counts", "jobs", "status_url", "cancel_url", "download_url"],
    "properties": {
        **dict.fromkeys(("id", "batch_id", "user_id"), _TEXT),
        "over": {"type": "boolean", "description": "every job is"},
        "progress": {"type": "number", "minimum": 0, "maximum": 1},
        "counts": {"type": "object", "description": "jobs by status", "additionalProperties": _WHOLE},
        "created_at": _TIME,
        **dict.fromkeys(("status_url", "cancel_url", "download_url"), _URL),
        "jobs": {"type": "array", "items": _BRIEF},
    },
}
STATUS = {
    "type": "object",
    "required": ["status", "request_id", "status_url", "response_url", "cancel_url"],
    "properties": {
        "status": {"type": "string", "enum": ["IN_QUEUE", "IN_PROGRESS", "COMPLETED"]},
        "queue_position": {"type": ["integer", "null"], "description": "how many start before it"},
        "logs": {"type": "array", "maxItems": 0},
        **dict.fromkeys(("request_id", "error", "error_type"), _TEXT),
        **dict.fromkeys(("status_url", "response_url", "cancel_url", "events_url"), _URL),
    },
}


def answers(status: int, what: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"responses": {str(status): {"description": what, "content": {"application/json": {"schema": schema}}}}}


def parameter(where: str, name: str, what: str, schema: dict[str, Any] = _TEXT) -> dict[str, Any]:
    return {"in": where, "name": name, "description": what, "required": False, "schema": schema}


_ADDED = {"anyOf": [JOB, BATCH]}
_OVER = said("The key stood for it already, or all of it is over", _ADDED)
_GONE = {"description": "It was cancelled"}
CHANGE = answer("The job", JOB, r202=said("Its worker has not let go of it yet", JOB), r409=CONFLICT["409"])
RETRY = answer("The new job", _ADDED, 202, r200=_OVER, r409=CONFLICT["409"])
RESULT = answer(
    "What it came to; what failed answers its own error",
    json_object(
        {
            "id": _TEXT,
            "status": {"const": COMPLETED},
            "kind": _TEXT,
            "cached": {"type": "boolean"},
            "results": {"type": "array", "items": json_object({"id": _TEXT, "media_type": _TEXT, "url": _URL})},
            "generation_time_s": _MAYBE_NUMBER,
            "completed_at": _TIME,
        }
    ),
    r202=said("It is not over; where it is", STATUS),
    r409=CONFLICT["409"],
    r410=_GONE,
    r501=_GONE,
)
ADDITION: dict[str, Any] = {
    "parameters": [
        parameter("header", KEY, "the same key and body are the same job", {"type": "string", "maxLength": MAX_KEY}),
        parameter("header", FAL_PRIORITY, "where the body names none", {"type": "string", "enum": list(PRIORITIES)}),
        parameter("header", "Prefer", f"wait=N: answer when it is over, after at most N of {MAX_WAIT_S:g} seconds"),
    ],
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": _BODY, "example": _EXAMPLE},
            "multipart/form-data": {"schema": _FORM},
        },
    },
    **answer("The job, or the batch", _ADDED, 202, r200=_OVER, r409=CONFLICT["409"]),
}
LISTING: dict[str, Any] = {
    "parameters": [
        *(parameter("query", name, "of these alone") for name in ("user_id", "batch_id")),
        parameter("query", "status", "of these alone", _STATUS),
        parameter("query", "kind", "of these alone", {"type": "string", "enum": [ILLUSTRATE, VECTORIZE]}),
        parameter("query", "cursor", "the next_cursor of the page before"),
        parameter("query", "limit", "jobs of a page", {"type": "integer", "minimum": 1, "maximum": MAX_JOBS_PER_PAGE}),
    ],
    **answer(
        "A page, the newest first",
        {
            "type": "object",
            "required": ["jobs", "next_cursor"],
            "properties": {"jobs": {"type": "array", "items": JOB}, "next_cursor": _MAYBE_TEXT},
        },
        r404=UNKNOWN["404"],
    ),
}
PRIORITY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"type": "object", "required": ["priority"], "properties": {"priority": PRIORITY_VALUE}},
                "example": {"priority": "high"},
            }
        },
    },
    **answer("The job", JOB, r409=CONFLICT["409"]),
}
