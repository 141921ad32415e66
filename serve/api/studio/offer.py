"""What this site offers, for pages that show only that: families with their ranges, features, limits."""

from __future__ import annotations

import asyncio
from importlib.metadata import version
from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from serve.diffusion.controls import PREPROCESSORS
from serve.diffusion.layout import MAX_RELATIONSHIPS, MAX_SUBJECTS, RELATIONS
from serve.diffusion.samplers import by_name
from serve.ensembles.embedder import has_embedder
from serve.ensembles.illustrator.adapters import MAX_LORAS, MAX_PICTURES_EACH, MAX_SCALE, MAX_WEIGHT
from serve.ensembles.illustrator.illustration import MAX_GUIDANCE, MAX_PICTURES, MAX_PROMPT_CHARACTERS, MAX_STEPS
from serve.ensembles.illustrator.picture_source import FILLS, MAX_BLUR_PX, MAX_CANVAS_PX, MAX_MARGIN_PX
from serve.ensembles.illustrator.regions import MAX_REGIONS
from serve.ensembles.illustrator.service import FamilyInfo, IllustratorService
from serve.settings import Settings

router = APIRouter()


class FamilyOffer(BaseModel):
    name: Annotated[str, Field(examples=["mini"])]
    width: Annotated[int, Field(description="pixels, by default")]
    height: Annotated[int, Field(description="pixels, by default")]
    multiple_of_px: int
    min_px: int
    max_px: int
    num_inference_steps: Annotated[int, Field(description="by default")]
    guidance_scale: Annotated[float, Field(description="by default")]
    few_steps: Annotated[
        int | None, Field(description="long ones, without guidance: by default of what is drawn from words alone")
    ]
    sampler: Annotated[str, Field(description="by default")]
    long_step_samplers: Annotated[list[str], Field(description="those that take the few steps")]
    samplers: list[str]
    takes_pictures: Annotated[bool, Field(description="whether a drawing may start from a picture")]
    takes_loras: bool
    controls: Annotated[list[str], Field(description="its ControlNets", examples=[["canny"]])]
    takes_references: bool
    reference_scales: Annotated[
        list[str], Field(description="what a reference has beside scale", examples=[["style_scale", "content_scale"]])
    ]


class LimitsOffer(BaseModel):
    max_upload_bytes: int
    max_prompt_characters: int
    max_pictures: int
    max_steps: int
    max_guidance: float
    max_batch: Annotated[int, Field(description="jobs in one batch")]
    max_loras: int
    max_lora_weight: Annotated[float, Field(description="and the least is its negative")]
    max_guides: Annotated[int, Field(description="control pictures, and references, of one drawing")]
    max_scale: Annotated[float, Field(description="of control pictures and references")]
    max_regions: Annotated[int, Field(description="regions and subjects together")]
    max_subjects: int
    max_relationships: int
    max_feather_px: int
    max_margin_px: Annotated[int, Field(description="that a picture may grow by on one side")]
    max_canvas_px: Annotated[int, Field(description="the longest side of a picture that has grown")]


class OfferResponse(BaseModel):
    version: str
    families: list[FamilyOffer]
    keeps: Annotated[bool, Field(description="whether there are jobs, a gallery and references")]
    finds_alike: Annotated[bool, Field(description="whether the gallery is searched by what pictures show")]
    mask_fills: Annotated[list[str], Field(description="what is under a mask before the first step")]
    preprocessors: Annotated[list[str], Field(description="what makes a control picture of a picture")]
    relations: Annotated[list[str], Field(description="between two subjects")]
    upscalers: Annotated[list[str], Field(description="engines that enlarge pictures")]
    limits: LimitsOffer


@router.get("/api/studio", response_model=OfferResponse, response_description="What is offered")
async def offer(request: Request) -> OfferResponse:
    """What the pages of the web application may show."""
    settings: Settings = request.app.state.settings
    own = settings.illustrator
    illustrator: IllustratorService | None = request.app.state.illustrator
    families = [] if illustrator is None else await illustrator.families()
    return OfferResponse(
        version=version("atelier"),
        families=[_family(family) for family in families],
        mask_fills=list(FILLS),
        preprocessors=list(PREPROCESSORS),
        relations=list(RELATIONS),
        upscalers=[one.name for one in families[0].upscalers] if families else [],
        keeps=request.app.state.state is not None,
        finds_alike=await asyncio.to_thread(has_embedder, own.model_repository, own.search_engines),
        limits=LimitsOffer(
            max_upload_bytes=settings.limits.max_body_bytes,
            max_prompt_characters=MAX_PROMPT_CHARACTERS,
            max_pictures=MAX_PICTURES,
            max_steps=MAX_STEPS,
            max_guidance=MAX_GUIDANCE,
            max_batch=settings.jobs.max_batch,
            max_loras=MAX_LORAS,
            max_lora_weight=MAX_WEIGHT,
            max_guides=MAX_PICTURES_EACH,
            max_scale=MAX_SCALE,
            max_regions=MAX_REGIONS,
            max_subjects=MAX_SUBJECTS,
            max_relationships=MAX_RELATIONSHIPS,
            max_feather_px=MAX_BLUR_PX,
            max_margin_px=MAX_MARGIN_PX,
            max_canvas_px=MAX_CANVAS_PX,
        ),
    )


def _family(family: FamilyInfo) -> FamilyOffer:
    long = [name for name in family.samplers if family.few_steps is not None and by_name(name).takes_long_steps]
    known = {name: getattr(family, name) for name in FamilyOffer.model_fields.keys() - {"long_step_samplers"}}
    return FamilyOffer(**known, long_step_samplers=long)
