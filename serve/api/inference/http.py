"""The open inference protocol over HTTP, as KServe and Triton speak it; paths and bodies are theirs.

``tritonclient`` sends no Content-Type and a binary tail by default, so bodies are read as bytes and not parsed by
FastAPI. kserve's client reads ``live`` from one health answer and ``ready`` from the other: both answers have both.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request, Response

from serve.api.http.bodies import parse_json, read_body
from serve.api.http.event_stream import EventStream
from serve.api.http.problems import render
from serve.api.inference import schema
from serve.api.inference.codec import (
    HEADER_LENGTH,
    MAX_JSON_VALUES,
    InferRequest,
    as_response,
    decode_request,
    encode_response,
    json_bytes_of,
    parameters_of,
)
from serve.api.inference.description import Answer
from serve.api.inference.models import Models
from serve.api.inference.tensors import Array, Tensor, from_json, to_json
from serve.api.middleware.authentication import principal_of
from serve.api.native.conversion import SiteSettings
from serve.errors import AtelierError, InvalidRequest, Unauthorized, Unsupported

router = APIRouter(prefix="/v2")


async def models_of(request: Request) -> Models:
    models: Models = request.app.state.models
    return models


ModelsOf = Annotated[Models, Depends(models_of)]
HeaderLength = Annotated[
    str | None,
    Header(
        alias=HEADER_LENGTH,
        description="How many bytes of the body are JSON, where tensors follow it as binary data.",
        json_schema_extra={"pattern": "^[0-9]{1,12}$"},
    ),
]


def as_error(error: AtelierError) -> Response:
    """The protocol's error body."""
    response = render({"error": str(error)}, error.status, error.retry_after_s)
    if isinstance(error, Unauthorized):
        response.headers["WWW-Authenticate"] = error.challenge
    return response


def _health(ok: bool) -> Response:
    return render({"live": True, "ready": ok}, 200 if ok else 503, None if ok else 2)


@router.get("", response_model=schema.Server, response_description="What is served here, and how")
async def server_metadata(models: ModelsOf) -> dict[str, Any]:
    """What is served here, and which extensions of the protocol."""
    return models.server_metadata()


@router.get("/health/live", response_model=schema.ServerHealth, response_description="It does")
async def live() -> Response:
    """Whether the gateway answers."""
    return _health(True)


@router.get(
    "/health/ready",
    response_model=schema.ServerHealth,
    response_description="Every engine is",
    responses={503: {"model": schema.ServerHealth, "description": "An engine is not"}},
)
async def ready(models: ModelsOf) -> Response:
    """Whether every engine is ready. 503 when one is not."""
    return _health(await models.server_ready())


@router.get("/models/stats", **schema.STATISTICS_ROUTE)
async def all_statistics(models: ModelsOf) -> dict[str, Any]:
    """How often every model was asked, and how long it took."""
    return await models.statistics()


@router.post(
    "/repository/index",
    response_model=list[schema.IndexEntry],
    response_description="Every model",
    openapi_extra=schema.optional_body(schema.IndexRequest),
)
async def repository_index(request: Request, models: ModelsOf, settings: SiteSettings) -> list[dict[str, str]]:
    """Every model, and whether it is ready."""
    await _optional_json(request, settings)
    return await models.index()


@router.post(
    "/repository/models/{name}/load",
    response_description="It is; no body",
    response_class=Response,
    **schema.LOAD_ROUTE,
)
async def load(name: str, request: Request, models: ModelsOf, settings: SiteSettings) -> Response:
    """Load a model. Every one is loaded as long as the stack runs: this only checks the name."""
    document = await _optional_json(request, settings)
    await models.load(name, parameters_of(document, "parameters"))
    return Response(status_code=200)


@router.post(
    "/repository/models/{name}/unload",
    response_description="Never answered: models stay loaded",
    response_class=Response,
    **schema.LOAD_ROUTE,
)
async def unload(name: str, request: Request, models: ModelsOf, settings: SiteSettings) -> Response:
    """Unload a model. It is refused: they stay loaded as long as the stack runs."""
    await _optional_json(request, settings)
    await models.unload(name)
    return Response(status_code=200)


async def _optional_json(request: Request, settings: SiteSettings) -> dict[str, Any]:
    body = await read_body(request, settings.limits)
    return parse_json(body) if body else {}


@router.api_route("/trace/setting", methods=["GET", "POST"], include_in_schema=False)
@router.api_route("/logging", methods=["GET", "POST"], include_in_schema=False)
@router.api_route("/systemsharedmemory/{rest:path}", methods=["GET", "POST"], include_in_schema=False)
@router.api_route("/cudasharedmemory/{rest:path}", methods=["GET", "POST"], include_in_schema=False)
async def unsupported() -> None:
    raise Unsupported("this extension is not offered here")


@router.get("/models/{name}", **schema.METADATA_ROUTE)
@router.get("/models/{name}/versions/{version}", **schema.METADATA_ROUTE)
async def model_metadata(models: ModelsOf, name: str, version: str = "") -> dict[str, Any]:
    """A model's inputs and outputs."""
    return await models.metadata(name, version)


@router.get("/models/{name}/ready", **schema.READY_ROUTE)
@router.get("/models/{name}/versions/{version}/ready", **schema.READY_ROUTE)
async def model_ready(models: ModelsOf, name: str, version: str = "") -> Response:
    """Whether a model is ready. 503 when it is not."""
    is_ready = await models.model_ready(name, version)
    return render({"name": name, "ready": is_ready}, 200 if is_ready else 503, None if is_ready else 2)


@router.get("/models/{name}/config", **schema.CONFIG_ROUTE)
@router.get("/models/{name}/versions/{version}/config", **schema.CONFIG_ROUTE)
async def model_config(models: ModelsOf, name: str, version: str = "") -> dict[str, Any]:
    """A model's configuration."""
    return await models.config(name, version)


@router.get("/models/{name}/stats", **schema.STATISTICS_ROUTE)
@router.get("/models/{name}/versions/{version}/stats", **schema.STATISTICS_ROUTE)
async def model_statistics(models: ModelsOf, name: str, version: str = "") -> dict[str, Any]:
    """How often a model was asked, and how long it took."""
    return await models.statistics(name, version)


@router.post("/models/{name}/infer", **schema.INFER_ROUTE)
@router.post("/models/{name}/versions/{version}/infer", **schema.INFER_ROUTE)
async def infer(
    request: Request,
    models: ModelsOf,
    settings: SiteSettings,
    name: str,
    version: str = "",
    header_length: HeaderLength = None,
) -> Response:
    """Ask a model: tensors in, tensors out, as JSON or as binary data behind it."""
    body = await read_body(request, settings.limits)
    decoded = decode_request(body, json_bytes_of(header_length), max_tensors=settings.limits.max_tensors)
    answer = await models.infer(name, version, decoded, principal_of(request).user_id)
    # In a thread: encoding pixels as JSON takes long enough to block the event loop.
    return as_response(
        *await asyncio.to_thread(encode_response, name, answer.version, decoded, answer.outputs, answer.parameters)
    )


@router.post("/models/{name}/generate", **schema.GENERATE_ROUTE)
@router.post("/models/{name}/versions/{version}/generate", **schema.GENERATE_ROUTE)
async def generate(
    request: Request, models: ModelsOf, settings: SiteSettings, name: str, version: str = ""
) -> Response:
    """Ask a model in plain JSON (Triton's generate extension). Inputs and parameters are members of one object."""
    decoded = await _to_request(request, models, settings, name, version)
    answer = await models.infer(name, version, decoded, principal_of(request).user_id)
    return render(await asyncio.to_thread(_to_json, name, answer), 200, None)


@router.post("/models/{name}/generate_stream", **schema.STREAM_ROUTE)
@router.post("/models/{name}/versions/{version}/generate_stream", **schema.STREAM_ROUTE)
async def generate_stream(
    request: Request, models: ModelsOf, settings: SiteSettings, name: str, version: str = ""
) -> Response:
    """Ask a model in plain JSON, answered by server-sent events. Previews, if they are asked for, and the answer."""
    decoded = await _to_request(request, models, settings, name, version)
    answers = models.stream(name, version, decoded, principal_of(request).user_id)
    return await EventStream.of(_events(name, answers), settings.pictures.heartbeat_s, _error_event)


async def _events(name: str, answers: AsyncGenerator[Answer]) -> AsyncGenerator[str]:
    async with contextlib.aclosing(answers):
        async for answer in answers:
            # In a thread, as above.
            yield f"data: {json.dumps(await asyncio.to_thread(_to_json, name, answer))}\n\n"


def _error_event(error: AtelierError) -> str:
    return f"data: {json.dumps({'error': str(error)})}\n\n"


async def _to_request(
    request: Request, models: Models, settings: SiteSettings, name: str, version: str
) -> InferRequest:
    document = parse_json(await read_body(request, settings.limits))
    known = {entry["name"]: entry for entry in (await models.metadata(name, version))["inputs"]}
    parameters = parameters_of(document, "parameters")
    document.pop("parameters", None)
    inputs = tuple(_tensor(known[key], value) for key, value in document.items() if key in known)
    parameters |= {key: value for key, value in document.items() if key not in known and key != "id"}
    return InferRequest(inputs, (), "", parameters)


def _tensor(entry: dict[str, Any], value: Any) -> Tensor:
    if isinstance(value, list | dict) or value is None:
        raise InvalidRequest("generate takes single values only; use infer", entry["name"])
    return from_json(entry["name"], entry["datatype"], (1,), [value], {})


def _to_json(name: str, answer: Answer) -> dict[str, Any]:
    document: dict[str, Any] = {"model_name": name, "model_version": answer.version, **answer.parameters}
    return document | {key: _plain(key, array) for key, array in answer.outputs.items()}


def _plain(name: str, array: Array) -> Any:
    """One value as a scalar, several as a flat list."""
    if array.size > MAX_JSON_VALUES:
        raise InvalidRequest(f"has {array.size} values, too many for JSON; use infer", name)
    values = to_json(name, array)
    return values[0] if len(values) == 1 else values
