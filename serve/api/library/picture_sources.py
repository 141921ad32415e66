"""The picture that a drawing of the native vocabulary starts from: sent, fetched, a stored result or a reference."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import Depends, Request

from serve.api.http.fetching import fetcher_of
from serve.api.http.input_pictures import PictureFields, input_picture, limits_of, mask_picture
from serve.api.http.ownership import check_own
from serve.api.http.stateful import state_of
from serve.api.jobs.dependencies import checked_id
from serve.api.library.files import turns_of
from serve.api.library.reference_store import SubjectReferenceManager
from serve.ensembles.illustrator.picture_source import PictureSource
from serve.errors import rename_fields
from serve.security.fetching.fetcher import decode_data_url, is_data_url
from serve.settings import Settings
from serve.state.gallery import get_result
from serve.state.objects import media_type_of


class PictureSources:
    """Of one request."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._settings: Settings = request.app.state.settings

    async def of(self, body: PictureFields, user_id: str) -> PictureSource | None:
        """The picture that ``body`` names, of ``user_id``; None if it names none.

        Raises InvalidRequest, TooLarge, UnsupportedMedia and BadImage naming the field as the client does, NotFound for
        what is not there or another user's, StateUnavailable on a site that stores nothing.
        """
        origin = body.origin()
        if origin is None:
            return None
        field, mask_field = body.client_name(origin), body.client_name("mask")
        value = str(getattr(body, origin))
        limits = limits_of(self._settings)
        if origin == "image":
            data = await self._sent(value, field)
        else:
            with rename_fields({"id": field}):
                data = await (self._result(value) if origin == "result_id" else self._reference(value, user_id))
        image = await input_picture(data, field, limits)
        if body.mask is None:
            return body.source(image, None)
        mask_data = await self._sent(body.mask, mask_field)
        turns = await turns_of(self._request)
        async with turns.slot():
            mask = await mask_picture(mask_data, mask_field, limits, image)
        return body.source(image, mask)

    async def _sent(self, url: str, field: str) -> bytes:
        if not is_data_url(url):
            return await (await fetcher_of(self._request)).fetch_picture(url, field)
        return await asyncio.to_thread(decode_data_url, url, self._settings.vectorizer.image.max_bytes, field)

    async def _result(self, result_id: str) -> bytes:
        state = await state_of(self._request)
        await check_own(self._request, "result", [checked_id(result_id, "result")])
        return await state.objects.get((await get_result(state.database, result_id)).object)

    async def _reference(self, reference_id: str, user_id: str) -> bytes:
        state = await state_of(self._request)
        reference = await SubjectReferenceManager(state).get(user_id, checked_id(reference_id, "reference"))
        return await state.objects.get(reference.object)


async def keep_pictures(source: PictureSource | None, request: Request) -> None:
    """Store the pictures of ``source``, before a job names them. Raises StateUnavailable, OutOfSpace."""
    if source is None:
        return
    state = await state_of(request)
    for picture in source.pictures:
        await state.objects.put(picture.data, media_type_of(picture.data))


async def sources_of(request: Request) -> PictureSources:
    return PictureSources(request)


SourcesOf = Annotated[PictureSources, Depends(sources_of)]
