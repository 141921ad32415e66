"""Pictures that clients send: what they tell of themselves, and what is not done with them yet."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request
from PIL import Image

from serve.api.a1111 import infotext, schema
from serve.api.http.bodies import read_json
from serve.api.http.values import required_text, text
from serve.api.native.conversion import SiteSettings
from serve.ensembles.illustrator import provenance
from serve.errors import InvalidRequest, NotFound, Unsupported, rename_fields
from serve.security.fetching.data_urls import decoded, is_one
from serve.settings import Settings
from serve.vector.image import FIELD, ImageLimits, check, look

router = APIRouter()

MAX_ITEMS = 32
MAX_ITEM = 65_536
"""Texts of a picture that are told, and characters of each: a few bytes may stand for many."""
_INTERROGATORS = ("clip", "deepdanbooru", "deepbooru")


@router.post("/sdapi/v1/png-info", openapi_extra=schema.PNG_INFO)
async def png_info(request: Request, settings: SiteSettings) -> dict[str, Any]:
    """How a picture was made, as it tells itself. One that tells nothing has an empty ``info``."""
    values = await read_json(request, settings.limits)
    data = await asyncio.to_thread(_content, values, FIELD, settings)
    told, items = await asyncio.to_thread(look, data, _texts, _limits(settings))
    return {"info": told, "items": items, "parameters": await asyncio.to_thread(infotext.parsed, told)}


@router.post("/sdapi/v1/extra-single-image", openapi_extra=schema.EXTRA_SINGLE)
async def extra_single_image(request: Request, settings: SiteSettings) -> None:
    """A larger picture. Not offered yet: 501, once the picture is one."""
    await checked(await read_json(request, settings.limits), FIELD, settings)
    raise Unsupported("there is no upscaler here yet; GET upscalers lists them")


@router.post("/sdapi/v1/extra-batch-images", openapi_extra=schema.EXTRA_BATCH)
async def extra_batch_images() -> None:
    """Larger pictures. Not offered yet: 501."""
    raise Unsupported("there is no upscaler here yet; GET upscalers lists them")


@router.post("/sdapi/v1/interrogate", openapi_extra=schema.INTERROGATE)
async def interrogate(request: Request, settings: SiteSettings) -> None:
    """What is in a picture. Not offered yet: 501, once the picture is one."""
    values = await read_json(request, settings.limits)
    if values.get(FIELD) is None:
        raise NotFound("Image not found")
    if (text(values, "model") or "clip") not in _INTERROGATORS:
        raise NotFound("Model not found")
    await checked(values, FIELD, settings)
    raise Unsupported("nothing describes pictures here yet", "model")


@router.post("/controlnet/detect", openapi_extra=schema.DETECT)
async def detect() -> None:
    """What a ControlNet preprocessor sees. Not offered yet: 501."""
    raise Unsupported("there is no ControlNet here yet; GET module_list lists its modules")


async def checked(values: Mapping[str, Any], name: str, settings: Settings) -> bytes:
    """The picture ``name``, as far as its header shows that it is one.

    Raises InvalidRequest, TooLarge, UnsupportedMedia and BadImage, naming ``name``.
    """
    data = await asyncio.to_thread(_content, values, name, settings)
    with rename_fields({FIELD: name}):
        await asyncio.to_thread(check, data, _limits(settings))
    return data


def _content(values: Mapping[str, Any], name: str, settings: Settings) -> bytes:
    given = "".join(required_text(values, name).split())
    if given[:8].lower().startswith(("http:", "https:")):
        raise InvalidRequest("is an address; send the picture itself, in base64", name)
    most = settings.vectorizer.image.max_bytes
    return decoded(given if is_one(given) else f"data:image/png;base64,{given}", most, name)


def _limits(settings: Settings) -> ImageLimits:
    return ImageLimits(**settings.vectorizer.image.model_dump())


def _texts(image: Image.Image) -> tuple[str, dict[str, str]]:
    """The infotext, and the texts that the picture carries beside it."""
    told = provenance.read(image)
    texts = [(str(name), value) for name, value in image.info.items() if isinstance(value, str)]
    items = {name: value[:MAX_ITEM] for name, value in texts[:MAX_ITEMS] if name != "parameters"}
    return (told[0] if told else ""), items
