"""The stack's own vocabulary: pictures in as forms, SVG and its reasons out as JSON (D-060 to D-062)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Annotated, Any, get_type_hints

from fastapi import APIRouter, Depends, FastAPI, Form, Request, Response
from starlette.types import Scope

from serve.api.http.bodies import WHOLE_BODY, CappedRequest, CappedRoute
from serve.api.http.callers import CACHE_HEADER, CallerOf, Directly, caller_of, with_cache_status
from serve.api.http.models import validate
from serve.api.http.problems import render
from serve.api.library.files import ConversionTurns, turns_in
from serve.api.middleware.hot_routes import HotMatch
from serve.api.native.conversion_models import (
    EXAMPLE_SVG,
    AiHealthResponse,
    AnalysisResponse,
    ConversionResponse,
    ConvertAiForm,
    ConvertForm,
    ImageForm,
)
from serve.api.native.outputs import JSON, AsOutput, Output, answer_contents, drawing_response, requested_output
from serve.engines.service import EngineService
from serve.ensembles.vectorizer.vectorization import Vectorization, VectorizeOptions, VectorizerService
from serve.jobs.direct.direct_request import HIT, Caller
from serve.jobs.direct.service import DirectService
from serve.security.limits.admission_queue import AdmissionQueue
from serve.settings import Settings

Handle = Callable[[Request], Coroutine[Any, Any, Response]]


class FormRoute(CappedRoute):
    """Routes of an endpoint with a form as its ``body``, without FastAPI's reading of each field: the model reads the
    form as a whole. What else such an endpoint may take are the arguments of `_SOLVERS`."""

    def get_route_handler(self) -> Handle:
        hints = get_type_hints(self.endpoint)
        if "body" not in hints:
            return super().get_route_handler()
        endpoint, model = self.endpoint, hints["body"]
        solvers = {name: solve for name, solve in _SOLVERS.items() if name in hints}

        async def handle_form(request: Request) -> Response:
            request = CappedRequest(request.scope, request.receive)
            solved = {name: solve(request) for name, solve in solvers.items()}
            form = await request.form()
            try:
                response: Response = await endpoint(body=validate(model, dict(form.multi_items())), **solved)
            finally:
                await form.close()
            return response

        return handle_form


router = APIRouter(route_class=FormRoute)

FORM = Form(media_type="multipart/form-data")
_CONVERTED: dict[str, Any] = {
    "response_model": ConversionResponse,
    "response_description": "The picture, alone or with what was done",
    "responses": {
        200: {
            "headers": CACHE_HEADER,
            "content": answer_contents(EXAMPLE_SVG),
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


Service = Annotated[VectorizerService, Depends(service_of)]
StackEngines = Annotated[EngineService, Depends(engines_of)]
SiteSettings = Annotated[Settings, Depends(settings_of)]


_SOLVERS: dict[str, Callable[[Request], Any]] = {
    "output": requested_output,
    "turns": lambda request: turns_in(request.app.state),
    "caller": caller_of,
    "direct": lambda request: request.app.state.direct,
}


@router.post("/api/convert", **_CONVERTED)
async def convert(
    body: Annotated[ConvertForm, FORM], output: AsOutput, caller: CallerOf, direct: Directly, turns: ConversionTurns
) -> Response:
    """Image to SVG with fixed parameters and no model. The plain way, and the fallback of the other."""
    return await _convert(body, body.options(tier="basic"), output, caller, direct, turns)


@router.post("/api/convert-ai", **_CONVERTED)
async def convert_ai(
    body: Annotated[ConvertAiForm, FORM], output: AsOutput, caller: CallerOf, direct: Directly, turns: ConversionTurns
) -> Response:
    """Image to SVG, with tracer and parameters that the models choose."""
    return await _convert(body, body.options(), output, caller, direct, turns)


async def _convert(
    body: ImageForm,
    options: VectorizeOptions,
    output: Output,
    caller: Caller,
    direct: DirectService,
    turns: AdmissionQueue,
) -> Response:
    answer = await direct.vectorize(await body.image.read(), options, caller)
    svg = answer.files[0].data
    if output.format != JSON:
        return with_cache_status(await drawing_response(svg, output, turns), answer.cache)
    content = _body(svg.decode(), {**answer.details, "generation_id": answer.generation_id, "cached": answer.cached})
    return with_cache_status(render(content, 200, None), answer.cache)


class HotConversions:
    """The conversions of ``app`` as one of the `serve.api.middleware.hot_routes`, by the handlers of its routes."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        routes = [route for route in router.routes if isinstance(route, FormRoute)]
        self._matches = {
            route.path: HotMatch(route.path, partial(self._respond, route.get_route_handler()))
            for route in routes
            if route.endpoint in (convert, convert_ai)
        }

    def match(self, scope: Scope) -> HotMatch | None:
        return self._matches.get(scope["path"])

    async def _respond(self, handle: Handle, scope: Scope, body: bytes) -> Response:
        return await handle(Request({**scope, "app": self._app, WHOLE_BODY: body}))


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
