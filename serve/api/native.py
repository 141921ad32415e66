"""The stack's own vocabulary: pictures in as forms, SVG and its reasons out as JSON (D-060 to D-062)."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from serve.api.bodies import Form, read_form
from serve.api.callers import Directly, caller_of, with_cache_word
from serve.api.options import NAMES, parse_options
from serve.api.problems import render
from serve.engines.service import EngineService
from serve.ensembles.vectorization import Vectorization, VectorizerService
from serve.errors import InvalidRequest
from serve.guards import headers
from serve.jobs.direct import Direct
from serve.jobs.errands import HIT
from serve.settings import Settings

router = APIRouter()

_FORMATS = ("json", "svg")


async def service_of(request: Request) -> VectorizerService:
    service: VectorizerService = request.app.state.service
    return service


async def engines_of(request: Request) -> EngineService:
    """Every engine of the stack."""
    engines: EngineService = request.app.state.models.engines
    return engines


async def settings_of(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


Service = Annotated[VectorizerService, Depends(service_of)]
StackEngines = Annotated[EngineService, Depends(engines_of)]
SiteSettings = Annotated[Settings, Depends(settings_of)]


def _form_schema(*options: str) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "image": {"type": "string", "format": "binary", "description": "PNG, JPEG, WebP, GIF, BMP or TIFF"},
        "tier": {"type": "string", "enum": ["auto", "basic", "1", "2", "3"], "default": "auto"},
        "target_quality": {"type": "number", "minimum": 0, "maximum": 1, "default": 0.9},
        "time_budget": {"type": "number", "description": "seconds"},
        "max_bytes": {"type": "integer", "minimum": 100},
        "max_paths": {"type": "integer", "minimum": 1},
        "validate": {"type": "boolean", "default": False},
    }
    properties = {name: fields[name] for name in ("image", *options)}
    schema = {"type": "object", "required": ["image"], "properties": properties}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


def _conversion_schema(*options: str) -> dict[str, Any]:
    names = {"name": "format", "in": "query", "schema": {"type": "string", "enum": _FORMATS}}
    what = "The kind of answer; without it the Accept header decides, and JSON is the default."
    pictures = {"image/svg+xml": {"schema": {"type": "string"}}, "application/json": {"schema": {"type": "object"}}}
    responses = {"200": {"description": "The picture, alone or with what was done", "content": pictures}}
    return {**_form_schema(*options), "parameters": [{**names, "description": what}], "responses": responses}


@router.post("/api/convert", openapi_extra=_conversion_schema("max_bytes", "max_paths", "validate"))
async def convert(request: Request, direct: Directly, settings: SiteSettings) -> Response:
    """Image to SVG with fixed parameters and no model: the plain way, and the fallback of the other."""
    return await _convert(request, direct, settings, ("max_bytes", "max_paths", "validate"), tier="basic")


@router.post("/api/convert-ai", openapi_extra=_conversion_schema(*NAMES))
async def convert_ai(request: Request, direct: Directly, settings: SiteSettings) -> Response:
    """Image to SVG, with tracer and parameters chosen by the models."""
    return await _convert(request, direct, settings, NAMES)


async def _convert(
    request: Request, direct: Direct, settings: Settings, allowed: tuple[str, ...], **fixed: Any
) -> Response:
    output, caller = _output_format(request), caller_of(request)
    image, fields = _image_of(await read_form(request, settings.limits), allowed)
    answer = await direct.vectorize(image, parse_options(fields, **fixed), caller)
    svg = answer.files[0].data
    if output == "svg":
        return with_cache_word(Response(svg, 200, headers.SVG, "image/svg+xml"), answer.cache)
    body = _body(svg.decode(), {**answer.details, "generation_id": answer.generation_id, "cached": answer.cached})
    return with_cache_word(render(body, 200, None), answer.cache)


def _output_format(request: Request) -> str:
    """``?format=`` decides, else the Accept header."""
    named = request.query_params.get("format")
    if named is not None and named not in _FORMATS:
        raise InvalidRequest(f"must be one of {', '.join(_FORMATS)}", "format")
    return named or ("svg" if "image/svg+xml" in request.headers.get("accept", "") else "json")


def _image_of(form: Form, allowed: tuple[str, ...]) -> tuple[bytes, dict[str, str]]:
    for name in (*form.files, *form.fields):
        if name != "image" and (name not in allowed or name in form.files):
            raise InvalidRequest(f"is not a field of this form; known: image, {', '.join(allowed)}", name)
    if "image" not in form.files:
        raise InvalidRequest("send the picture as a multipart/form-data file named image", "image")
    return form.files["image"], form.fields


def to_answer(result: Vectorization) -> dict[str, Any]:
    """D-060's body around D-054's fields."""
    details = dataclasses.asdict(result)
    return _body(details.pop("svg"), details)


def _body(svg: str, details: dict[str, Any]) -> dict[str, Any]:
    metadata = dict(details)
    metadata["selected_tier"] = metadata.pop("tier")
    metadata["parameters_used"] = metadata.pop("parameters")
    metadata["processing_time"] = metadata.pop("processing_time_s")
    return {
        "success": True,
        "svg_content": svg,
        "ai_metadata": metadata,
        "processing_time": details["processing_time_s"],
        "fallback_used": bool(details["degraded"]),
        "model_info": {"versions": details["model_versions"], "inference_engine": "exported_models"},
    }


@router.post("/api/analyze-image", openapi_extra=_form_schema())
async def analyze_image(request: Request, direct: Directly, settings: SiteSettings) -> Response:
    """Features, kind of logo and recommended tier, without a conversion."""
    caller = caller_of(request)
    image, _ = _image_of(await read_form(request, settings.limits), ())
    found, word = await direct.analyze(image, caller)
    analysis = dict(found)
    analysis["processing_time"] = analysis.pop("processing_time_s")
    analysis["processing_method"] = analysis.pop("method")
    return with_cache_word(render({"success": True, **analysis, "cached": word == HIT}, 200, None), word)


@router.get("/api/ai-health")
async def ai_health(engines: StackEngines) -> Response:
    """A real inference per engine. 200 even when one fails: conversion then goes on without it, and says so."""
    health = await engines.health()
    ready = sum(engine.ready for engine in health.engines.values())
    status = "healthy" if health.ready else "degraded" if ready else "unavailable"
    models = {name: dataclasses.asdict(engine) for name, engine in health.engines.items()}
    versions = {name: engine.version for name, engine in health.engines.items()}
    body = {
        "status": status,
        "models_ready": ready,
        "models_total": len(health.engines),
        "models": models,
        "model_info": {"versions": versions, "inference_engine": "exported_models"},
    }
    return render(body, 200, None)
