"""``extra-single-image``, ``extra-batch-images`` and ``upscalers``: pictures enlarged, with faces restored."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter
from PIL import Image
from pydantic import ConfigDict, FailFast, Field

from serve.api.a1111 import models
from serve.api.a1111.models import BASE64, LenientModel, OrEmpty, OrNone, Picture
from serve.api.a1111.pictures import content_of
from serve.api.http.bodies import CappedRoute
from serve.api.http.callers import CallerOf, Directly, DrawsDirectly
from serve.api.http.finishing import finishing_request
from serve.api.http.input_pictures import input_picture, limits_of
from serve.api.http.models import Flag, Number, Text, Whole
from serve.api.native.conversion import SiteSettings
from serve.ensembles.illustrator.encoding import TRANSPARENT, Encoding, as_base64, to_file
from serve.ensembles.illustrator.finishing.finish import MAX_UPSCALE, Finish, UpscalerInfo
from serve.ensembles.illustrator.finishing.finishing import FILTERS
from serve.ensembles.illustrator.service import FamilyInfo
from serve.errors import InvalidRequest, rename_fields
from serve.jobs.direct.direct_request import Caller
from serve.jobs.direct.service import DirectService
from serve.settings import Settings

router = APIRouter(prefix="/sdapi/v1", route_class=CappedRoute)

NONE = "None"
MAX_BATCH = 16
_FILTERS = {"Nearest": "nearest", "Lanczos": "lanczos"}
"""That project's names of upscalers without an engine."""
_MAX_SIDE = 16_384
_NAMES = {"upscale": "upscaling_resize", "upscaler": "upscaler_1"}


class ExtrasFields(LenientModel):
    resize_mode: Annotated[Whole, Field(ge=0, le=1, description="0: upscaling_resize, 1: to a size")] = 0
    upscaling_resize: Annotated[Number, Field(ge=1, le=MAX_UPSCALE)] = 2.0
    upscaling_resize_w: Annotated[Whole, Field(ge=0, le=_MAX_SIDE)] = 512
    upscaling_resize_h: Annotated[Whole, Field(ge=0, le=_MAX_SIDE)] = 512
    upscaling_crop: Annotated[Flag, Field(description="of resize_mode 1: cut to the size")] = True
    upscaler_1: Annotated[Text, Field(max_length=128, description="one of GET upscalers")] = NONE
    upscaler_2: Annotated[Text, Field(max_length=128, description="has no effect")] = NONE
    extras_upscaler_2_visibility: Annotated[Number, Field(ge=0, le=1, description="has no effect")] = 0.0
    gfpgan_visibility: Annotated[Number, Field(ge=0, le=1, description="above 0: faces are restored")] = 0.0
    codeformer_visibility: Annotated[Number, Field(ge=0, le=1, description="above 0: faces are restored")] = 0.0
    codeformer_weight: Annotated[Number, Field(ge=0, le=1, description="has no effect")] = 0.0


class ExtraImageRequest(ExtrasFields):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"image": BASE64, "upscaler_1": "Lanczos", "upscaling_resize": 2}]}
    )

    image: Picture


class NamedPicture(LenientModel):
    data: Picture
    name: Annotated[Text | None, OrNone] = None


class ExtraBatchRequest(ExtrasFields):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"imageList": [{"data": BASE64, "name": "a.png"}], "upscaler_1": "Lanczos"}]}
    )

    image_list: Annotated[list[NamedPicture], FailFast(), Field(alias="imageList", max_length=MAX_BATCH), OrEmpty] = (
        Field(default_factory=list)
    )


@dataclass(frozen=True)
class UpscalerChoice:
    """``upscaler`` of `Finish`; ``is_none``: the client chose to enlarge with nothing."""

    upscaler: str | None
    is_none: bool = False


def upscaler_named(name: str | None, upscalers: Sequence[UpscalerInfo], field: str) -> UpscalerChoice:
    """By that project's names or our own; ``Latent`` and an empty name are the site's own. Raises InvalidRequest."""
    if name in (None, "") or str(name).startswith("Latent"):
        return UpscalerChoice(None if upscalers else "lanczos")
    if name == NONE:
        return UpscalerChoice("nearest", is_none=True)
    known = {**_FILTERS, **{one: one for one in FILTERS}, **{one.name: one.name for one in upscalers}}
    if name not in known:
        raise InvalidRequest(f"must be one of {', '.join([NONE, *_FILTERS, *(one.name for one in upscalers)])}", field)
    return UpscalerChoice(known[str(name)])


def upscalers_of(families: Sequence[FamilyInfo]) -> Sequence[UpscalerInfo]:
    return families[0].upscalers if families else ()


@router.get("/upscalers", response_model=list[models.UpscalerItem], response_description="None is the first")
async def list_upscalers(direct: Directly) -> list[dict[str, Any]]:
    """Upscalers: filters, and the engines of this site."""
    engines = [(one.name, one.scale) for one in upscalers_of(await direct.families())]
    named = [(NONE, 1), *((name, 4) for name in _FILTERS), *engines]
    return [
        {"name": name, "model_name": None, "model_path": None, "model_url": None, "scale": scale}
        for name, scale in named
    ]


@router.post(
    "/extra-single-image",
    response_model=models.UpscaledResponse,
    response_description="The picture, larger",
    responses={501: {}},
)
async def extra_single_image(
    body: ExtraImageRequest, caller: CallerOf, direct: DrawsDirectly, settings: SiteSettings
) -> dict[str, Any]:
    """A larger picture."""
    return {"html_info": "", "image": await _finished(body, body.image, "image", caller, direct, settings)}


@router.post(
    "/extra-batch-images",
    response_model=models.UpscaledBatchResponse,
    response_description="The pictures, larger",
    responses={501: {}},
)
async def extra_batch_images(
    body: ExtraBatchRequest, caller: CallerOf, direct: DrawsDirectly, settings: SiteSettings
) -> dict[str, Any]:
    """Larger pictures."""
    if not body.image_list:
        raise InvalidRequest("is required: the pictures to enlarge", "imageList")
    images = [
        await _finished(body, one.data, f"imageList[{i}].data", caller, direct, settings)
        for i, one in enumerate(body.image_list)
    ]
    return {"html_info": "", "images": images}


async def _finished(
    body: ExtrasFields, picture: str, field: str, caller: Caller, direct: DirectService, settings: Settings
) -> str:
    data = await asyncio.to_thread(content_of, picture, field, settings)
    image = await input_picture(data, field, limits_of(settings))
    size = image.width, image.height
    choice = upscaler_named(body.upscaler_1, upscalers_of(await direct.families()), "upscaler_1")
    scale, crop = _scale(body, size)
    restores = body.gfpgan_visibility > 0 or body.codeformer_visibility > 0
    if choice.is_none:
        scale = 1.0
    faces = "gfpgan_visibility" if body.gfpgan_visibility else "codeformer_visibility"
    with rename_fields({**_NAMES, "restore_faces": faces}):
        finish = Finish(scale, choice.upscaler if scale > 1 else None, restore_faces=restores)
        if not finish:  # as that project does: the picture as it came
            return as_base64(data)
        encoding = Encoding(metadata=False, mark=False, background=TRANSPARENT)
        answer = await direct.draw(finishing_request(image, finish, encoding), caller)
    result = answer.files[0].data
    return as_base64(await asyncio.to_thread(_cropped, result, crop) if crop is not None else result)


def _scale(body: ExtrasFields, size: tuple[int, int]) -> tuple[float, tuple[int, int] | None]:
    """How much larger, and the size to cut to. Raises InvalidRequest naming the key."""
    if body.resize_mode == 0:
        return body.upscaling_resize, None
    wanted = body.upscaling_resize_w, body.upscaling_resize_h
    if 0 in wanted:
        raise InvalidRequest("must be above 0 with resize_mode 1", "upscaling_resize_w")
    scales = wanted[0] / size[0], wanted[1] / size[1]
    scale = max(scales) if body.upscaling_crop else min(scales)
    if not 1 <= scale <= MAX_UPSCALE:
        raise InvalidRequest(
            f"makes the picture {scale:.3g} times as large; 1 to {MAX_UPSCALE:g} are offered", "upscaling_resize_w"
        )
    return scale, wanted if body.upscaling_crop else None


def _cropped(png: bytes, size: tuple[int, int]) -> bytes:
    """The middle of a picture, at most ``size``."""
    image = Image.open(io.BytesIO(png))
    left, top = max(0, (image.width - size[0]) // 2), max(0, (image.height - size[1]) // 2)
    middle = image.crop((left, top, min(image.width, left + size[0]), min(image.height, top + size[1])))
    return to_file(np.asarray(middle), Encoding())
