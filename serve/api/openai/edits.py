"""`POST /v1/images/edits` and `/v1/images/variations`: pictures from pictures.

What draws here draws from a prompt alone. So requests are read and checked as if they were done, and what is right is
refused in words that no client takes for a fault that passes: 400 with the code ``unsupported_operation``.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from serve.api.http.callers import DrawsDirectly
from serve.api.http.fetching import PictureFetcher
from serve.api.library.files import ConversionTurns
from serve.api.native.conversion import SiteSettings
from serve.api.openai.edits_request import EditBody, check_pictures, fetched, read_edit
from serve.api.openai.images import ANSWER
from serve.api.openai.images_request import PROPERTIES, check_variation, parse
from serve.api.openapi.operation import answer, json_object
from serve.errors import InvalidRequest, UnsupportedMedia, UnsupportedOperation
from serve.security.fetching.fetcher import Fetcher
from serve.security.limits.admission_queue import AdmissionQueue
from serve.settings import Settings
from serve.vector.image import ImageLimits

router = APIRouter()

_FILE = {"type": "string", "format": "binary", "description": "PNG, JPEG, WebP, GIF, BMP or TIFF"}
_REFERENCE = {"type": "object", "properties": {"image_url": {"type": "string", "description": "https: or data:"}}}
_FIDELITY = {"input_fidelity": {"enum": ["high", "low", None]}}
_FORM = {
    "type": "object",
    "required": ["prompt"],
    "properties": {
        "image": _FILE,
        "image[]": {"type": "array", "items": _FILE, "minItems": 1, "maxItems": 16},
        "mask": {**_FILE, "description": "of the first picture's size; what is transparent is drawn anew"},
        "markup": {**_FILE, "description": "as mask, and not with it"},
        **PROPERTIES,
        **_FIDELITY,
    },
}
_JSON = {
    "type": "object",
    "required": ["prompt", "images"],
    "properties": {
        "images": {"type": "array", "items": _REFERENCE, "minItems": 1, "maxItems": 16},
        "mask": _REFERENCE,
        "markup": _REFERENCE,
        **PROPERTIES,
        **_FIDELITY,
    },
}
_VARIATION = {
    "type": "object",
    "required": ["image"],
    "properties": {
        "image": _FILE,
        **{name: PROPERTIES[name] for name in ("model", "n", "response_format", "size", "user")},
    },
}


_WOULD_BE = answer("Not answered yet: what generations answers", json_object(ANSWER))


def _operation(**schemas: dict[str, Any]) -> dict[str, Any]:
    """Of a body by its kind."""
    kinds = {"form": "multipart/form-data", "json": "application/json"}
    content = {kinds[kind]: {"schema": schema} for kind, schema in schemas.items()}
    return {"requestBody": {"required": True, "content": content}, **_WOULD_BE}


@router.post("/images/edits", openapi_extra=_operation(form=_FORM, json=_JSON))
async def edit(
    request: Request, direct: DrawsDirectly, settings: SiteSettings, fetcher: PictureFetcher, turns: ConversionTurns
) -> Response:
    """Edits of pictures. Read and checked, then refused: no model here draws from a picture yet."""
    body = await read_edit(request, settings.limits)
    parse(body.values, await direct.families(), settings.pictures.embed_metadata)
    await _check(body, settings, fetcher, turns)
    raise UnsupportedOperation(
        "no model here draws from a picture yet (image-to-image and inpainting are missing); "
        "/v1/images/generations draws from a prompt",
        body.images[0].field.partition("[")[0],
    )


@router.post("/images/variations", openapi_extra=_operation(form=_VARIATION))
async def vary(
    request: Request, direct: DrawsDirectly, settings: SiteSettings, fetcher: PictureFetcher, turns: ConversionTurns
) -> Response:
    """Variations of a picture. Read and checked, then refused, as at OpenAI since it retired the models that did it."""
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise UnsupportedMedia("must be multipart/form-data", "Content-Type")
    body = await read_edit(request, settings.limits)
    if len(body.images) > 1 or body.every != body.images:
        raise InvalidRequest("a variation is of one picture, without mask and markup", "image")
    check_variation(body.values, await direct.families())
    await _check(body, settings, fetcher, turns)
    raise UnsupportedOperation(
        "no model here makes variations of a picture; /v1/images/generations draws from a prompt", "image"
    )


async def _check(body: EditBody, settings: Settings, fetcher: Fetcher, turns: AdmissionQueue) -> None:
    body = await fetched(body, fetcher, settings.limits)
    async with turns.taken():
        await check_pictures(body, ImageLimits(**settings.vectorizer.image.model_dump()))
