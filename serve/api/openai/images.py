"""`POST /v1/images/generations`, answered at once or as a stream of events.

There is no store of objects yet: ``url`` is a ``data:`` URL, which holds the picture.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request, Response

from serve.api.drawing import Illustrates, draw, told
from serve.api.drawing_schema import described
from serve.api.event_stream import EventStream
from serve.api.json_body import read_json
from serve.api.native import Service, SiteSettings
from serve.api.openai.errors import body_of
from serve.api.openai.images_request import PROPERTIES, ImagesRequest, parse
from serve.api.problems import render
from serve.ensembles.illustration import Illustration, IllustratorService, Preview
from serve.ensembles.pictures import as_base64, as_url, encode_all, encode_preview
from serve.ensembles.vectorization import VectorizerService
from serve.errors import AtelierError, in_words_of

router = APIRouter()

_EXAMPLE = {"prompt": "red apple, flat", "size": "1024x1024", "n": 2, "output_format": "png", "seed": 7}
_IMAGE = {"type": "object", "properties": {"b64_json": {"type": "string"}, "url": {"type": "string"}}}
_ANSWER = {
    "created": {"type": "integer"},
    "data": {"type": "array", "items": _IMAGE},
    "size": {"type": "string"},
    "usage": {"type": "object"},
}
_OPERATION = described(PROPERTIES, ["prompt"], _EXAMPLE, _ANSWER)
_OPERATION["responses"]["200"]["content"]["text/event-stream"] = {"schema": {"type": "string"}}


@router.post("/images/generations", openapi_extra=_OPERATION)
async def generate(request: Request, illustrator: Illustrates, service: Service, settings: SiteSettings) -> Response:
    """Pictures of a prompt, as OpenAI's clients ask for them; with ``stream``, previews on the way."""
    values = await read_json(request, settings.limits)
    asked = parse(values, await illustrator.families(), settings.pictures.embed_metadata)
    if asked.partial_images is not None:
        source = events(asked, illustrator, service)
        return await EventStream.of(source, settings.pictures.heartbeat_s, _error_event)
    illustration, files = await draw(asked.order, illustrator, service)
    return await asyncio.to_thread(render, _answer(asked, illustration, files), 200, None)


def _answer(asked: ImagesRequest, illustration: Illustration, files: list[bytes]) -> dict[str, Any]:
    media_type = asked.order.encoding.media_type
    pictures = [{"url": as_url(file, media_type)} if asked.as_url else {"b64_json": as_base64(file)} for file in files]
    seeds = [{"seed": picture.seed} for picture in illustration.pictures]
    return {
        "created": int(time.time()),
        "data": [picture | seed for picture, seed in zip(pictures, seeds, strict=True)],
        **_described(asked),
        "usage": _usage(illustration),
        "atelier": told(illustration),
    }


def _described(asked: ImagesRequest) -> dict[str, Any]:
    width, height = asked.size
    shown = {
        "size": f"{width}x{height}",
        "quality": asked.quality,
        "background": "opaque",
        "output_format": asked.order.encoding.format,
    }
    return shown if asked.safety_identifier is None else {**shown, "safety_identifier": asked.safety_identifier}


def _usage(illustration: Illustration) -> dict[str, Any]:
    """Tokens of both prompts. Diffusion writes no tokens."""
    tokens = illustration.tokens + illustration.negative_tokens
    return {
        "input_tokens": tokens,
        "output_tokens": 0,
        "total_tokens": tokens,
        "input_tokens_details": {"text_tokens": tokens, "image_tokens": 0},
        "output_tokens_details": {"text_tokens": 0, "image_tokens": 0},
    }


async def events(
    asked: ImagesRequest, illustrator: IllustratorService, vectorizer: VectorizerService
) -> AsyncGenerator[str]:
    """Up to ``partial_images`` previews of each picture, evenly over its steps; each picture; the end."""
    shown: dict[int, int] = {}
    order = asked.order
    options = replace(order.options, preview_every=asked.preview_every)
    with in_words_of(order.names):
        async with contextlib.aclosing(illustrator.stream(options)) as drawn:
            async for item in drawn:
                if isinstance(item, Illustration):
                    for file, picture in zip(
                        await encode_all(item, order.encoding, vectorizer), item.pictures, strict=True
                    ):
                        more = {"usage": _usage(item), "seed": picture.seed, "atelier": told(item)}
                        yield _event("image_generation.completed", asked, file, **more)
                elif isinstance(item, Preview) and _is_due(item, shown.get(item.index, 0), asked.partial_images or 0):
                    index = shown.get(item.index, 0)
                    shown[item.index] = index + 1
                    file = await encode_preview(item.pixels, asked.size, order.encoding)
                    yield _event("image_generation.partial_image", asked, file, partial_image_index=index)
    yield "data: [DONE]\n\n"


def _is_due(preview: Preview, shown: int, partial_images: int) -> bool:
    """Whether ``preview`` has come as far as the next of the partial images should."""
    return shown < partial_images and preview.step * (partial_images + 1) >= preview.steps * (shown + 1)


def _event(kind: str, asked: ImagesRequest, file: bytes, **more: Any) -> str:
    body = {"type": kind, "b64_json": as_base64(file), "created_at": int(time.time()), **_described(asked), **more}
    return f"event: {kind}\ndata: {json.dumps(body)}\n\n"


def _error_event(error: AtelierError) -> str:
    return f"data: {json.dumps(body_of(error))}\n\n"
