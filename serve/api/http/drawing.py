"""Shared by the drawing routes: the fields of a request, the parsed `Order`, headers and metadata of an answer."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Self

from fastapi import Depends, Request, Response
from pydantic import BeforeValidator, Field, model_validator

from serve.api.http.callers import with_cache_status
from serve.api.http.composition import GuidedFields
from serve.api.http.input_pictures import NamedFields, PictureFields
from serve.api.http.loras import chosen, take_tags
from serve.api.http.models import (
    Flag,
    Number,
    RequestModel,
    Text,
    Whole,
    error_at,
    one_of,
    one_value_of,
    parse_object,
)
from serve.api.native.presets import Quality, steps_of
from serve.api.native.styles import StyleBook, StyleFields
from serve.diffusion.noise import MAX_SEED
from serve.diffusion.styles import MixedStyles, summed_loras
from serve.ensembles.illustrator.adapters import LoraUse
from serve.ensembles.illustrator.encoding import DEFAULT_QUALITY, MEDIA_TYPES, TRANSPARENT, Encoding
from serve.ensembles.illustrator.finishing.finish import Finish, Hires
from serve.ensembles.illustrator.finishing.finishing import FILTERS
from serve.ensembles.illustrator.illustration import (
    ILLUSTRATE,
    MAX_CANDIDATES,
    MAX_DRAWN,
    MAX_GUIDANCE,
    MAX_PICTURES,
    MAX_PROMPT_CHARACTERS,
    MAX_SIDE_PX,
    MAX_STEPS,
    IllustrateOptions,
    no_illustrator_error,
)
from serve.ensembles.illustrator.regions import Region
from serve.ensembles.illustrator.service import FamilyInfo, IllustratorService, first_that
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
Upscaler = Annotated[Text, Field(max_length=64, description=f"an engine of GET /api/studio, or {', '.join(FILTERS)}")]
PictureUrl = Annotated[
    str, Field(description="where it is kept; a data: URL where nothing is kept", json_schema_extra={"format": "uri"})
]

NONE_PREFERRED = MixedStyles("", "")
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
        """``options`` of `IllustrateOptions` win; LoRAs are also those of the prompts' tags. Raises
        InvalidRequest naming the field as the client does."""
        names = self.client_names()
        with rename_fields(names):
            values = {**self.options(), **options}
            loras = tuple(values.get("loras", ()))
            for name in ("prompt", "negative_prompt"):
                values[name], tagged = take_tags(values[name], name)
                loras += tagged
            return Order(IllustrateOptions(**{**values, "loras": loras}), self.encoding(metadata), names)


class HiresFields(RequestModel):
    """A second pass: the drawing is enlarged and drawn from again."""

    scale: Annotated[Number, Field(gt=1, le=4)] = 2.0
    strength: Annotated[Number, Field(gt=0, le=1, description="share of the steps that are done")] = 0.5
    num_inference_steps: Annotated[Steps | None, Field(description="those of the first pass by default")] = None
    upscaler: Upscaler | None = None


class FinishFields(NamedFields):
    """What is done to a picture once it is drawn."""

    upscale: Annotated[Whole, Field(description="2 or 4: the picture is enlarged"), one_value_of(1, 2, 4)] = 1
    upscaler: Upscaler | None = None
    remove_background: Annotated[Flag, Field(description="what is around the subject becomes transparent")] = False
    restore_faces: Annotated[Flag, Field(description="by an engine, where the site has one")] = False

    def finish(self) -> Finish:
        """Raises InvalidRequest naming the field as the client does."""
        names = ("upscale", "upscaler", "remove_background", "restore_faces")
        with rename_fields({name: self.client_name(name) for name in names}):
            return Finish(float(self.upscale), self.upscaler, self.remove_background, self.restore_faces)


class SizedDrawingFields(FinishFields, StyleFields, GuidedFields, PictureFields, DrawingFields):
    """A drawing whose size may be named, and that may start from a picture."""

    model: Annotated[
        Text | None, Field(description="one of GET /v1/models; by default the first that offers what is asked for")
    ] = None
    width: Side | None = None
    height: Side | None = None
    hires: Annotated[HiresFields | None, BeforeValidator(parse_object)] = None

    def styled_order(
        self, book: StyleBook, metadata: bool, preferred: MixedStyles = NONE_PREFERRED, **options: Any
    ) -> Order:
        """As `order`, with the request's styles in ``prompt`` and ``negative_prompt``, their defaults, their LoRAs
        where the request does not name the same and, for SVG, the colours of their palettes. Of ``preferred``, whose
        words are in ``options`` already, the LoRAs and colours too."""
        mixed = book.mixed(self, options["prompt"], options.get("negative_prompt", self.negative_prompt))
        named = self.options()
        defaults = {name: value for name, value in mixed.defaults.items() if named[name] is None}
        texts: dict[str, Any] = {"prompt": mixed.prompt, "negative_prompt": mixed.negative_prompt}
        texts["regions"] = tuple(self._styled(region, book) for region in options.get("regions", ()))
        order = self.order(metadata, **{**defaults, **options, **texts})
        order = order.with_style_loras(summed_loras(preferred.loras, mixed.loras), mixed.loras)
        colors = tuple(dict.fromkeys([*preferred.colors, *mixed.colors]))
        if order.encoding.format != "svg" or not colors:
            return order
        return replace(order, encoding=replace(order.encoding, palette=colors))

    def _styled(self, region: Region, book: StyleBook) -> Region:
        """``region`` with the words of the request's styles."""
        mixed = book.mixed(self, region.prompt, region.negative_prompt)
        return replace(
            region, prompt=mixed.prompt, negative_prompt=mixed.negative_prompt if region.negative_prompt else ""
        )

    def options(self) -> dict[str, Any]:
        own = {"model": self.model, "width": self.width, "height": self.height, "loras": chosen(self.loras)}
        hires = None if self.hires is None else Hires(**self.hires.model_dump())
        return {**super().options(), **own, "finish": self.finish(), "hires": hires}

    def encoding(self, metadata: bool) -> Encoding:
        """Transparent where the background is removed."""
        found = super().encoding(metadata)
        return replace(found, background=TRANSPARENT) if self.remove_background else found


def camel_case(name: str) -> str:
    return re.sub(r"_(\w)", lambda match: match[1].upper(), name)


async def illustrator_of(request: Request) -> IllustratorService:
    illustrator: IllustratorService | None = request.app.state.illustrator
    if illustrator is None:
        raise no_illustrator_error()
    return illustrator


Illustrates = Annotated[IllustratorService, Depends(illustrator_of)]


def family_for(
    families: Sequence[FamilyInfo], model: str | None, suits: Callable[[FamilyInfo], bool] = lambda _: True
) -> FamilyInfo:
    """The family called ``model``, else the first that ``suits``, else the first. Raises NotFound when there is none at
    all."""
    named = (family for family in families if family.name == model)
    family = next(named, first_that(families, suits))
    if family is None:
        raise no_illustrator_error()
    return family


@dataclass(frozen=True)
class Order:
    """One drawing request, parsed. ``names``: the client's field names by those of `IllustrateOptions`, for errors."""

    options: IllustrateOptions
    encoding: Encoding
    names: Mapping[str, str]

    def with_style_loras(self, weights: Mapping[str, float], of_styles: Collection[str]) -> Order:
        """With LoRAs of styles, beside those of the request; those not ``of_styles`` are of preferences. Raises
        InvalidRequest naming ``styles`` for too many."""
        own = self.options.loras
        names = sorted(weights.keys() - {lora.name for lora in own})
        if not names:
            return self
        more = [
            LoraUse(name, weights[name], client_field="styles" if name in of_styles else "stylePreferences")
            for name in names
        ]
        with rename_fields({"loras": "styles"}):
            return replace(self, options=replace(self.options, loras=(*own, *more)))

    def with_quality(self, quality: Quality, family: FamilyInfo) -> Order:
        """With the steps and candidates of ``quality``, unless the request sets them. The few long steps of a family
        that was taught them are of every quality."""
        options = self.options
        if family.judges and options.candidates == 1:
            options = replace(options, candidates=min(quality.candidates, MAX_DRAWN // options.n))
        if options.num_inference_steps is None and family.steps_and_guidance(options)[0] != family.few_steps:
            options = replace(options, num_inference_steps=steps_of(quality, family))
        return replace(self, options=options)

    def steps_to_do(self, family: FamilyInfo) -> int:
        """Of each picture: with a strength, that share of its steps."""
        steps, _ = family.steps_and_guidance(self.options)
        source = self.options.source
        return steps if source is None else max(1, int(steps * source.resolved_strength))


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
