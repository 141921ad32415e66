"""`POST /v1/images/generations`, answered at once or as a stream of events.

OpenAI's own client asks again, twice and without an idempotency key, when an answer does not come (API_COMPAT 1). So
what it went away from goes on for a moment (`jobs.abandoned_s`), and the repetition joins it; what was done a moment
before a repetition, as it calls itself (``x-stainless-retry-count``), is its answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncGenerator, Iterator
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request, Response

from serve.api.http.bodies import CappedRoute
from serve.api.http.callers import CACHE_HEADER, CalledBy, CallerHeaders, DrawsDirectly, urls_of, with_cache_status
from serve.api.http.drawing import answer_metadata, draw, with_answer_headers
from serve.api.http.event_stream import EventStream
from serve.api.http.problems import render
from serve.api.middleware.authentication import principal_of
from serve.api.native.conversion import SiteSettings
from serve.api.openai.errors import body_of
from serve.api.openai.image_models import ImagesBody, ImagesRequest, ImagesResponse
from serve.api.openapi.operation import event_stream
from serve.ensembles.illustrator.encoding import as_base64, encode_preview
from serve.ensembles.illustrator.service import Preview
from serve.ensembles.requests import IllustrateRequest
from serve.errors import AtelierError, rename_fields
from serve.jobs.direct.direct_request import BYPASS, HIT, MISS, Answer, Caller
from serve.jobs.direct.service import DirectService
from serve.settings import Settings

router = APIRouter(route_class=CappedRoute)

RETRY_COUNT = "x-stainless-retry-count"

_DONE = "data: [DONE]\n\n"
_STREAM = event_stream(
    {
        "event": "image_generation.completed",
        "data": '{"type": "image_generation.completed", "b64_json": "iVBORw0KGgo="}',
    }
)


@router.post(
    "/images/generations",
    response_model=ImagesResponse,
    response_description="What was drawn",
    responses={200: {"headers": CACHE_HEADER, "content": _STREAM}},
)
async def generate(
    body: ImagesBody, request: Request, called_by: CalledBy, direct: DrawsDirectly, settings: SiteSettings
) -> Response:
    """Pictures of a prompt, as OpenAI's clients ask for them; with ``stream``, previews on the way."""
    parsed = body.parsed(await direct.families(), settings.pictures.embed_metadata)
    return await respond(parsed, request, called_by, direct, settings)


async def respond(
    parsed: ImagesRequest, request: Request, called_by: CallerHeaders, direct: DirectService, settings: Settings
) -> Response:
    """The answer to ``parsed``, at once or as a stream of events."""
    user = (
        parsed.safety_identifier if principal_of(request).key_id is None else None
    )  # a user of the client, not of this site
    caller = called_by.caller(request, user, settings.jobs.abandoned_s)
    caller = replace(caller, is_retry=_is_retry(request))
    if parsed.partial_images is not None:
        return await _streamed(parsed, direct, caller, settings)
    answer = await draw(parsed.order, direct, caller)
    content = await asyncio.to_thread(_answer, parsed, answer, settings)
    return with_answer_headers(await asyncio.to_thread(render, content, 200, None), answer)


def _is_retry(request: Request) -> bool:
    """OpenAI's package counts how often it has parsed for the same before."""
    return request.headers.get(RETRY_COUNT, "0") != "0"


async def _streamed(parsed: ImagesRequest, direct: DirectService, caller: Caller, settings: Settings) -> Response:
    with rename_fields(parsed.order.names):
        drawing_request = await direct.apply_policy(IllustrateRequest(parsed.order.options, parsed.order.encoding))
        parsed = replace(parsed, order=replace(parsed.order, encoding=drawing_request.encoding))
        known = await direct.cached_answer(drawing_request, caller)
    source = (
        replayed(parsed, known)
        if known
        else events(parsed, direct.stream(drawing_request, caller, parsed.preview_every))
    )
    word = HIT if known else MISS if direct.may_use_cache(drawing_request, caller) else BYPASS
    return with_cache_status(await EventStream.of(source, settings.pictures.heartbeat_s, _error_event), word)


def _answer(parsed: ImagesRequest, answer: Answer, settings: Settings) -> dict[str, Any]:
    if parsed.as_url:
        pictures = [{"url": url} for url in urls_of(answer, settings)]
    else:
        pictures = [{"b64_json": as_base64(file.data)} for file in answer.files]
    return {
        "created": int(time.time()),
        "data": [{**picture, "seed": file.seed} for picture, file in zip(pictures, answer.files, strict=True)],
        **_described(parsed),
        "usage": _usage(answer),
        "atelier": _metadata(answer),
    }


def _metadata(answer: Answer) -> dict[str, Any]:
    return {**answer_metadata(answer), "generation_id": answer.generation_id}


def _described(parsed: ImagesRequest) -> dict[str, Any]:
    width, height = parsed.size
    shown = {
        "size": f"{width}x{height}",
        "quality": parsed.quality,
        "background": "transparent" if parsed.transparent else "opaque",
        "output_format": parsed.order.encoding.format,
    }
    return shown if parsed.safety_identifier is None else {**shown, "safety_identifier": parsed.safety_identifier}


def _usage(answer: Answer) -> dict[str, Any]:
    """Tokens of both prompts. Diffusion writes no tokens."""
    tokens = answer.details["tokens"] + answer.details["negative_tokens"]
    return {
        "input_tokens": tokens,
        "output_tokens": 0,
        "total_tokens": tokens,
        "input_tokens_details": {"text_tokens": tokens, "image_tokens": 0},
        "output_tokens_details": {"text_tokens": 0, "image_tokens": 0},
    }


async def events(parsed: ImagesRequest, drawing: AsyncGenerator[Preview | Answer, None]) -> AsyncGenerator[str]:
    """Up to ``partial_images`` previews of each picture, evenly over its steps; each picture; the end."""
    shown: dict[int, int] = {}
    with rename_fields(parsed.order.names):
        async with contextlib.aclosing(drawing) as items:
            async for item in items:
                if isinstance(item, Answer):
                    for event in _completed(parsed, item):
                        yield event
                elif _is_due(item, shown.get(item.index, 0), parsed.partial_images or 0):
                    index = shown.get(item.index, 0)
                    shown[item.index] = index + 1
                    file = await encode_preview(item.pixels, parsed.size, parsed.order.encoding)
                    yield _event("partial_image", parsed, file, partial_image_index=index)
    yield _DONE


async def replayed(parsed: ImagesRequest, answer: Answer) -> AsyncGenerator[str]:
    """What is stored, without previews."""
    for event in _completed(parsed, answer):
        yield event
    yield _DONE


def _completed(parsed: ImagesRequest, answer: Answer) -> Iterator[str]:
    for file in answer.files:
        more = {"usage": _usage(answer), "seed": file.seed, "atelier": _metadata(answer)}
        yield _event("completed", parsed, file.data, **more)


def _is_due(preview: Preview, shown: int, partial_images: int) -> bool:
    """Whether ``preview`` has come as far as the next of the partial images should."""
    return shown < partial_images and preview.step * (partial_images + 1) >= preview.steps * (shown + 1)


def _event(name: str, parsed: ImagesRequest, file: bytes, **more: Any) -> str:
    kind = f"{parsed.event}.{name}"
    body = {"type": kind, "b64_json": as_base64(file), "created_at": int(time.time()), **_described(parsed), **more}
    return f"event: {kind}\ndata: {json.dumps(body)}\n\n"


def _error_event(error: AtelierError) -> str:
    """Headers are sent: when to come again stands in the error."""
    body = body_of(error)
    if error.retry_after_s is not None:
        body["error"]["retry_after"] = error.retry_after_s
    return f"data: {json.dumps(body)}\n\n"
