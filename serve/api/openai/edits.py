"""`POST /v1/images/edits` and `/v1/images/variations`: pictures from pictures.

An edit without a mask draws the whole picture anew with a part of the steps; with one, what is transparent in the mask.
Further pictures of an edit are references, where the model takes any; else 400 with the code ``unsupported_operation``,
which no client takes for a fault that passes. Ours on top of OpenAI's: ``strength``, ``fit``, ``mask_blur``,
``mask_fill``, ``mask_crop``, ``mask_crop_padding``, ``outpaint``, and the fields of generations.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request, Response, UploadFile
from pydantic import BaseModel, ConfigDict, Field

from serve.api.http.callers import CACHE_HEADER, CalledBy, DrawsDirectly
from serve.api.http.drawing import Order, family_for
from serve.api.http.fetching import PictureFetcher
from serve.api.http.input_pictures import PictureUseFields, input_picture, limits_of, mask_picture
from serve.api.http.models import validate
from serve.api.library.files import ConversionTurns
from serve.api.native.conversion import SiteSettings
from serve.api.openai.edits_request import MAX_IMAGES, SentPictures, check_pictures, fetched, read_edit
from serve.api.openai.image_models import ImagesBody, ImagesRequest, ImagesResponse, VariationFields
from serve.api.openai.images import respond
from serve.api.openapi.operation import bodies
from serve.ensembles.illustrator.adapters import ReferenceUse
from serve.ensembles.illustrator.encoding import Encoding
from serve.ensembles.illustrator.illustration import IllustrateOptions
from serve.ensembles.illustrator.picture_source import InputPicture, PictureSource
from serve.errors import InvalidRequest, UnsupportedMedia, UnsupportedOperation, rename_fields
from serve.security.fetching.fetcher import Fetcher
from serve.security.limits.admission_queue import AdmissionQueue
from serve.settings import Settings

router = APIRouter()

Picture = Annotated[
    UploadFile,
    Field(description="PNG, JPEG, WebP, AVIF, GIF, BMP, ICO or TIFF", json_schema_extra={"format": "binary"}),
]


class EditFields(PictureUseFields, ImagesBody):
    model_config = ConfigDict(json_schema_extra={})

    input_fidelity: Literal["high", "low"] | None = None


class EditForm(EditFields):
    image: Picture | None = None
    images: Annotated[list[Picture] | None, Field(alias="image[]", min_length=1, max_length=MAX_IMAGES)] = None
    mask: Annotated[
        Picture | None, Field(description="of the first picture's size; what is transparent is drawn anew")
    ] = None
    markup: Annotated[Picture | None, Field(description="as mask, and not with it")] = None


class ImageReference(BaseModel):
    image_url: Annotated[str, Field(description="https: or data:")]


class EditBody(EditFields):
    images: Annotated[list[ImageReference], Field(min_length=1, max_length=MAX_IMAGES)]
    mask: ImageReference | None = None
    markup: ImageReference | None = None


class VariationForm(VariationFields):
    image: Picture


VARIATION_STRENGTH = 0.7

_DRAWN: dict[str, Any] = {
    "response_model": ImagesResponse,
    "response_description": "What was drawn",
    "responses": {200: {"headers": CACHE_HEADER}},
}


@router.post(
    "/images/edits",
    openapi_extra=bodies({"multipart/form-data": EditForm, "application/json": EditBody}),
    **_DRAWN,
)
async def edit(
    request: Request,
    called_by: CalledBy,
    direct: DrawsDirectly,
    settings: SiteSettings,
    fetcher: PictureFetcher,
    turns: ConversionTurns,
) -> Response:
    """Edits of a picture: all of it, what a mask leaves open, or margins around it."""
    body = await read_edit(request, settings.limits)
    fields = validate(EditFields, body.values)
    families = await direct.families()
    if len(body.images) > 1:  # all but one are references
        families = sorted(families, key=lambda family: not family.takes_references)
    fields.parsed(families, settings.pictures.embed_metadata)  # what is wrong with a field costs no fetch
    image, mask, others = await _pictures(body, settings, fetcher, turns)
    parsed = fields.parsed(families, settings.pictures.embed_metadata, fields.source(image, mask))
    if others:
        family = family_for(families, parsed.order.options.model)
        field = body.images[1].field.partition("[")[0]
        if not family.takes_references:
            raise UnsupportedOperation(
                f"several pictures are references, which are not offered yet by model '{family.name}'; send one, or "
                "draw with /v1/images/generations",
                field,
            )
        with rename_fields({"references": field}):
            references = tuple(ReferenceUse(picture) for picture in others)
            options = replace(parsed.order.options, references=references)
        parsed = replace(parsed, order=replace(parsed.order, options=options))
    return await respond(parsed, request, called_by, direct, settings)


@router.post("/images/variations", openapi_extra=bodies({"multipart/form-data": VariationForm}), **_DRAWN)
async def vary(
    request: Request,
    called_by: CalledBy,
    direct: DrawsDirectly,
    settings: SiteSettings,
    fetcher: PictureFetcher,
    turns: ConversionTurns,
) -> Response:
    """Variations of a picture, drawn from it without a prompt."""
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise UnsupportedMedia("must be multipart/form-data", "Content-Type")
    body = await read_edit(request, settings.limits)
    if len(body.images) > 1 or body.all_pictures != body.images:
        raise InvalidRequest("a variation is of one picture, without mask and markup", "image")
    fields = validate(VariationFields, body.values)
    family = family_for(await direct.families(), fields.model)
    fields.drawn_size(family)
    image, _, _ = await _pictures(body, settings, fetcher, turns)
    source = PictureSource(image, strength=VARIATION_STRENGTH)
    width, height = fields.drawn_size(family, source)
    options = IllustrateOptions("", model=family.name, width=width, height=height, n=fields.n or 1, source=source)
    order = Order(options, Encoding(metadata=settings.pictures.embed_metadata), {"width": "size", "height": "size"})
    as_url = fields.response_format == "url"
    parsed = ImagesRequest(order, (width, height), family.num_inference_steps, "auto", as_url, None, fields.user)
    return await respond(parsed, request, called_by, direct, settings)


async def _pictures(
    body: SentPictures, settings: Settings, fetcher: Fetcher, turns: AdmissionQueue
) -> tuple[InputPicture, InputPicture | None, list[InputPicture]]:
    """The first picture, the mask or markup over it, and further pictures. Raises errors that name the client's
    field."""
    body = await fetched(body, fetcher, settings.limits)
    limits = limits_of(settings)
    sent = body.mask or body.markup
    async with turns.slot():
        await check_pictures(body, limits)
        image, *others = [await input_picture(one.data, one.field, limits) for one in body.images]
        if sent is None:
            return image, None, others
        mask = await mask_picture(sent.data, sent.field, limits, image, transparent=True)
        return image, mask, others
