"""Pictures that clients send: their metadata, and operations on them that are not offered yet; `extras` enlarges.

Metadata is AUTOMATIC1111's infotext: the prompt, an optional negative prompt, and a line of ``Name: value`` fields,
named as that project's ``parse_generation_parameters`` names them.
"""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

from fastapi import APIRouter, Request, Response
from PIL import Image
from pydantic import BaseModel

from serve.api.a1111 import models
from serve.api.http.bodies import CappedRoute
from serve.api.native.conversion import SiteSettings
from serve.ensembles.illustrator import provenance
from serve.errors import InvalidRequest, NotFound, Unsupported, rename_fields
from serve.security.fetching.fetcher import decode_data_url, is_data_url
from serve.settings import Settings
from serve.vector.image import FIELD, ImageLimits, check, look

NEGATIVE = "Negative prompt:"
MAX_CHARACTERS = 100_000
"""The rest of a longer text is ignored."""
_FIELD = re.compile(r'\s*(?P<name>\w[\w \-/]*):\s*(?P<value>"(?:\\.|[^\\"])*+"|[^,]*)(?:,|$)', re.DOTALL)
_SIZE = re.compile(r"(\d+)x(\d+)", re.ASCII)
_MIN_FIELDS = 3
"""A last line with fewer fields belongs to the prompt."""


def parse_infotext(text: str) -> dict[str, str]:
    """Values by field name; empty for an empty text. A size becomes two fields, such as ``Size-1`` and ``Size-2``."""
    text = text.strip()[:MAX_CHARACTERS]
    if not text:
        return {}
    *lines, last = text.split("\n")
    fields = _fields(last)
    if len(fields) < _MIN_FIELDS:
        lines, fields = [*lines, last], {}
    cut = next((i for i, line in enumerate(lines) if line.strip().startswith(NEGATIVE)), len(lines))
    negative = "\n".join(lines[cut:]).strip().removeprefix(NEGATIVE).strip()
    return {"Prompt": "\n".join(lines[:cut]).strip(), "Negative prompt": negative, **fields}


def _fields(line: str) -> dict[str, str]:
    values: dict[str, str] = {}
    at = 0
    while at < len(line):
        field = _FIELD.match(line, at)
        if field is None:  # text between two commas that is no field
            at = line.find(",", at) + 1 or len(line)
            continue
        name, value = field["name"], _unquoted(field["value"].strip())
        size = _SIZE.fullmatch(value)
        values |= {f"{name}-1": size[1], f"{name}-2": size[2]} if size else {name: value}
        at = field.end()
    return values


def _unquoted(value: str) -> str:
    """``value`` without quotes: a value with a comma is quoted."""
    if value[:1] == '"' == value[-1:]:
        try:
            return str(json.loads(value))
        except ValueError:
            return value
    return value


router = APIRouter(route_class=CappedRoute)

MAX_ITEMS = 32
MAX_ITEM = 65_536
"""Most texts of a picture in an answer, and characters of each: a few bytes may decompress to many."""


def not_yet(answer: type[BaseModel], description: str) -> dict[str, Any]:
    """Arguments of the decorator of a route that is not offered yet."""
    return {"response_model": answer, "response_description": description, "responses": {501: {}}}


_INTERROGATORS = ("clip", "deepdanbooru", "deepbooru")


@router.post("/sdapi/v1/png-info", response_model=models.PngInfoResponse, response_description="What the picture says")
async def png_info(body: models.PictureRequest, settings: SiteSettings) -> Any:
    """How a picture was made, as it tells itself. One that tells nothing has an empty ``info``."""
    data = await asyncio.to_thread(content_of, body.image, FIELD, settings)
    info, items = await asyncio.to_thread(look, data, _texts, _limits(settings))
    return {"info": info, "items": items, "parameters": await asyncio.to_thread(parse_infotext, info)}


@router.post("/sdapi/v1/interrogate", **not_yet(models.CaptionResponse, "Not answered yet: what is in the picture"))
async def interrogate(body: models.InterrogateRequest, request: Request, settings: SiteSettings) -> Response:
    """What is in a picture. Not offered yet: 501, once the picture is one."""
    if body.image is None and (await request.json()).get(FIELD) is None:
        raise NotFound("Image not found")
    if body.model not in _INTERROGATORS:
        raise NotFound("Model not found")
    await checked(body.image or "", FIELD, settings)
    raise Unsupported("nothing describes pictures here yet", "model")


async def checked(picture: str, name: str, settings: Settings) -> bytes:
    """The bytes of ``picture``, as far as its header shows that it is one.

    Raises InvalidRequest, TooLarge, UnsupportedMedia and BadImage, naming ``name``.
    """
    data = await asyncio.to_thread(content_of, picture, name, settings)
    with rename_fields({FIELD: name}):
        await asyncio.to_thread(check, data, _limits(settings))
    return data


def content_of(picture: str, name: str, settings: Settings) -> bytes:
    """The bytes of ``picture``, not looked at. Raises InvalidRequest and TooLarge naming ``name``."""
    encoded = "".join(picture.split())
    if not picture:
        raise InvalidRequest("must not be empty", name)
    if encoded[:8].lower().startswith(("http:", "https:")):
        raise InvalidRequest("is an address; send the picture itself, in base64", name)
    most = settings.vectorizer.image.max_bytes
    return decode_data_url(encoded if is_data_url(encoded) else f"data:image/png;base64,{encoded}", most, name)


def _limits(settings: Settings) -> ImageLimits:
    return ImageLimits(**settings.vectorizer.image.model_dump())


def _texts(image: Image.Image) -> tuple[str, dict[str, str]]:
    """The infotext, and the other texts of the picture."""
    provenance_texts = provenance.read(image)
    texts = [(str(name), value) for name, value in image.info.items() if isinstance(value, str)]
    items = {name: value[:MAX_ITEM] for name, value in texts[:MAX_ITEMS] if name != "parameters"}
    return (provenance_texts[0] if provenance_texts else ""), items
