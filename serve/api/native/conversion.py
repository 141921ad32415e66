"""The stack's own vocabulary: pictures in as forms, SVG and its reasons out as JSON (D-060 to D-062)."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from serve.api.http import headers
from serve.api.http.bodies import Form, read_form
from serve.api.http.callers import Directly, caller_of, with_cache_word
from serve.api.http.problems import render
from serve.api.native import conversion_schema as schema
from serve.api.native.conversion_schema import FORMATS
from serve.api.native.options import NAMES, parse_options
from serve.engines.service import EngineService
from serve.ensembles.vectorizer.vectorization import Vectorization, VectorizerService
from serve.errors import InvalidRequest
from serve.jobs.direct.direct_request import HIT
from serve.jobs.direct.service import DirectService
from serve.settings import Settings

router = APIRouter()


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


@router.post("/api/convert", openapi_extra=schema.conversion("max_bytes", "max_paths", "validate"))
async def convert(request: Request, direct: Directly, settings: SiteSettings) -> Response:
    """Image to SVG with fixed parameters and no model. The plain way, and the fallback of the other."""
    return await _convert(request, direct, settings, ("max_bytes", "max_paths", "validate"), tier="basic")


@router.post("/api/convert-ai", openapi_extra=schema.conversion(*NAMES))
async def convert_ai(request: Request, direct: Directly, settings: SiteSettings) -> Response:
    """Image to SVG, with tracer and parameters that the models choose."""
    return await _convert(request, direct, settings, NAMES)


async def _convert(
    request: Request, direct: DirectService, settings: Settings, allowed: tuple[str, ...], **fixed: Any
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
    if named is not None and named not in FORMATS:
        raise InvalidRequest(f"must be one of {', '.join(FORMATS)}", "format")
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


@router.post("/api/analyze-image", openapi_extra=schema.analysis())
async def analyze_image(request: Request, direct: Directly, settings: SiteSettings) -> Response:
    """Features, kind of logo and recommended tier, without a conversion."""
    caller = caller_of(request)
    image, _ = _image_of(await read_form(request, settings.limits), ())
    found, word = await direct.analyze(image, caller)
    analysis = dict(found)
    analysis["processing_time"] = analysis.pop("processing_time_s")
    analysis["processing_method"] = analysis.pop("method")
    return with_cache_word(render({"success": True, **analysis, "cached": word == HIT}, 200, None), word)


@router.get("/api/ai-health", openapi_extra=schema.HEALTH)
async def ai_health(engines: StackEngines) -> Response:
    """How every engine fares at a real inference. 200 even when one fails: conversion goes on without it."""
    health = await engines.health()
    ready = sum(engine.ready for engine in health.engines.values())
    status = "healthy" if health.ready else "degraded" if ready or health.asleep else "unavailable"
    models = {name: dataclasses.asdict(engine) for name, engine in health.engines.items()}
    versions = {name: engine.version for name, engine in health.engines.items()}
    body = {
        "status": status,
        "models_ready": ready,
        "models_total": len(health.engines),
        "models": models,
        "asleep": list(health.asleep),
        "model_info": {"versions": versions, "inference_engine": "exported_models"},
    }
    return render(body, 200, None)
