"""What this site offers, for pages that show only that: families with their ranges, features, limits."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from serve.ensembles.illustrator.illustration import (
    MAX_GUIDANCE,
    MAX_PICTURES,
    MAX_PROMPT_CHARACTERS,
    MAX_STEPS,
    FamilyInfo,
    IllustratorService,
)
from serve.ensembles.illustrator.picture_source import FILLS
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
    sampler: Annotated[str, Field(description="by default")]
    samplers: list[str]


class LimitsOffer(BaseModel):
    max_upload_bytes: int
    max_prompt_characters: int
    max_pictures: int
    max_steps: int
    max_guidance: float
    max_batch: Annotated[int, Field(description="jobs in one batch")]


class OfferResponse(BaseModel):
    version: str
    families: list[FamilyOffer]
    keeps: Annotated[bool, Field(description="whether there are jobs, a gallery and references")]
    mask_fills: Annotated[list[str], Field(description="what is under a mask before the first step")]
    limits: LimitsOffer


@router.get("/api/studio", response_model=OfferResponse, response_description="What is offered")
async def offer(request: Request) -> OfferResponse:
    """What the pages of the web application may show."""
    settings: Settings = request.app.state.settings
    illustrator: IllustratorService | None = request.app.state.illustrator
    families = [] if illustrator is None else await illustrator.families()
    return OfferResponse(
        version=version("atelier"),
        families=[_family(family) for family in families],
        mask_fills=list(FILLS),
        keeps=request.app.state.state is not None,
        limits=LimitsOffer(
            max_upload_bytes=settings.limits.max_body_bytes,
            max_prompt_characters=MAX_PROMPT_CHARACTERS,
            max_pictures=MAX_PICTURES,
            max_steps=MAX_STEPS,
            max_guidance=MAX_GUIDANCE,
            max_batch=settings.jobs.max_batch,
        ),
    )


def _family(family: FamilyInfo) -> FamilyOffer:
    return FamilyOffer(**{name: getattr(family, name) for name in FamilyOffer.model_fields})
