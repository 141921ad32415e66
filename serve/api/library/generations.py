"""Generations as answers have them: in camelCase for C-044, in snake_case below /v1."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel

from serve.api.http.drawing import camel_case
from serve.api.http.models import Time, Url, one_of
from serve.api.http.urls import result_url, thumbnail_url
from serve.settings import Settings
from serve.state.gallery import Generation, Result
from serve.state.job_states import STATUSES


class ResultInfo(BaseModel):
    id: str
    model: str | None
    image_url: Url
    thumbnail_url: Url
    score: float | None
    metadata: dict[str, Any]
    generated_at: Time


class GenerationInfo(BaseModel):
    id: str
    user_id: str
    kind: str
    batch_id: str | None
    retried_from: str | None = None
    prompt: str
    enhanced_prompt: str | None
    analysis: Any = None
    model: str | None
    models: Any = None
    parameters: Any = None
    details: Any = None
    status: Annotated[str, one_of(STATUSES)]
    priority: int = 0
    error: Any = None
    favorite: bool
    rating: float | None
    cached: bool = False
    results: list[ResultInfo]
    created_at: Time
    started_at: Time | None = None
    completed_at: Time | None
    generation_time_s: float | None


class CamelCaseResult(ResultInfo, alias_generator=camel_case):
    pass


class CamelCaseGeneration(GenerationInfo, alias_generator=camel_case):
    results: list[CamelCaseResult]  # type: ignore[assignment]


def generation_json(generation: Generation, settings: Settings) -> dict[str, Any]:
    """As `GenerationInfo`."""
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


def generation_in_camel_case(generation: Generation, settings: Settings) -> dict[str, Any]:
    """The same in camelCase, as C-044 has it."""
    document = generation_json(generation, settings)
    document["results"] = [_camel({**one, "metadata": _camel(one["metadata"])}) for one in document["results"]]
    for name in ("parameters", "details"):
        if isinstance(document[name], dict):
            document[name] = _camel(document[name])
    return _camel(document)


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
