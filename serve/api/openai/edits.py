"""`POST /v1/images/edits` and `/v1/images/variations`: pictures from pictures.

What draws here draws from a prompt alone. So requests are read and checked as if they were done, and what is right is
refused in words that no client takes for a fault that passes: 400 with the code ``unsupported_operation``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request, Response, UploadFile
from pydantic import BaseModel, ConfigDict, Field

from serve.api.http.callers import DrawsDirectly
from serve.api.http.drawing import family_for
from serve.api.http.fetching import PictureFetcher
from serve.api.http.models import validate
from serve.api.library.files import ConversionTurns
from serve.api.native.conversion import SiteSettings
from serve.api.openai.edits_request import MAX_IMAGES, SentPictures, check_pictures, fetched, read_edit
from serve.api.openai.image_models import ImagesBody, ImagesResponse, VariationFields
from serve.api.openapi.operation import bodies
from serve.errors import InvalidRequest, UnsupportedMedia, UnsupportedOperation
from serve.security.fetching.fetcher import Fetcher
from serve.security.limits.admission_queue import AdmissionQueue
from serve.settings import Settings
from serve.vector.image import ImageLimits

router = APIRouter()

Picture = Annotated[
    UploadFile,
    Field(description="PNG, JPEG, WebP, GIF, BMP or TIFF", json_schema_extra={"format": "binary"}),
]


class EditFields(ImagesBody):
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


_NOT_YET: dict[str, Any] = {
    "response_model": ImagesResponse,
    "response_description": "Not answered yet: what generations answers",
}


@router.post(
    "/images/edits",
    openapi_extra=bodies({"multipart/form-data": EditForm, "application/json": EditBody}),
    **_NOT_YET,
)
async def edit(
    request: Request, direct: DrawsDirectly, settings: SiteSettings, fetcher: PictureFetcher, turns: ConversionTurns
) -> Response:
    """Edits of pictures. Read and checked, then refused: no model here draws from a picture yet."""
    body = await read_edit(request, settings.limits)
    validate(EditFields, body.values).parsed(await direct.families(), settings.pictures.embed_metadata)
    await _check(body, settings, fetcher, turns)
    raise UnsupportedOperation(
        "no model here draws from a picture yet (image-to-image and inpainting are missing); "
        "/v1/images/generations draws from a prompt",
        body.images[0].field.partition("[")[0],
    )


@router.post("/images/variations", openapi_extra=bodies({"multipart/form-data": VariationForm}), **_NOT_YET)
async def vary(
    request: Request, direct: DrawsDirectly, settings: SiteSettings, fetcher: PictureFetcher, turns: ConversionTurns
) -> Response:
    """Variations of a picture. Read and checked, then refused, as at OpenAI since it retired the models that did it."""
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise UnsupportedMedia("must be multipart/form-data", "Content-Type")
    body = await read_edit(request, settings.limits)
    if len(body.images) > 1 or body.all_pictures != body.images:
        raise InvalidRequest("a variation is of one picture, without mask and markup", "image")
    validate(VariationFields, body.values).drawn_size(family_for(await direct.families(), None))
    await _check(body, settings, fetcher, turns)
    raise UnsupportedOperation(
        "no model here makes variations of a picture; /v1/images/generations draws from a prompt", "image"
    )


async def _check(body: SentPictures, settings: Settings, fetcher: Fetcher, turns: AdmissionQueue) -> None:
    body = await fetched(body, fetcher, settings.limits)
    async with turns.slot():
        await check_pictures(body, ImageLimits(**settings.vectorizer.image.model_dump()))
