"""``img2img``: pictures from a picture, with a mask that is white where it is drawn anew."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import ConfigDict, FailFast, Field

from serve.api.a1111.drawing import respond
from serve.api.a1111.drawing_models import (
    DENOISING_STRENGTH,
    IMG2IMG_DEFAULTS,
    MAX_INIT_IMAGES,
    Txt2ImgRequest,
    Txt2ImgResponse,
)
from serve.api.a1111.models import BASE64, OrEmpty, OrNone, Picture
from serve.api.a1111.pictures import content_of
from serve.api.a1111.progress_registry import ProgressRegistryOf
from serve.api.http.bodies import CappedRoute
from serve.api.http.callers import CACHE_HEADER, CallerOf, DrawsDirectly
from serve.api.http.input_pictures import input_picture, limits_of, mask_picture
from serve.api.http.models import Flag, Number, Whole
from serve.api.library.files import ConversionTurns
from serve.api.native.conversion import SiteSettings
from serve.ensembles.illustrator.picture_source import MAX_BLUR_PX, MAX_PADDING_PX, PictureSource
from serve.errors import NotFound, Unsupported, rename_fields

router = APIRouter(prefix="/sdapi/v1", route_class=CappedRoute)

_FITS = ("stretch", "crop", "pad", "stretch")
"""By ``resize_mode``: just resize, crop and resize, resize and fill, just resize (of latents)."""
_FILLS = ("surroundings", "original", "noise", "empty")
"""By ``inpainting_fill``."""
_NAMES = {
    "strength": "denoising_strength", "fit": "resize_mode", "mask_fill": "inpainting_fill",
    "mask_crop": "inpaint_full_res", "mask_crop_padding": "inpaint_full_res_padding",
}  # fmt: skip


class Img2ImgRequest(Txt2ImgRequest):
    model_config = ConfigDict(
        json_schema_extra={
            "required": ["init_images"],
            "examples": [{"init_images": [BASE64], "prompt": "red apple, flat", "denoising_strength": 0.6}],
        }
    )

    init_images: Annotated[list[Picture], FailFast(), Field(max_length=MAX_INIT_IMAGES), OrEmpty] = Field(
        default_factory=list
    )
    mask: Annotated[Picture | None, Field(description="white where the picture is drawn anew"), OrNone] = None
    denoising_strength: Annotated[
        Number, Field(gt=0, le=1, description="share of the steps that are done")
    ] = DENOISING_STRENGTH  # fmt: skip
    resize_mode: Annotated[
        Whole, Field(ge=0, le=3, description="0: stretch, 1: crop, 2: fill, 3: as 0")
    ] = 0  # fmt: skip
    mask_blur: Annotated[Whole, Field(ge=0, le=MAX_BLUR_PX, description="radius of the seam in pixels")] = 4
    inpainting_fill: Annotated[
        Whole, Field(ge=0, le=3, description="under the mask: 0: colours around, 1: the picture, 2: noise, 3: nothing")
    ] = 0  # fmt: skip
    inpaint_full_res: Annotated[Flag, Field(description="draw the masked part alone and paste it back")] = True
    inpaint_full_res_padding: Annotated[Whole, Field(ge=0, le=MAX_PADDING_PX, description="pixels")] = 0
    inpainting_mask_invert: Annotated[Whole, Field(ge=0, le=1, description="1: what is black is drawn anew")] = 0
    include_init_images: Flag = False


@router.post(
    "/img2img",
    response_model=Txt2ImgResponse,
    response_description="What was drawn",
    responses={200: {"headers": CACHE_HEADER}, 499: {}, 501: {}},
)
async def img2img(
    body: Img2ImgRequest,
    request: Request,
    caller: CallerOf,
    direct: DrawsDirectly,
    registry: ProgressRegistryOf,
    settings: SiteSettings,
    turns: ConversionTurns,
) -> Response:
    """Pictures from a picture."""
    if not body.init_images:
        raise NotFound("Init image not found")
    if len(body.init_images) > 1:
        raise Unsupported("several pictures at once are not offered yet; send one", "init_images")
    limits = limits_of(settings)
    image_data = await asyncio.to_thread(content_of, body.init_images[0], "init_images", settings)
    image = await input_picture(image_data, "init_images", limits)
    mask = None
    if body.mask is not None:
        mask_data = await asyncio.to_thread(content_of, body.mask, "mask", settings)
        async with turns.slot():
            invert = bool(body.inpainting_mask_invert)
            mask = await mask_picture(mask_data, "mask", limits, image, invert=invert, any_size=True)
    with rename_fields(_NAMES):
        source = PictureSource(
            image,
            mask,
            strength=body.denoising_strength,
            fit=_FITS[body.resize_mode],
            mask_blur=body.mask_blur,
            mask_fill=_FILLS[body.inpainting_fill],
            mask_crop=body.inpaint_full_res and mask is not None,
            mask_crop_padding=body.inpaint_full_res_padding,
        )
    values = {**IMG2IMG_DEFAULTS, **await request.json()}
    if not body.include_init_images:
        values |= {"init_images": None, "mask": None}
    return await respond(body, values, source, caller, direct, registry, settings)
