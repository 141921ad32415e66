"""The stack's own vocabulary: pictures in as forms, SVG and its reasons out as JSON (D-060 to D-062)."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from serve.api.bodies import Form, read_form
from serve.api.options import NAMES, parse_options
from serve.api.problems import render
from serve.engines.service import EngineService
from serve.ensembles.vectorization import Vectorization, VectorizerService
from serve.errors import InvalidRequest
from serve.settings import Settings

router = APIRouter()

# An SVG may hold scripts; ours never does, and this makes sure that no browser would run one.
SVG_HEADERS = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox"}

_FORMATS = ("json", "svg")


def service_of(request: Request) -> VectorizerService:
    service: VectorizerService = request.app.state.service
    return service


def engines_of(request: Request) -> EngineService:
    """Every engine of the stack."""
    engines: EngineService = request.app.state.models.engines
    return engines


def settings_of(request: Request) -> Settings:
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
async def convert(request: Request, service: Service, settings: SiteSettings) -> Response:
    """Image to SVG with fixed parameters and no model: the plain way, and the fallback of the other."""
    return await _convert(request, service, settings, ("max_bytes", "max_paths", "validate"), tier="basic")


@router.post("/api/convert-ai", openapi_extra=_conversion_schema(*NAMES))
async def convert_ai(request: Request, service: Service, settings: SiteSettings) -> Response:
    """Image to SVG, with tracer and parameters chosen by the models."""
    return await _convert(request, service, settings, NAMES)


async def _convert(
    request: Request, service: VectorizerService, settings: Settings, allowed: tuple[str, ...], **fixed: Any
) -> Response:
    output = _output_format(request)
    image, fields = _image_of(await read_form(request, settings.limits), allowed)
    result = await service.vectorize(image, parse_options(fields, **fixed))
    if output == "svg":
        return Response(result.svg, 200, SVG_HEADERS, "image/svg+xml")
    return render(to_answer(result), 200, None)


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
    metadata = dataclasses.asdict(result)
    svg = metadata.pop("svg")
    metadata["selected_tier"] = metadata.pop("tier")
    metadata["parameters_used"] = metadata.pop("parameters")
    metadata["processing_time"] = metadata.pop("processing_time_s")
    return {
        "success": True,
        "svg_content": svg,
        "ai_metadata": metadata,
        "processing_time": result.processing_time_s,
        "fallback_used": bool(result.degraded),
        "model_info": {"versions": dict(result.model_versions), "inference_engine": "exported_models"},
    }


@router.post("/api/analyze-image", openapi_extra=_form_schema())
async def analyze_image(request: Request, service: Service, settings: SiteSettings) -> Response:
    """Features, kind of logo and recommended tier, without a conversion."""
    image, _ = _image_of(await read_form(request, settings.limits), ())
    analysis = dataclasses.asdict(await service.analyze(image))
    analysis["processing_time"] = analysis.pop("processing_time_s")
    analysis["processing_method"] = analysis.pop("method")
    return render({"success": True, **analysis}, 200, None)


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
