"""What the drawing doors share: who draws, what a caller may ask for, what an answer tells."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any, Self

from fastapi import Depends, Request, Response
from pydantic import Field, model_validator

from serve.api.http.callers import with_cache_status
from serve.api.http.models import Flag, Number, RequestModel, Text, Whole, error_at, one_of
from serve.api.http.values import choice, flag, number, text, whole, whole_within
from serve.api.native.presets import Quality, steps_of
from serve.diffusion.noise import MAX_SEED
from serve.ensembles.illustrator.encoding import DEFAULT_QUALITY, MEDIA_TYPES, Encoding
from serve.ensembles.illustrator.illustration import (
    ILLUSTRATE,
    MAX_GUIDANCE,
    MAX_PICTURES,
    MAX_PROMPT_CHARACTERS,
    MAX_SIDE_PX,
    MAX_STEPS,
    RANGES,
    SCALES,
    FamilyInfo,
    IllustrateOptions,
    IllustratorService,
    no_illustrator_error,
)
from serve.ensembles.requests import IllustrateRequest
from serve.errors import InvalidRequest, rename_fields
from serve.jobs.direct.direct_request import Answer, Caller
from serve.jobs.direct.service import DirectService

SERVED_BY = "X-Atelier-Served-By"
"""Who drew: ``illustrate``, or a step of the fallback (A-100)."""

Vocabulary = Mapping[str, tuple[str, ...]]
"""The names that clients may use, by ours. The first is the one that answers and documents use."""

SNAKE_CASE: Vocabulary = {
    "negative_prompt": ("negative_prompt",),
    "model": ("model",),
    "width": ("width",),
    "height": ("height",),
    "num_inference_steps": ("num_inference_steps", "steps"),
    "guidance_scale": ("guidance_scale", "guidance"),
    "sampler": ("sampler",),
    "seed": ("seed",),
    "output_format": ("output_format",),
    "output_compression": ("output_compression",),
    "metadata": ("metadata",),
    "c2pa": ("c2pa",),
}


Prompt = Annotated[Text, Field(min_length=1, max_length=MAX_PROMPT_CHARACTERS)]
Side = Annotated[Whole, Field(ge=1, le=MAX_SIDE_PX, description="pixels; the model's own by default")]
Steps = Annotated[Whole, Field(ge=1, le=MAX_STEPS)]
Guidance = Annotated[Number, Field(ge=0, le=MAX_GUIDANCE)]
Count = Annotated[Whole, Field(ge=1, le=MAX_PICTURES)]
PictureUrl = Annotated[
    str, Field(description="where it is kept; a data: URL where nothing is kept", json_schema_extra={"format": "uri"})
]

_SYNONYMS = {"steps": "num_inference_steps", "guidance": "guidance_scale"}


class DrawingFields(RequestModel):
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

    @classmethod
    def client_name(cls, name: str) -> str:
        return cls.model_fields[name].alias or name

    def client_names(self) -> dict[str, str]:
        """The client's name of each option, by ours."""
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
        }

    def encoding(self, metadata: bool) -> Encoding:
        """``metadata`` where the caller says nothing."""
        chosen = metadata if self.metadata is None else self.metadata
        return Encoding(self.output_format, self.output_compression, chosen, self.c2pa)

    def order(self, metadata: bool, **options: Any) -> Order:
        """``options`` of `IllustrateOptions` win. Raises InvalidRequest naming the field as the client does."""
        names = self.client_names()
        with rename_fields(names):
            return Order(IllustrateOptions(**{**self.options(), **options}), self.encoding(metadata), names)


class SizedDrawingFields(DrawingFields):
    model: Annotated[Text | None, Field(description="one of GET /v1/models; the first by default")] = None
    width: Side | None = None
    height: Side | None = None

    def options(self) -> dict[str, Any]:
        return {**super().options(), "model": self.model, "width": self.width, "height": self.height}


def camel_case(name: str) -> str:
    return re.sub(r"_(\w)", lambda match: match[1].upper(), name)


CAMEL_CASE: Vocabulary = {ours: tuple(map(camel_case, names)) for ours, names in SNAKE_CASE.items()}


def names_of(vocabulary: Vocabulary) -> tuple[str, ...]:
    return tuple(name for names in vocabulary.values() for name in names)


async def illustrator_of(request: Request) -> IllustratorService:
    illustrator: IllustratorService | None = request.app.state.illustrator
    if illustrator is None:
        raise no_illustrator_error()
    return illustrator


Illustrates = Annotated[IllustratorService, Depends(illustrator_of)]


def chosen(families: Sequence[FamilyInfo], model: str | None) -> FamilyInfo:
    """The family called ``model``, else the first. Raises NotFound when there is none at all."""
    if not families:
        raise no_illustrator_error()
    return next((family for family in families if family.name == model), families[0])


@dataclass(frozen=True)
class Order:
    """What one request wants. ``names`` has the client's words by ours, for errors that the Illustrator finds."""

    options: IllustrateOptions
    encoding: Encoding
    names: Mapping[str, str]

    def with_quality(self, quality: Quality, family: FamilyInfo) -> Order:
        """``quality`` decides on the steps, unless the caller did."""
        if self.options.num_inference_steps is not None:
            return self
        return replace(self, options=replace(self.options, num_inference_steps=steps_of(quality, family)))


def parse_order(values: Mapping[str, Any], vocabulary: Vocabulary, metadata: bool, **fixed: Any) -> Order:
    """``fixed`` by the fields of ``IllustrateOptions``, which are not read; ``metadata`` where the caller says nothing.

    Raises ``InvalidRequest`` naming the field as the caller does.
    """
    names = {ours: _used(values, known) for ours, known in vocabulary.items()}
    read = {ours: reader(values, names[ours]) for ours, reader in _READERS.items() if ours not in fixed}
    with rename_fields(names):
        return Order(IllustrateOptions(**read, **fixed), parse_encoding(values, names, metadata), names)


def parse_encoding(values: Mapping[str, Any], names: Mapping[str, str], metadata: bool) -> Encoding:
    """``names`` has the client's words for ``output_format``, ``output_compression`` and ``metadata``."""
    return Encoding(
        choice(values, names["output_format"], MEDIA_TYPES, "png"),
        whole_within(values, names["output_compression"], 0, 100, DEFAULT_QUALITY),
        flag(values, names["metadata"], metadata),
        flag(values, names.get("c2pa", "c2pa")),
    )


def _negative_prompt(values: Mapping[str, Any], name: str) -> str:
    return text(values, name, MAX_PROMPT_CHARACTERS) or ""


_READERS: Mapping[str, Callable[[Mapping[str, Any], str], Any]] = {
    "negative_prompt": _negative_prompt,
    "model": text,
    "guidance_scale": partial(number, told=SCALES["guidance_scale"]),
    "sampler": text,
    **{name: partial(whole, told=RANGES[name]) for name in ("width", "height", "num_inference_steps", "seed")},
}


def how_many(values: Mapping[str, Any]) -> int | None:
    return whole(values, "n", 1, RANGES["n"])


def _used(values: Mapping[str, Any], known: tuple[str, ...]) -> str:
    """The one of ``known`` that the caller used."""
    used = [name for name in known if values.get(name) is not None]
    if len(used) > 1:
        raise InvalidRequest(f"says the same as {used[0]}; send one of them", used[1])
    return used[0] if used else known[0]


async def draw(order: Order, direct: DirectService, caller: Caller, **more: Any) -> Answer:
    """``more`` joins the parameters that the answer tells."""
    with rename_fields(order.names):
        return await direct.draw(IllustrateRequest(order.options, order.encoding, more), caller)


def with_words(response: Response, answer: Answer) -> Response:
    """With the headers that tell who served it, and what the cache had to do with it."""
    response.headers[SERVED_BY] = str(answer.details.get("served_by", ILLUSTRATE))
    return with_cache_status(response, answer.cache)


def told(answer: Answer) -> dict[str, Any]:
    """The metadata of an answer (A-070, A-072)."""
    return {**answer.details, "cached": answer.cached}
