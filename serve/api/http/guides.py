"""Control pictures and references of drawing requests: the fields, and how their pictures are read.

The native vocabulary reads them as `serve.api.library.picture_sources` says; others take the pictures themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Protocol

from pydantic import FailFast, Field

from serve.api.http.input_pictures import PictureOriginFields, input_picture, mask_picture
from serve.api.http.models import FORM_LIST, Number, RequestModel, Text, one_of
from serve.diffusion.canvas import FITS
from serve.diffusion.controls import NONE, PREPROCESSORS
from serve.ensembles.illustrator.adapters import (
    MAX_PICTURES_EACH,
    MAX_SCALE,
    ControlUse,
    ReferenceUse,
)
from serve.ensembles.illustrator.picture_source import InputPicture
from serve.errors import InvalidRequest, rename_fields
from serve.security.fetching.fetcher import decode_data_url
from serve.vector.image import ImageLimits

MAX_NAME = 128
Scale = Annotated[Number, Field(ge=0, le=MAX_SCALE)]
Share = Annotated[Number, Field(ge=0, le=1)]


class PictureChoice(PictureOriginFields):
    """One picture, which has to be there."""

    def chosen_origin(self) -> str:
        """Which of ``origins`` names the picture. Raises InvalidRequest for none and for two."""
        origin = self.origin()
        if origin is None:
            raise InvalidRequest(f"is required; or one of {', '.join(self.origins[1:])}", "image")
        return origin


class ControlFields(PictureChoice):
    """A ControlNet and the picture that it follows."""

    type: Annotated[
        Text, Field(min_length=1, max_length=64, description="one of the model's ControlNets", examples=["canny"])
    ]
    preprocessor: Annotated[
        str, one_of(PREPROCESSORS), Field(description="what makes the control picture of the image; none: it is one")
    ] = NONE
    scale: Scale = 1.0
    start: Annotated[Share, Field(description="share of the steps from which on it acts")] = 0.0
    end: Annotated[Share, Field(description="and up to which")] = 1.0
    fit: Annotated[str, one_of(FITS)] = "crop"

    def use(self, picture: InputPicture) -> ControlUse:
        return ControlUse(self.type, picture, self.preprocessor, self.scale, self.start, self.end, self.fit)


class RegionReferenceFields(PictureChoice):
    """A picture of what is drawn again."""

    subject: Annotated[
        Text | None,
        Field(max_length=MAX_NAME, description="the user's newest reference of that name, in place of image"),
    ] = None
    weight: Scale = 1.0
    scale: Annotated[Scale, Field(description="of the attention layers that the two below do not name")] = 0.6
    style_scale: Annotated[Scale | None, Field(description="of up block 0, which decides on style in SDXL")] = None
    content_scale: Annotated[Scale | None, Field(description="of down block 2, which decides on layout")] = None

    origins: ClassVar[tuple[str, ...]] = ("image", "result_id", "reference_id", "subject")

    def use(self, picture: InputPicture, mask: InputPicture | None = None) -> ReferenceUse:
        return ReferenceUse(picture, self.weight, self.scale, self.style_scale, self.content_scale, mask)


class ReferenceFields(RegionReferenceFields):
    """A picture of what is drawn again, in the whole drawing or where its mask is."""

    mask: Annotated[
        Text | None,
        Field(description="as the drawing's mask, of any size: it acts where that is white, in part where it is grey"),
    ] = None


class GuideFields(RequestModel):
    """Pictures that guide a drawing, beside the one that it starts from."""

    controls: Annotated[
        list[ControlFields] | None,
        FailFast(),
        Field(max_length=MAX_PICTURES_EACH, description="ControlNets, stacked"),
        FORM_LIST,
    ] = None
    references: Annotated[
        list[ReferenceFields] | None,
        FailFast(),
        Field(max_length=MAX_PICTURES_EACH, description="what is drawn again, by the model's IP-Adapter"),
        FORM_LIST,
    ] = None


class PictureReader(Protocol):
    """Reads the pictures of one request. Raises errors that name ``field`` or the origin below ``at``."""

    async def picture(self, choice: PictureChoice, at: str) -> InputPicture: ...
    async def mask(self, url: str, field: str) -> InputPicture: ...


async def read_uses(
    guides: Sequence[ControlFields | RegionReferenceFields] | None, field: str, reader: PictureReader
) -> tuple[Any, ...]:
    """The controls or references of ``field`` with their pictures. Raises InvalidRequest naming the field at fault."""
    found: list[ControlUse | ReferenceUse] = []
    for i, guide in enumerate(guides or ()):
        at = f"{field}[{i}]"
        picture = await reader.picture(guide, at)
        with rename_fields({name: f"{at}.{name}" for name in _USE_NAMES}):
            if isinstance(guide, ReferenceFields) and guide.mask is not None:
                found.append(guide.use(picture, await reader.mask(guide.mask, f"{at}.mask")))
            else:
                found.append(guide.use(picture))
    return tuple(found)


_USE_NAMES = ("image", "preprocessor", "scale", "start", "end", "fit", "weight", "style_scale", "content_scale")


class SentPictures:
    """Pictures that a request carries itself, as data: URLs."""

    def __init__(self, limits: ImageLimits) -> None:
        self._limits = limits

    async def picture(self, choice: PictureChoice, at: str) -> InputPicture:
        with rename_fields({name: f"{at}.{name}" for name in choice.origins}):
            origin = choice.chosen_origin()
            if origin != "image":
                raise InvalidRequest("is not known here: send the picture as image", origin)
        field = f"{at}.image"
        return await input_picture(await self.content(str(choice.image), field), field, self._limits)

    async def mask(self, url: str, field: str) -> InputPicture:
        return await mask_picture(await self.content(url, field), field, self._limits, None)

    async def content(self, url: str, field: str) -> bytes:
        return await asyncio.to_thread(decode_data_url, url, self._limits.max_bytes, field)
