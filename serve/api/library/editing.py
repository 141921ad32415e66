"""Edits of a stored picture (C-140): crop, turn, flip, resize, brightness, contrast, saturation; kept as a new one."""

from __future__ import annotations

import asyncio
import io
import math
import time
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from fastapi import APIRouter, Request, Response
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field, model_validator

from serve.api.http.models import Flag, Number, RequestModel, Whole, error_at, one_of
from serve.api.http.ownership import check_own
from serve.api.http.problems import render
from serve.api.http.stateful import StateOf
from serve.api.library.files import ConversionTurns
from serve.api.library.generations import GenerationInfo, generation_json
from serve.api.library.renditions import STORED_LIMITS, SVG, without_idle_alpha
from serve.api.native.conversion import SiteSettings
from serve.api.openapi.operation import UNKNOWN
from serve.ensembles.illustrator import provenance
from serve.ensembles.illustrator.encoding import DEFAULT_QUALITY, MEDIA_TYPES, Encoding, to_file
from serve.ensembles.illustrator.finishing.finishing import filtered
from serve.ensembles.illustrator.illustration import MAX_SIDE_PX, Pixels
from serve.ensembles.requests import File, Outcome
from serve.errors import InvalidRequest
from serve.jobs.records import HistoryEntry, completed_writes, object_store_items
from serve.security.limits.quotas import Quotas
from serve.state.gallery import get_generation, get_result
from serve.state.job_states import new_id
from serve.vector.image import read

router = APIRouter()

PICTURE_FORMATS = tuple(name for name in MEDIA_TYPES if name != "svg")
_FORMAT_OF = {media_type: name for name, media_type in MEDIA_TYPES.items()}
_LUMINANCE = (0.213, 0.715, 0.072)
MAX_FACTOR = 4.0


class Crop(RequestModel):
    """A box in pixels of the stored picture."""

    left: Annotated[Whole, Field(ge=0, le=MAX_SIDE_PX)]
    top: Annotated[Whole, Field(ge=0, le=MAX_SIDE_PX)]
    width: Annotated[Whole, Field(ge=1, le=MAX_SIDE_PX)]
    height: Annotated[Whole, Field(ge=1, le=MAX_SIDE_PX)]


Factor = Annotated[Number, Field(ge=0, le=MAX_FACTOR)]
Side = Annotated[Whole | None, Field(ge=1, le=MAX_SIDE_PX)]


class EditRequest(RequestModel):
    """The steps are applied in the order of the fields; at least one has to be given."""

    crop: Annotated[Crop | None, Field(description="Part of the picture that is kept.")] = None
    rotate: Annotated[
        Number,
        Field(
            ge=-360,
            le=360,
            description="Degrees clockwise. The picture grows to hold its corners; what is new is transparent.",
        ),
    ] = 0.0
    flip_horizontal: Annotated[Flag, Field(description="Left becomes right.")] = False
    flip_vertical: Annotated[Flag, Field(description="Top becomes bottom.")] = False
    width: Annotated[Side, Field(description="Pixels. With one side given the other keeps the proportions.")] = None
    height: Side = None
    brightness: Annotated[Factor, Field(description="1 changes nothing, 0 is black: as CSS's `brightness()`.")] = 1.0
    contrast: Annotated[Factor, Field(description="1 changes nothing, 0 is grey: as CSS's `contrast()`.")] = 1.0
    saturation: Annotated[
        Factor, Field(description="1 changes nothing, 0 is without colour: as CSS's `saturate()`.")
    ] = 1.0
    format: Annotated[
        Annotated[str, one_of(PICTURE_FORMATS)] | None,
        Field(description="That of the stored picture by default. JPEG has no transparency: white takes its place."),
    ] = None

    @model_validator(mode="after")
    def _changes_something(self) -> EditRequest:
        unchanged = self.model_dump(exclude={"rotate"}) == EditRequest.model_construct().model_dump(exclude={"rotate"})
        if unchanged and self.rotate % 360 == 0:
            raise error_at(type(self), "at least one edit is required, such as rotate or crop")
        return self


@dataclass(frozen=True)
class PictureEdit:
    """An edit as the history keeps it."""

    result_id: str
    prompt: str
    steps: dict[str, Any]
    kind: ClassVar[str] = "edit"

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "result_id": self.result_id, "options": self.steps}


@router.post(
    "/v1/results/{result_id}/edit",
    status_code=201,
    response_model=GenerationInfo,
    response_description="The edited picture, as a generation of its own",
    responses=UNKNOWN,
)
async def edit(
    body: EditRequest,
    request: Request,
    result_id: str,
    state: StateOf,
    turns: ConversionTurns,
    settings: SiteSettings,
) -> Response:
    """Edit a stored picture. The original stays as it is."""
    began = time.perf_counter()
    await check_own(request, "result", [result_id])
    stored = await get_result(state.database, result_id)
    user_id = stored.user_id  # the edit belongs to the owner of the picture, also where an administrator makes it
    await Quotas(state.database, state.settings.quotas).check_storage(user_id)
    if stored.media_type == SVG:
        raise InvalidRequest("is a drawing; get it as a picture with ?format=png, or edit its SVG", "result_id")
    name = body.format or _FORMAT_OF[stored.media_type]
    async with turns.slot():
        data = await state.objects.get(stored.object)
        edited, size = await asyncio.to_thread(_edited_file, data, body, Encoding(name, DEFAULT_QUALITY))
    file = File(edited, MEDIA_TYPES[name], *size, stored.seed)
    steps = body.model_dump(exclude_defaults=True)
    outcome = Outcome([file], {"edited_from": result_id}, stored.model, time.perf_counter() - began)
    entry = HistoryEntry(new_id(), user_id, PictureEdit(result_id, stored.prompt, steps))
    objects = await state.objects.put_all(object_store_items(outcome.files))
    writes, _ = completed_writes(entry, outcome, objects, [], outcome.generation_time_s, state.database.dialect)
    await state.database.write_batch(writes)
    return render(generation_json(await get_generation(state.database, entry.generation_id), settings), 201, None)


def _edited_file(data: bytes, body: EditRequest, encoding: Encoding) -> tuple[bytes, tuple[int, int]]:
    """The file, which keeps the metadata about how the picture was made, and its (width, height)."""
    pixels = without_idle_alpha(edited(read(data, STORED_LIMITS).rgba, body))
    with Image.open(io.BytesIO(data)) as image:
        texts = provenance.read(image)
    file = to_file(pixels, encoding, texts, generated=provenance.is_marked(data))
    return file, (pixels.shape[1], pixels.shape[0])


def edited(rgba: Pixels, body: EditRequest) -> Pixels:
    """``rgba``, shape (H, W, 4), after the steps of ``body``. Raises InvalidRequest naming the field."""
    image = Image.fromarray(_cropped(rgba, body.crop))
    image = _rotated(image, body.rotate % 360)
    if body.flip_horizontal:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if body.flip_vertical:
        image = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    size = _size(image.size, body.width, body.height)
    return _adjusted(filtered(np.asarray(image), size, Image.Resampling.LANCZOS), body)


def _cropped(rgba: Pixels, crop: Crop | None) -> Pixels:
    if crop is None:
        return rgba
    height, width = rgba.shape[:2]
    if crop.left + crop.width > width or crop.top + crop.height > height:
        raise InvalidRequest(f"reaches beyond the picture of {width}x{height} pixels", "crop")
    return np.ascontiguousarray(rgba[crop.top : crop.top + crop.height, crop.left : crop.left + crop.width])


def _rotated(image: Image.Image, degrees: float) -> Image.Image:
    """Clockwise; quarter turns move pixels without resampling."""
    quarters = {90.0: Image.Transpose.ROTATE_270, 180.0: Image.Transpose.ROTATE_180, 270.0: Image.Transpose.ROTATE_90}
    if degrees in quarters:
        return image.transpose(quarters[degrees])
    if degrees == 0:
        return image
    sine, cosine = abs(math.sin(math.radians(degrees))), abs(math.cos(math.radians(degrees)))
    wide, high = (
        math.ceil(image.width * one + image.height * other) for one, other in ((cosine, sine), (sine, cosine))
    )
    if max(wide, high) > MAX_SIDE_PX:
        raise InvalidRequest(f"makes the picture {wide}x{high}; at most {MAX_SIDE_PX} px", "rotate")
    return image.convert("RGBa").rotate(-degrees, Image.Resampling.BICUBIC, expand=True).convert("RGBA")


def _size(size: tuple[int, int], width: int | None, height: int | None) -> tuple[int, int]:
    if width is None and height is None:
        return size
    wide = width if width is not None else max(1, round(size[0] * (height or 0) / size[1]))
    high = height if height is not None else max(1, round(size[1] * wide / size[0]))
    for side, other in ((wide, "height"), (high, "width")):
        if side > MAX_SIDE_PX:
            raise InvalidRequest(f"makes the picture {wide}x{high}; at most {MAX_SIDE_PX} px", other)
    return wide, high


def _adjusted(rgba: Pixels, body: EditRequest) -> Pixels:
    """Brightness, contrast, saturation as of W3C Filter Effects Module 1, section 9.6, on sRGB values."""
    if body.brightness == body.contrast == body.saturation == 1.0:
        return rgba
    colour: NDArray[np.float32] = rgba[..., :3].astype(np.float32) / 255
    colour = np.clip(colour * body.brightness, 0, 1)
    colour = np.clip((colour - 0.5) * body.contrast + 0.5, 0, 1)
    grey = (colour @ np.asarray(_LUMINANCE, np.float32))[..., None]
    colour = np.clip(grey + (colour - grey) * body.saturation, 0, 1)
    result = rgba.copy()
    result[..., :3] = np.rint(colour * 255).astype(np.uint8)
    return result
