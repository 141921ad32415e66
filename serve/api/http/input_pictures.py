"""Pictures to draw from, as requests of all vocabularies carry them: the fields, and bytes as `InputPicture`.

A mask becomes grey, white where the picture is drawn anew, whatever the vocabulary says with it, so that equal requests
are equal.
"""

from __future__ import annotations

import asyncio
import io
import re
from typing import Annotated, Any, ClassVar

import numpy as np
from PIL import Image
from pydantic import BeforeValidator, Field

from serve.api.http.models import Flag, Number, RequestModel, Text, Whole, one_of, parse_object
from serve.diffusion.canvas import FITS, resized
from serve.ensembles.illustrator.picture_source import (
    DEFAULT_STRENGTH,
    FILLS,
    MAX_BLUR_PX,
    MAX_MARGIN_PX,
    MAX_PADDING_PX,
    SIDES,
    InputPicture,
    Margins,
    PictureSource,
)
from serve.errors import InvalidRequest, rename_fields
from serve.settings import Settings
from serve.state.objects.names import media_type_of, name_of
from serve.vector.image import FIELD, ImageLimits, measure, read

_SIDE = re.compile(r"\s*(left|top|right|bottom)\s*=\s*(\d{1,6})\s*", re.ASCII)

Strength = Annotated[
    Number,
    Field(
        gt=0,
        le=1,
        description=f"share of the steps that are done; {DEFAULT_STRENGTH:g} by default, 1 with a mask or outpaint",
    ),
]
_Margin = Annotated[Whole, Field(ge=0, le=MAX_MARGIN_PX)]


class OutpaintFields(RequestModel):
    """Pixels that are added on each side."""

    left: _Margin = 0
    top: _Margin = 0
    right: _Margin = 0
    bottom: _Margin = 0


def parse_outpaint(value: Any) -> Any:
    """``left=64,top=8`` as an object, and JSON text as what it says."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("{"):
        return parse_object(value)
    sides = [_SIDE.fullmatch(part) for part in value.split(",", len(SIDES))]
    pairs = [(side[1], int(side[2])) for side in sides if side is not None]
    if len(pairs) < len(sides) or len(dict(pairs)) < len(pairs):
        raise ValueError("must be sides and pixels, such as left=64,right=64")
    return dict(pairs)


class NamedFields(RequestModel):
    """A request model whose errors name fields as the client does."""

    @classmethod
    def client_name(cls, name: str) -> str:
        return cls.model_fields[name].alias or name


class PictureUseFields(NamedFields):
    """How a picture is drawn from."""

    strength: Strength | None = None
    fit: Annotated[
        str, one_of(FITS), Field(description="how a picture of another shape becomes width x height")
    ] | None = None  # fmt: skip
    mask_blur: Annotated[
        Whole, Field(ge=0, le=MAX_BLUR_PX, description="radius of the soft seam in pixels; 4 by default")
    ] | None = None  # fmt: skip
    mask_fill: Annotated[
        str, one_of(FILLS), Field(description="what is under the mask before the first step")
    ] | None = None  # fmt: skip
    mask_crop: Annotated[
        Flag, Field(description="draw the masked part alone, at width x height, and paste it back")
    ] | None = None  # fmt: skip
    mask_crop_padding: Annotated[
        Whole, Field(ge=0, le=MAX_PADDING_PX, description="pixels around the masked part that are drawn with it")
    ] | None = None  # fmt: skip
    outpaint: Annotated[
        OutpaintFields | None,
        BeforeValidator(parse_outpaint),
        Field(description="pixels to add on each side; in forms such as left=64,right=64"),
    ] = None

    def source(self, image: InputPicture, mask: InputPicture | None) -> PictureSource:
        """Raises InvalidRequest naming the field as the client does."""
        names = ("strength", "fit", "mask_blur", "mask_fill", "mask_crop", "mask_crop_padding")
        values = {name: value for name in names if (value := getattr(self, name)) is not None}
        if self.outpaint is not None:
            values["outpaint"] = Margins(**self.outpaint.model_dump())
        with rename_fields({name: self.client_name(name) for name in (*names, "outpaint")}):
            return PictureSource(image, mask, **values)


class PictureOriginFields(NamedFields):
    """A picture, in one of three ways."""

    image: Annotated[Text | None, Field(description="a data: URL in base64, or the https: address of a picture")] = None
    result_id: Annotated[Text | None, Field(description="a stored result in place of image")] = None
    reference_id: Annotated[Text | None, Field(description="a stored subject reference in place of image")] = None

    origins: ClassVar[tuple[str, ...]] = ("image", "result_id", "reference_id")
    uses: ClassVar[tuple[str, ...]] = ()

    def origin(self) -> str | None:
        """Which of ``origins`` names the picture. Raises InvalidRequest for two, and for a use without a picture."""
        named = [name for name in self.origins if getattr(self, name) is not None]
        if len(named) > 1:
            first, second = (self.client_name(name) for name in named[:2])
            raise InvalidRequest(f"says the same as {first}; send one of them", second)
        if named:
            return named[0]
        for name in self.uses:
            if getattr(self, name) is not None:
                raise InvalidRequest("needs a picture; send image too", self.client_name(name))
        return None


class PictureFields(PictureUseFields, PictureOriginFields):
    """The picture that a drawing starts from, and how it is used."""

    mask: Annotated[
        Text | None,
        Field(description="as image, and of its size: what is white is drawn anew, grey with that share of the steps"),
    ] = None

    uses: ClassVar = (
        "mask", "strength", "fit", "mask_blur", "mask_fill", "mask_crop", "mask_crop_padding", "outpaint",
    )  # fmt: skip


def limits_of(settings: Settings) -> ImageLimits:
    return ImageLimits(**settings.vectorizer.image.model_dump())


async def input_picture(data: bytes, field: str, limits: ImageLimits) -> InputPicture:
    """Raises TooLarge, UnsupportedMedia and BadImage naming ``field``, as far as the header shows it."""
    return await asyncio.to_thread(_input_picture, data, field, limits)


def _input_picture(data: bytes, field: str, limits: ImageLimits) -> InputPicture:
    with rename_fields({FIELD: field}):
        size = measure(data, limits)
    return InputPicture(name_of(data, media_type_of(data)), size.width, size.height, data)


async def mask_picture(
    data: bytes,
    field: str,
    limits: ImageLimits,
    image: InputPicture | None,
    *,
    transparent: bool = False,
    invert: bool = False,
    any_size: bool = False,
) -> InputPicture:
    """The mask over ``image``, or at its own size without one.

    ``transparent``: what is transparent is drawn anew, in place of what is white. ``any_size``: a mask of another size
    is scaled. Raises as `input_picture` does, and InvalidRequest naming ``field`` for another size or an empty mask.
    """

    def convert() -> InputPicture:
        with rename_fields({FIELD: field}):
            rgba = read(data, limits).rgba
        size = rgba.shape[1], rgba.shape[0]
        wanted = size if image is None else (image.width, image.height)
        if size != wanted and not any_size:
            what = f"is {size[0]} x {size[1]} px, and the picture {wanted[0]} x {wanted[1]}"
            raise InvalidRequest(f"{what}: they must be the same", field)
        grey = 255 - rgba[..., 3] if transparent else np.asarray(Image.fromarray(rgba).convert("RGB").convert("L"))
        grey = resized(np.ascontiguousarray(255 - grey if invert else grey), wanted)
        if not grey.any():
            raise InvalidRequest("is empty: nothing would be drawn anew", field)
        file = io.BytesIO()
        Image.fromarray(grey).save(file, "PNG", compress_level=1)
        content = file.getvalue()
        return InputPicture(name_of(content, "image/png"), *wanted, content)

    return await asyncio.to_thread(convert)
