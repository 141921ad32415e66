"""The bodies of `POST /v1/images/edits` and `/variations`: forms as clients send them, JSON, and the pictures in them.

Source: the reference of OpenAI's Images API (create edit, create variation), as the package openai 3.52 has it. A form
has its picture as ``image``, or several as ``image[]`` (litellm always); JSON has ``images``, each a URL. File names
are ignored.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import Request

from serve.api.http.bodies import read_json, read_parts
from serve.ensembles.illustrator.illustration import MAX_PROMPT_CHARACTERS
from serve.errors import InvalidRequest, TooLarge, UnsupportedMedia, UnsupportedOperation, rename_fields
from serve.security.fetching.fetcher import MAX_DATA_URL, Fetcher
from serve.settings import LimitsSettings
from serve.vector.image import ImageLimits, Measured, measure

MAX_IMAGES = 16
_IMAGE, _IMAGES = ("image", "image[]"), "images"
_PARTS = ("mask", "markup")
_FILES = (*_IMAGE, *_PARTS)
_MAX_UNKNOWN_FILES = 2
"""Files of a form under unknown names, which are ignored."""
_MAX_FIELD_BYTES = 4 * MAX_PROMPT_CHARACTERS + 1024


@dataclass(frozen=True)
class SentPicture:
    """A picture's bytes, or its URL; ``field`` is its name in the client's request."""

    field: str
    data: bytes = b""
    url: str | None = None


@dataclass(frozen=True)
class SentPictures:
    """The pictures of a request; ``values`` are its other fields. ``images`` is never empty."""

    values: Mapping[str, Any]
    images: Sequence[SentPicture]
    mask: SentPicture | None = None
    markup: SentPicture | None = None

    @property
    def all_pictures(self) -> list[SentPicture]:
        return [*self.images, *(one for one in (self.mask, self.markup) if one is not None)]


async def read_edit(request: Request, limits: LimitsSettings) -> SentPictures:
    """Raises InvalidRequest, TooLarge, UnsupportedMedia; no URL is fetched and no picture decoded yet."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        body = await _from_form(request, limits)
    elif kind == "application/json":
        body = _from_json(await read_json(request, limits))
    else:
        raise UnsupportedMedia("must be multipart/form-data or application/json", "Content-Type")
    if body.mask is not None and body.markup is not None:
        raise InvalidRequest("cannot be sent together with mask", "markup")
    return body


async def _from_form(request: Request, limits: LimitsSettings) -> SentPictures:
    max_files = MAX_IMAGES + len(_PARTS) + _MAX_UNKNOWN_FILES
    values: dict[str, str] = {}
    images: list[SentPicture] = []
    parts: dict[str, SentPicture] = {}
    for name, value in await read_parts(request, limits, max_files, _MAX_FIELD_BYTES):
        if isinstance(value, str) and name in _FILES:
            raise InvalidRequest("must be a file", name)
        if name in values or name in parts:
            raise InvalidRequest("was sent twice", name)
        if isinstance(value, str):
            values[name] = value
        elif name in _IMAGE:
            images.append(SentPicture(name, value))
        elif name in _PARTS:
            parts[name] = SentPicture(name, value)
    _check_count(len(images), "image")
    return SentPictures(values, images, parts.get("mask"), parts.get("markup"))


def _from_json(values: Mapping[str, Any]) -> SentPictures:
    listed = values.get(_IMAGES)
    if not isinstance(listed, list):
        raise InvalidRequest('must be a list such as [{"image_url": "https://..."}]', _IMAGES)
    _check_count(len(listed), _IMAGES)
    images = [_reference(one, f"{_IMAGES}[{index}]") for index, one in enumerate(listed)]
    mask, markup = (None if values.get(name) is None else _reference(values[name], name) for name in _PARTS)
    others = {name: value for name, value in values.items() if name not in (_IMAGES, *_PARTS)}
    return SentPictures(others, images, mask, markup)


def _reference(value: Any, field: str) -> SentPicture:
    keys = [key for key in ("image_url", "file_id") if isinstance(value, dict) and value.get(key) is not None]
    if len(keys) != 1:
        raise InvalidRequest("must be an object with image_url or file_id, and not both", field)
    (key,) = keys
    if not isinstance(value[key], str) or not value[key]:
        raise InvalidRequest("must be text", f"{field}.{key}")
    if key == "file_id":
        raise UnsupportedOperation("no files are kept here; send image_url", f"{field}.{key}")
    if len(value[key]) > MAX_DATA_URL:
        raise TooLarge(f"has more than the {MAX_DATA_URL} characters allowed", f"{field}.{key}")
    return SentPicture(f"{field}.{key}", url=value[key])


def _check_count(count: int, field: str) -> None:
    if not count:
        raise InvalidRequest("is required: the picture to draw from", field)
    if count > MAX_IMAGES:
        raise InvalidRequest(f"has {count} pictures; at most {MAX_IMAGES} are allowed", field)


async def fetched(body: SentPictures, fetcher: Fetcher, limits: LimitsSettings) -> SentPictures:
    """``body`` with its URLs fetched, one after another. Together the pictures are limited to the bytes of one body."""
    total_bytes = 0

    async def with_data(sent: SentPicture) -> SentPicture:
        nonlocal total_bytes
        data = sent.data if sent.url is None else await fetcher.fetch_picture(sent.url, sent.field)
        total_bytes += len(data)
        if total_bytes > limits.max_body_bytes:
            raise TooLarge(f"the pictures have more than the {limits.max_body_bytes} bytes allowed", sent.field)
        return SentPicture(sent.field, data)

    images = [await with_data(sent) for sent in body.images]
    mask = await with_data(body.mask) if body.mask is not None else None
    markup = await with_data(body.markup) if body.markup is not None else None
    return SentPictures(body.values, images, mask, markup)


async def check_pictures(body: SentPictures, limits: ImageLimits) -> None:
    """Raises the errors of `serve.vector.image.measure` with the client's field names, and InvalidRequest for a mask or
    markup of another size or without transparency."""
    measured = {id(sent): await _measured(sent, limits) for sent in body.all_pictures}
    first = measured[id(body.images[0])]
    for sent in (body.mask, body.markup):
        if sent is None:
            continue
        size = measured[id(sent)]
        if (size.width, size.height) != (first.width, first.height):
            what = f"is {size.width} x {size.height} px, and the first picture {first.width} x {first.height}"
            raise InvalidRequest(f"{what}: they must be the same", sent.field)
        if not size.has_alpha:
            raise InvalidRequest("needs an alpha channel: what is transparent is drawn anew", sent.field)


async def _measured(sent: SentPicture, limits: ImageLimits) -> Measured:
    with rename_fields({"image": sent.field}):
        return await asyncio.to_thread(measure, sent.data, limits)
