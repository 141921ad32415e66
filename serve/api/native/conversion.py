"""The stack's own vocabulary: pictures in as forms, SVG and its reasons out as JSON (D-060 to D-062)."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Form, Query, Request, Response

from serve.api.http import headers
from serve.api.http.bodies import CappedRoute
from serve.api.http.callers import CACHE_HEADER, CallerOf, Directly, with_cache_status
from serve.api.http.problems import render
from serve.api.native.conversion_models import (
    EXAMPLE_SVG,
    AiHealthResponse,
    AnalysisResponse,
    ConversionResponse,
    ConvertAiForm,
    ConvertForm,
    ImageForm,
)
from serve.engines.service import EngineService
from serve.ensembles.vectorizer.vectorization import Vectorization, VectorizeOptions, VectorizerService
from serve.jobs.direct.direct_request import HIT, Caller
from serve.jobs.direct.service import DirectService
from serve.settings import Settings

router = APIRouter(route_class=CappedRoute)

FORM = Form(media_type="multipart/form-data")
_CONVERTED: dict[str, Any] = {
    "response_model": ConversionResponse,
    "response_description": "The picture, alone or with what was done",
    "responses": {
        200: {
            "headers": CACHE_HEADER,
            "content": {"image/svg+xml": {"schema": {"type": "string"}, "example": EXAMPLE_SVG}},
        }
    },
}


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


async def wants_svg(
    request: Request,
    output_format: Annotated[
        Literal["json", "svg"] | None,
        Query(
            alias="format",
            description="The kind of answer; without it the Accept header decides, and JSON is the default.",
        ),
    ] = None,
) -> bool:
    if output_format is not None:
        return output_format == "svg"
    return "image/svg+xml" in request.headers.get("accept", "")


AsSvg = Annotated[bool, Depends(wants_svg)]
Service = Annotated[VectorizerService, Depends(service_of)]
StackEngines = Annotated[EngineService, Depends(engines_of)]
SiteSettings = Annotated[Settings, Depends(settings_of)]


@router.post("/api/convert", **_CONVERTED)
async def convert(body: Annotated[ConvertForm, FORM], as_svg: AsSvg, caller: CallerOf, direct: Directly) -> Response:
    """Image to SVG with fixed parameters and no model. The plain way, and the fallback of the other."""
    return await _convert(body, body.options(tier="basic"), as_svg, caller, direct)


@router.post("/api/convert-ai", **_CONVERTED)
async def convert_ai(
    body: Annotated[ConvertAiForm, FORM], as_svg: AsSvg, caller: CallerOf, direct: Directly
) -> Response:
    """Image to SVG, with tracer and parameters that the models choose."""
    return await _convert(body, body.options(), as_svg, caller, direct)


async def _convert(
    body: ImageForm, options: VectorizeOptions, as_svg: bool, caller: Caller, direct: DirectService
) -> Response:
    answer = await direct.vectorize(await body.image.read(), options, caller)
    svg = answer.files[0].data
    if as_svg:
        return with_cache_status(Response(svg, 200, headers.SVG, "image/svg+xml"), answer.cache)
    content = _body(svg.decode(), {**answer.details, "generation_id": answer.generation_id, "cached": answer.cached})
    return with_cache_status(render(content, 200, None), answer.cache)


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


@router.post(
    "/api/analyze-image",
    response_model=AnalysisResponse,
    response_description="What the picture is like",
    responses={200: {"headers": CACHE_HEADER}},
)
async def analyze_image(body: Annotated[ImageForm, FORM], caller: CallerOf, direct: Directly) -> Response:
    """Features, kind of logo and recommended tier, without a conversion."""
    result, cache_status = await direct.analyze(await body.image.read(), caller)
    analysis = dict(result)
    analysis["processing_time"] = analysis.pop("processing_time_s")
    analysis["processing_method"] = analysis.pop("method")
    return with_cache_status(
        render({"success": True, **analysis, "cached": cache_status == HIT}, 200, None), cache_status
    )


@router.get("/api/ai-health", response_model=AiHealthResponse, response_description="How the engines are")
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
