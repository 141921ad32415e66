"""What answers tell of generations: in the words of C-044, or with underscores below /v1."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from serve.api.http.drawing import camel_case
from serve.api.http.urls import result_url, thumbnail_url
from serve.api.openapi.operation import MAYBE_TIME, json_object
from serve.settings import Settings
from serve.state.gallery import Generation, Result

_TEXT = {"type": "string"}
_MAYBE_TEXT = {"type": ["string", "null"]}
_MAYBE_NUMBER = {"type": ["number", "null"]}
_TIME = {"type": "string", "format": "date-time"}
_RESULT: dict[str, Any] = {
    "id": _TEXT,
    "model": _MAYBE_TEXT,
    "image_url": {"type": "string", "format": "uri"},
    "thumbnail_url": {"type": "string", "format": "uri"},
    "score": _MAYBE_NUMBER,
    "metadata": {"type": "object"},
    "generated_at": _TIME,
}
_GENERATION: dict[str, Any] = {
    "id": _TEXT,
    "user_id": _TEXT,
    "kind": _TEXT,
    "batch_id": _MAYBE_TEXT,
    "prompt": _TEXT,
    "enhanced_prompt": _MAYBE_TEXT,
    "model": _MAYBE_TEXT,
    "status": {"enum": ["pending", "processing", "completed", "failed", "cancelled", "paused"]},
    "favorite": {"type": "boolean"},
    "rating": _MAYBE_NUMBER,
    "created_at": _TIME,
    "completed_at": MAYBE_TIME,
    "generation_time_s": _MAYBE_NUMBER,
}


def told(generation: Generation, settings: Settings) -> dict[str, Any]:
    """The JSON of one. ``imageUrl`` of a result is where it is fetched."""
    return {
        "id": generation.id,
        "user_id": generation.user_id,
        "kind": generation.kind,
        "batch_id": generation.batch_id,
        "retried_from": generation.retried_from,
        "prompt": generation.prompt,
        "enhanced_prompt": generation.enhanced_prompt,
        "analysis": generation.analysis,
        "model": generation.model,
        "models": generation.models,
        "parameters": generation.parameters,
        "details": generation.details,
        "status": generation.status,
        "priority": generation.priority,
        "error": generation.error,
        "favorite": generation.favorite,
        "rating": generation.rating,
        "cached": generation.cached,
        "results": [_result(one, settings) for one in generation.results],
        "created_at": _time(generation.created_at),
        "started_at": _time(generation.started_at),
        "completed_at": _time(generation.completed_at),
        "generation_time_s": generation.generation_time_s,
    }


def told_in_camel_case(generation: Generation, settings: Settings) -> dict[str, Any]:
    """The same in C-044's words."""
    found = told(generation, settings)
    found["results"] = [_camel({**one, "metadata": _camel(one["metadata"])}) for one in found["results"]]
    for name in ("parameters", "details"):
        if isinstance(found[name], dict):
            found[name] = _camel(found[name])
    return _camel(found)


def _result(result: Result, settings: Settings) -> dict[str, Any]:
    metadata = {
        "media_type": result.media_type,
        "width": result.width,
        "height": result.height,
        "bytes": result.bytes,
        "seed": result.seed,
        **(result.details or {}),
    }
    return {
        "id": result.id,
        "model": result.model,
        "image_url": result_url(settings, result.id),
        "thumbnail_url": thumbnail_url(settings, result.id),
        "score": result.score,
        "metadata": metadata,
        "generated_at": _time(result.created_at),
    }


def _time(value: datetime | None) -> str | None:
    return None if value is None else value.isoformat()


def _camel(document: Mapping[str, Any]) -> dict[str, Any]:
    return {camel_case(name): value for name, value in document.items()}


def schema(in_camel_case: bool) -> dict[str, Any]:
    """Of the JSON of one, for OpenAPI."""
    name = camel_case if in_camel_case else str
    results = {"type": "array", "items": json_object({name(n): s for n, s in _RESULT.items()})}
    properties = {name(n): s for n, s in _GENERATION.items()}
    return {"type": "object", "required": list(properties), "properties": {**properties, "results": results}}
