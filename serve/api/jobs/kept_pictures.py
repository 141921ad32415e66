"""Pictures of jobs, checked and kept in the object store: from a form, a URL or a stored result."""

from __future__ import annotations

import asyncio

from fastapi import Request

from serve.api.http.fetching import fetcher_of
from serve.api.http.ownership import check_own
from serve.api.jobs.dependencies import checked_id
from serve.errors import InvalidRequest, rename_fields
from serve.security.fetching.fetcher import decode_data_url, is_data_url
from serve.state import State
from serve.state.gallery import get_result
from serve.state.objects.names import media_type_of
from serve.vector.image import FIELD, ImageLimits
from serve.vector.image import check as check_picture

RESULT = "result_id"


async def keep_picture(url: str | None, result_id: str | None, state: State, request: Request) -> str:
    """The name of the object of a picture: ``url`` is a ``data:`` or ``https:`` URL, ``result_id`` a stored result.

    Raises as ``keep`` does, and InvalidRequest for a URL that may not be fetched.
    """
    if url is not None and result_id is not None:
        raise InvalidRequest(f"says the same as {FIELD}; send one of them", RESULT)
    if result_id is not None:
        with rename_fields({"id": RESULT, FIELD: RESULT}):
            await check_own(request, "result", [checked_id(result_id, "result")])
            stored = await get_result(state.database, result_id)
            return await keep(await state.objects.get(stored.object), state)
    if url is None:
        raise InvalidRequest("is required: a data: or https: URL, or name a result_id", FIELD)
    if not is_data_url(url):
        return await keep(await (await fetcher_of(request)).fetch_picture(url, FIELD), state)
    return await keep(
        await asyncio.to_thread(decode_data_url, url, state.settings.vectorizer.image.max_bytes, FIELD), state
    )


async def keep(data: bytes, state: State) -> str:
    """Raises TooLarge, UnsupportedMedia and BadImage for an unreadable picture, StateUnavailable, OutOfSpace."""
    limits = ImageLimits(**state.settings.vectorizer.image.model_dump())
    await asyncio.to_thread(check_picture, data, limits)
    return (await state.objects.put(data, media_type_of(data))).name
