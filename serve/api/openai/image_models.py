"""The bodies and answers of OpenAI's Images API: what is honoured, what is accepted and what is refused.

Source: the reference of OpenAI's Images API (create image), as the package openai 3.52 has it. Keys that are not known
are accepted, for clients add their own. Ours on top of OpenAI's: ``seed``, ``negative_prompt``, ``steps`` or
``num_inference_steps``, ``guidance_scale``, ``sampler``, ``metadata``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from serve.api.http.drawing import Count, DrawingFields, Order, Prompt, family_for
from serve.api.http.loras import suits
from serve.api.http.models import Flag, RequestModel, Text, Whole, one_of
from serve.api.native.presets import quality_of
from serve.ensembles.illustrator.encoding import AUTO, MEDIA_TYPES, Encoding
from serve.ensembles.illustrator.picture_source import PictureSource
from serve.ensembles.illustrator.service import FamilyInfo
from serve.errors import InvalidRequest, UnsupportedOperation

MAX_SIDE = 16_384
"""Of a size that is snapped: a request for more is a mistake."""
MAX_PARTIAL_IMAGES = 3

_SIZE = re.compile(r"(\d{1,5})x(\d{1,5})", re.ASCII)
_QUALITIES = {
    "auto": "standard", "low": "draft", "medium": "standard", "high": "high quality", "xhigh": "high quality",
    "max": "high quality", "standard": "standard", "hd": "high quality",
}  # fmt: skip
_LEGACY = {"auto": "medium", "standard": "medium", "hd": "high"}


@dataclass(frozen=True)
class ImagesRequest:
    """``size`` is (width, height) as it is drawn; ``partial_images`` is None where nothing is streamed."""

    order: Order
    size: tuple[int, int]
    steps: int
    quality: str
    as_url: bool
    partial_images: int | None
    safety_identifier: str | None
    transparent: bool = False
    """Whether the pictures have alpha."""
    event: str = "image_generation"
    """What the events of a stream are called, before the dot."""

    @property
    def preview_every(self) -> int:
        """Steps between previews, so that there are ``partial_images`` before the end if there are steps enough."""
        if not self.partial_images:
            return 0
        every = max(1, round(self.steps / (self.partial_images + 1)))
        if self.partial_images * every >= self.steps:
            every = max(1, self.steps // (self.partial_images + 1))
        return every


def _offered_format(value: Any) -> Any:
    if value == "gif":
        raise UnsupportedOperation("gif is not offered; use png, jpeg, webp or svg", "output_format")
    return value


class VariationFields(RequestModel, extra="ignore"):
    """What a variation may say beside its picture, and every other request too."""

    model: Annotated[
        Text | None, Field(description="one of GET /v1/models; any other name means the first of them")
    ] = None
    n: Count | None = 1
    size: (
        Annotated[Text, Field(description="auto or WIDTHxHEIGHT; the nearest that the model draws is drawn")] | None
    ) = "auto"
    response_format: Annotated[Literal["b64_json", "url"] | None, Field(description="url: where it is kept")] = None
    user: Annotated[Text, Field(max_length=512)] | None = None

    def drawn_size(self, family: FamilyInfo, source: PictureSource | None = None) -> tuple[int, int]:
        """(width, height); ``auto`` is the nearest to the picture, if there is one."""
        if source is not None and self.size in (None, "auto"):
            return family.nearest_size(*source.size)
        return snapped(self.size or "auto", family)


class ImagesBody(DrawingFields, VariationFields):
    model_config = ConfigDict(
        extra="ignore",
        json_schema_extra={
            "examples": [{"prompt": "red apple, flat", "size": "1024x1024", "n": 2, "output_format": "png", "seed": 7}]
        },
    )

    prompt: Prompt
    quality: Annotated[str | None, one_of([*_QUALITIES]), Field(description="of the steps, where none are given")] = (
        "auto"
    )
    background: Annotated[
        Literal["auto", "transparent", "opaque"] | None,
        Field(description="transparent: of models that draw on transparent ground; others are opaque"),
    ] = None
    output_format: Annotated[str, one_of(MEDIA_TYPES), BeforeValidator(_offered_format)] = "png"
    stream: Flag | None = False
    partial_images: Annotated[Whole, Field(ge=0, le=MAX_PARTIAL_IMAGES)] | None = 0
    safety_identifier: Annotated[Text, Field(max_length=512)] | None = None
    moderation: Annotated[
        Literal["auto", "low"] | None, Field(description="low: only what is surer is flagged or refused")
    ] = None
    style: Annotated[Any, WithJsonSchema({"type": ["string", "null"], "description": "accepted, without effect"})] = (
        None
    )

    def client_names(self) -> dict[str, str]:
        return {**super().client_names(), "width": "size", "height": "size"}

    def encoding(self, metadata: bool) -> Encoding:
        return replace(super().encoding(metadata), background=self.background or AUTO)

    def parsed(
        self, families: Sequence[FamilyInfo], metadata: bool, source: PictureSource | None = None
    ) -> ImagesRequest:
        """``source``: the picture that is edited. Raises ``InvalidRequest`` naming the key at fault; any ``model`` is
        taken, for clients name OpenAI's."""
        family = family_for(families, self.model, lambda one: suits(one, self.prompt))
        width, height = self.drawn_size(family, source)
        moderation = {"moderation": "low"} if self.moderation == "low" else {}
        order = self.order(
            metadata,
            prompt=self.prompt,
            width=width,
            height=height,
            model=family.name,
            n=self.n,
            source=source,
            **moderation,
        )
        quality = self.quality or "auto"
        order = order.with_quality(quality_of(_QUALITIES[quality]), family)
        if self.stream and order.encoding.format == "svg":
            raise InvalidRequest("svg cannot be streamed; leave stream out, or use png, jpeg or webp", "stream")
        return ImagesRequest(
            order,
            (width, height),
            order.steps_to_do(family),
            _LEGACY.get(quality, quality),
            self.response_format == "url",
            self.partial_images if self.stream else None,
            self.safety_identifier or self.user,
            family.alpha and order.encoding.keeps_alpha,
            "image_generation" if source is None else "image_edit",
        )


def snapped(size: str, family: FamilyInfo) -> tuple[int, int]:
    """(width, height) that ``family`` draws, nearest to ``size``: of the same shape where the family has limits.

    ``size`` is "auto", the family's own, or "WIDTHxHEIGHT".
    """
    if size == "auto":
        return family.width, family.height
    match = _SIZE.fullmatch(size)
    width, height = (int(match[1]), int(match[2])) if match else (0, 0)
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        raise InvalidRequest(f"must be auto or WIDTHxHEIGHT, with sides from 1 to {MAX_SIDE}", "size")
    return family.nearest_size(width, height)


class ImageData(BaseModel):
    b64_json: str = ""
    url: str = ""


class ImagesResponse(BaseModel):
    created: int
    data: list[ImageData]
    size: str
    usage: dict[str, Any]
