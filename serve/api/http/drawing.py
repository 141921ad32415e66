"""Shared by the drawing routes: the fields of a request, the parsed `Order`, headers and metadata of an answer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Self

from fastapi import Depends, Request, Response
from pydantic import Field, model_validator

from serve.api.http.callers import with_cache_status
from serve.api.http.input_pictures import NamedFields, PictureFields
from serve.api.http.models import Flag, Number, Text, Whole, error_at, one_of
from serve.api.native.presets import Quality, steps_of
from serve.api.native.styles import StyleBook, StyleFields
from serve.diffusion.noise import MAX_SEED
from serve.ensembles.illustrator.encoding import DEFAULT_QUALITY, MEDIA_TYPES, Encoding
from serve.ensembles.illustrator.illustration import (
    ILLUSTRATE,
    MAX_CANDIDATES,
    MAX_DRAWN,
    MAX_GUIDANCE,
    MAX_PICTURES,
    MAX_PROMPT_CHARACTERS,
    MAX_SIDE_PX,
    MAX_STEPS,
    FamilyInfo,
    IllustrateOptions,
    IllustratorService,
    no_illustrator_error,
)
from serve.ensembles.requests import IllustrateRequest
from serve.errors import rename_fields
from serve.jobs.direct.direct_request import Answer, Caller
from serve.jobs.direct.service import DirectService

SERVED_BY = "X-Atelier-Served-By"
"""Header: what drew, ``illustrate`` or a step of the fallback (A-100)."""

Prompt = Annotated[Text, Field(min_length=1, max_length=MAX_PROMPT_CHARACTERS)]
Side = Annotated[Whole, Field(ge=1, le=MAX_SIDE_PX, description="pixels; the model's own by default")]
Steps = Annotated[Whole, Field(ge=1, le=MAX_STEPS)]
Guidance = Annotated[Number, Field(ge=0, le=MAX_GUIDANCE)]
Count = Annotated[Whole, Field(ge=1, le=MAX_PICTURES)]
PictureUrl = Annotated[
    str, Field(description="where it is kept; a data: URL where nothing is kept", json_schema_extra={"format": "uri"})
]

_SYNONYMS = {"steps": "num_inference_steps", "guidance": "guidance_scale"}


class DrawingFields(NamedFields):
    """How a picture is drawn and encoded, beside its prompt and its size. Two fields have a second name each."""

    negative_prompt: Annotated[Text, Field(max_length=MAX_PROMPT_CHARACTERS)] = ""
    num_inference_steps: Steps | None = None
    steps: Annotated[Steps | None, Field(description="another name of num_inference_steps")] = None
    guidance_scale: Guidance | None = None
    guidance: Annotated[Guidance | None, Field(description="another name of guidance_scale")] = None
    sampler: Annotated[
        Text | None, Field(description="such as ddim, euler, euler_ancestral, heun, dpmpp_2m, unipc, lcm")
    ] = None
    seed: Annotated[Whole, Field(ge=-1, le=MAX_SEED, description="-1: any")] | None = None
    candidates: (
        Annotated[
            Whole,
            Field(ge=1, le=MAX_CANDIDATES, description="drawn for each picture; the model's judge takes the best"),
        ]
        | None
    ) = None
    output_format: Annotated[str, one_of(MEDIA_TYPES)] = "png"
    output_compression: Annotated[Whole, Field(ge=0, le=100, description="quality of JPEG and WebP")] = DEFAULT_QUALITY
    metadata: Annotated[
        Flag | None, Field(description="whether the picture tells how it was made; the site's own default")
    ] = None
    c2pa: Annotated[Flag, Field(description="whether it is signed (Content Credentials), where that is offered")] = (
        False
    )

    @model_validator(mode="after")
    def _refuse_two_names(self) -> Self:
        for other, name in _SYNONYMS.items():
            if getattr(self, other) is not None and getattr(self, name) is not None:
                raise error_at(
                    type(self), f"says the same as {self.client_name(name)}; send one of them", self.client_name(other)
                )
        return self

    def client_names(self) -> dict[str, str]:
        """The client's name of each option, by the name in `IllustrateOptions`."""
        names = {name: self.client_name(name) for name in type(self).model_fields if name not in _SYNONYMS}
        used = {name: other for other, name in _SYNONYMS.items() if getattr(self, other) is not None}
        return {**names, **{name: self.client_name(other) for name, other in used.items()}}

    def options(self) -> dict[str, Any]:
        """Arguments of `IllustrateOptions`."""
        return {
            "negative_prompt": self.negative_prompt,
            "num_inference_steps": self.num_inference_steps if self.steps is None else self.steps,
            "guidance_scale": self.guidance_scale if self.guidance is None else self.guidance,
            "sampler": self.sampler,
            "seed": self.seed,
            "candidates": self.candidates or 1,
        }

    def encoding(self, metadata: bool) -> Encoding:
        """``metadata`` where the caller says nothing."""
        embedded = metadata if self.metadata is None else self.metadata
        return Encoding(self.output_format, self.output_compression, embedded, self.c2pa)

    def order(self, metadata: bool, **options: Any) -> Order:
        """``options`` of `IllustrateOptions` win. Raises InvalidRequest naming the field as the client does."""
        names = self.client_names()
        with rename_fields(names):
            return Order(IllustrateOptions(**{**self.options(), **options}), self.encoding(metadata), names)


class SizedDrawingFields(StyleFields, PictureFields, DrawingFields):
    """A drawing whose size may be named, and that may start from a picture."""

    model: Annotated[Text | None, Field(description="one of GET /v1/models; the first by default")] = None
    width: Side | None = None
    height: Side | None = None

    def styled_order(self, book: StyleBook, metadata: bool, palette: Sequence[str] = (), **options: Any) -> Order:
        """As `order`, with the request's styles in ``prompt`` and ``negative_prompt``, their defaults and, for SVG, the
        colours of their palettes and of ``palette``."""
        mixed = book.mixed(self, options["prompt"], options.get("negative_prompt", self.negative_prompt))
        named = self.options()
        defaults = {name: value for name, value in mixed.defaults.items() if named[name] is None}
        prompts = {"prompt": mixed.prompt, "negative_prompt": mixed.negative_prompt}
        order = self.order(metadata, **{**defaults, **options, **prompts})
        colors = tuple(dict.fromkeys([*palette, *mixed.colors]))
        if order.encoding.format != "svg" or not colors:
            return order
        return replace(order, encoding=replace(order.encoding, palette=colors))

    def options(self) -> dict[str, Any]:
        return {**super().options(), "model": self.model, "width": self.width, "height": self.height}


def camel_case(name: str) -> str:
    return re.sub(r"_(\w)", lambda match: match[1].upper(), name)


async def illustrator_of(request: Request) -> IllustratorService:
    illustrator: IllustratorService | None = request.app.state.illustrator
    if illustrator is None:
        raise no_illustrator_error()
    return illustrator


Illustrates = Annotated[IllustratorService, Depends(illustrator_of)]


def family_for(families: Sequence[FamilyInfo], model: str | None) -> FamilyInfo:
    """The family called ``model``, else the first. Raises NotFound when there is none at all."""
    if not families:
        raise no_illustrator_error()
    return next((family for family in families if family.name == model), families[0])


@dataclass(frozen=True)
class Order:
    """One drawing request, parsed. ``names``: the client's field names by those of `IllustrateOptions`, for errors."""

    options: IllustrateOptions
    encoding: Encoding
    names: Mapping[str, str]

    def with_quality(self, quality: Quality, family: FamilyInfo) -> Order:
        """With the steps and candidates of ``quality``, unless the request sets them."""
        options = self.options
        if family.judges and options.candidates == 1:
            options = replace(options, candidates=min(quality.candidates, MAX_DRAWN // options.n))
        if options.num_inference_steps is None:
            options = replace(options, num_inference_steps=steps_of(quality, family))
        return replace(self, options=options)


async def draw(order: Order, direct: DirectService, caller: Caller, **more: Any) -> Answer:
    """``more`` is added to the parameters in the answer's metadata."""
    with rename_fields(order.names):
        return await direct.draw(IllustrateRequest(order.options, order.encoding, more), caller)


def with_answer_headers(response: Response, answer: Answer) -> Response:
    """With the headers for what drew it and for the cache."""
    response.headers[SERVED_BY] = str(answer.details.get("served_by", ILLUSTRATE))
    return with_cache_status(response, answer.cache)


def answer_metadata(answer: Answer) -> dict[str, Any]:
    """The metadata of an answer (A-070, A-072)."""
    return {**answer.details, "cached": answer.cached}
