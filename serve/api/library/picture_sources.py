"""The pictures of a drawing of the native vocabulary: sent, fetched, a stored result or a reference."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import Depends, Request

from serve.api.http.drawing import SizedDrawingFields
from serve.api.http.fetching import fetcher_of
from serve.api.http.guides import PictureChoice
from serve.api.http.input_pictures import (
    PictureFields,
    PictureOriginFields,
    input_picture,
    limits_of,
    mask_picture,
)
from serve.api.http.ownership import check_own
from serve.api.http.stateful import state_of
from serve.api.jobs.dependencies import checked_id
from serve.api.library.files import turns_of
from serve.api.library.reference_store import SubjectReferenceManager
from serve.api.library.renditions import may_be_svg, rasterised
from serve.ensembles.illustrator.illustration import IllustrateOptions
from serve.ensembles.illustrator.picture_source import InputPicture, PictureSource
from serve.errors import rename_fields
from serve.security.fetching.fetcher import decode_data_url, is_data_url
from serve.security.sanitising.svg import FIELD as IMAGE
from serve.settings import Settings
from serve.state.gallery import get_result
from serve.state.objects.names import media_type_of

SHOWN_SIDE_PX = 768
"""Longer side of the pixels of an SVG that is looked at."""


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
        image = await self.picture(body, user_id)
        if image is None:
            return None
        if body.mask is None:
            return body.source(image, None)
        return body.source(image, await self.mask(body.mask, body.client_name("mask"), image))

    async def mask(self, url: str, field: str, image: InputPicture | None) -> InputPicture:
        """The mask at ``url``, which has the size of ``image``, or any without one. Raises as `of` does."""
        data = await self._sent(url, field)
        turns = await turns_of(self._request)
        async with turns.slot():
            return await mask_picture(data, field, limits_of(self._settings), image)

    async def picture(self, body: PictureOriginFields, user_id: str) -> InputPicture | None:
        """The picture itself, without mask. Raises as `of` does."""
        origin = body.origin()
        if origin is None:
            return None
        return await self._chosen(origin, str(getattr(body, origin)), body.client_name(origin), user_id)

    async def shown(self, body: PictureOriginFields, user_id: str) -> InputPicture | None:
        """A picture to look at, or the pixels of an SVG, which nothing is drawn from. Raises as `of` does."""
        origin = body.origin()
        if origin is None:
            return None
        field = body.client_name(origin)
        data = await self._content(origin, str(getattr(body, origin)), field, user_id)
        if may_be_svg(data):
            turns = await turns_of(self._request)
            with rename_fields({IMAGE: field}):
                async with turns.slot():
                    data = await rasterised(data, SHOWN_SIDE_PX)
        return await input_picture(data, field, limits_of(self._settings))

    async def options(self, body: SizedDrawingFields, user_id: str) -> dict[str, Any]:
        """The arguments of `IllustrateOptions` that come from pictures and places: ``source``, and those of
        `GuidedFields.guides`.

        Raises as `of` does.
        """
        return {"source": await self.of(body, user_id), **await body.guides(_UserPictures(self, user_id))}

    async def chosen(self, choice: PictureChoice, at: str, user_id: str) -> InputPicture:
        """The picture of a control or a reference, whose fields are below ``at``. Raises as `of` does."""
        with rename_fields({name: f"{at}.{name}" for name in choice.origins}):
            origin = choice.chosen_origin()
        return await self._chosen(origin, str(getattr(choice, origin)), f"{at}.{origin}", user_id)

    async def subject(self, named: str, field: str, user_id: str) -> InputPicture:
        """The picture at a URL, or the user's newest reference of a name."""
        is_url = is_data_url(named) or named.startswith("https:")
        return await self._chosen("image" if is_url else "subject", named, field, user_id)

    async def _chosen(self, origin: str, value: str, field: str, user_id: str) -> InputPicture:
        data = await self._content(origin, value, field, user_id)
        return await input_picture(data, field, limits_of(self._settings))

    async def _content(self, origin: str, value: str, field: str, user_id: str) -> bytes:
        if origin == "image":
            return await self._sent(value, field)
        with rename_fields({"id": field, "subject_name": field}):
            if origin == "result_id":
                return await self._result(value)
            return await (self._newest if origin == "subject" else self._reference)(value, user_id)

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

    async def _newest(self, subject_name: str, user_id: str) -> bytes:
        state = await state_of(self._request)
        reference = await SubjectReferenceManager(state).get_subject_reference(user_id, subject_name)
        return await state.objects.get(reference.object)


class _UserPictures:
    """`PictureReader` of a user's request."""

    def __init__(self, sources: PictureSources, user_id: str) -> None:
        self._sources, self._user_id = sources, user_id

    async def picture(self, choice: PictureChoice, at: str) -> InputPicture:
        return await self._sources.chosen(choice, at, self._user_id)

    async def mask(self, url: str, field: str) -> InputPicture:
        return await self._sources.mask(url, field, None)


async def keep_pictures(options: IllustrateOptions, request: Request) -> None:
    """Store the pictures of ``options``, before a job names them. Raises StateUnavailable, OutOfSpace."""
    if not options.input_pictures:
        return
    state = await state_of(request)
    for picture in options.input_pictures:
        await state.objects.put(picture.data, media_type_of(picture.data))


async def sources_of(request: Request) -> PictureSources:
    return PictureSources(request)


SourcesOf = Annotated[PictureSources, Depends(sources_of)]
