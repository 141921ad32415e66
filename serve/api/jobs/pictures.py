"""The picture that a job starts from: sent along, or a result that is kept. It is stored before there is a job."""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any

from serve.api.jobs.parts import checked_id
from serve.api.values import text
from serve.errors import InvalidRequest, TooLarge, in_words_of
from serve.jobs.inputs import media_type_of
from serve.settings import Settings
from serve.state import State
from serve.state.results import get_result
from serve.vector.image import FIELD, ImageLimits, check

RESULT = "result_id"
_DATA_URL = re.compile(r"data:[a-z0-9.+-]+/[a-z0-9.+-]+(;[a-z0-9=.+-]+)*;base64,", re.ASCII | re.IGNORECASE)
_LONGEST_HEAD = 256


async def keep_picture(values: Mapping[str, Any], state: State) -> str:
    """The name of the object that ``image``, a ``data:`` URL, or ``result_id`` says. Raises as ``keep`` does."""
    url, result_id = text(values, FIELD), text(values, RESULT)
    if url is not None and result_id is not None:
        raise InvalidRequest(f"says the same as {FIELD}; send one of them", RESULT)
    if result_id is not None:
        with in_words_of({"id": RESULT, FIELD: RESULT}):
            found = await get_result(state.database, checked_id(result_id, "result"))
            return await keep(await state.objects.get(found.object), state)
    if url is None:
        raise InvalidRequest("is required: a data: URL, or name a result_id", FIELD)
    return await keep(await asyncio.to_thread(_decoded, url, state.settings), state)


async def keep(data: bytes, state: State) -> str:
    """Raises TooLarge, UnsupportedMedia and BadImage for what cannot be decoded, StateUnavailable, OutOfSpace."""
    limits = ImageLimits(**state.settings.vectorizer.image.model_dump())
    await asyncio.to_thread(check, data, limits)
    return (await state.objects.put(data, media_type_of(data))).name


def _decoded(url: str, settings: Settings) -> bytes:
    head = _DATA_URL.match(url[:_LONGEST_HEAD])
    if head is None:
        raise InvalidRequest("must be a data: URL in base64, such as data:image/png;base64,iVBOR...", FIELD)
    most = settings.vectorizer.image.max_bytes
    if len(url) - head.end() > (most + 2) // 3 * 4:
        raise TooLarge(f"has more than the {most} bytes allowed", FIELD)
    try:
        return base64.b64decode(url[head.end() :], validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequest("is not valid base64", FIELD) from None
