"""Text to image with presets: `POST /api/diffusion/generate` and `GET /api/diffusion/presets` (C-020 to C-022)."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from serve.api.http.callers import CACHE_HEADER, CallerOf, DrawsDirectly, urls_of
from serve.api.http.drawing import (
    Count,
    PictureUrl,
    Prompt,
    SizedDrawingFields,
    answer_metadata,
    draw,
    family_for,
    with_answer_headers,
)
from serve.api.http.models import Text, one_of
from serve.api.http.picture_forms import PictureRoute, with_form
from serve.api.http.problems import render
from serve.api.library.picture_sources import SourcesOf
from serve.api.native.conversion import SiteSettings
from serve.api.native.presets import CATEGORIES, QUALITIES, apply, quality_of, steps_of, template_of
from serve.api.native.styles import StylesOf

router = APIRouter(route_class=PictureRoute)

_EXAMPLE: dict[str, Any] = {
    "prompt": "a lighthouse",
    "preset": "landscape",
    "quality": "draft",
    "steps": 20,
    "guidance": 5,
    "seed": 7,
}


class DiffusionRequest(SizedDrawingFields):
    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    prompt: Prompt
    n: Count = 1
    preset: Annotated[
        Text | None, Field(max_length=256, description=f"{', '.join(CATEGORIES)}, or category/template")
    ] = None
    quality: Annotated[str, one_of([quality.name for quality in QUALITIES])] = "standard"


class SeededPicture(BaseModel):
    image_url: PictureUrl
    seed: int | None


class DiffusionResponse(BaseModel):
    success: bool
    image_url: PictureUrl
    images: list[SeededPicture]
    generation_id: str
    metadata: dict[str, Any]


@router.post(
    "/api/diffusion/generate",
    response_model=DiffusionResponse,
    response_description="What was drawn",
    responses={200: {"headers": CACHE_HEADER}},
    openapi_extra=with_form(DiffusionRequest),
)
async def generate(
    body: DiffusionRequest,
    caller: CallerOf,
    direct: DrawsDirectly,
    settings: SiteSettings,
    sources: SourcesOf,
    book: StylesOf,
) -> Response:
    """Prompt to pictures, also from a picture, with a template around the prompt and a preset of effort if named."""
    prompt, negative_prompt, quality = body.prompt, body.negative_prompt, quality_of(body.quality)
    if body.preset is not None and prompt.strip():
        prompt, negative_prompt = apply(template_of(body.preset), prompt, negative_prompt)
    inputs = await sources.options(body, caller.user_id)
    texts: dict[str, Any] = {"prompt": prompt, "negative_prompt": negative_prompt}
    order = body.styled_order(book, settings.pictures.embed_metadata, **texts, n=body.n, **inputs)
    known = await direct.with_known_loras(order.options)
    family = family_for(await direct.families(), known.model, lambda one: one.offers(known))
    answer = await draw(order.with_quality(quality, family), direct, caller, preset=body.preset, quality=quality.name)
    urls = urls_of(answer, settings)
    content = {
        "success": True,
        "image_url": urls[0],
        "images": [{"image_url": url, "seed": file.seed} for url, file in zip(urls, answer.files, strict=True)],
        "generation_id": answer.generation_id,
        "metadata": answer_metadata(answer),
    }
    return with_answer_headers(render(content, 200, None), answer)


class TemplateInfo(BaseModel):
    name: str
    prompt: str
    negative_prompt: str


class QualityInfo(BaseModel):
    name: str
    description: str
    steps_factor: float
    steps: Annotated[dict[str, int], Field(description="by model", examples=[{"mini": 10}])]


class PresetsResponse(BaseModel):
    categories: Annotated[
        dict[str, list[TemplateInfo]], Field(examples=[{"portrait": [asdict(CATEGORIES["portrait"][0])]}])
    ]
    qualities: list[QualityInfo]


@router.get("/api/diffusion/presets", response_model=PresetsResponse, response_description="All of them")
async def presets(direct: DrawsDirectly) -> Any:
    """Templates by category, and qualities with the steps that they mean for each model."""
    families = await direct.families()
    qualities = [
        {**asdict(quality), "steps": {family.name: steps_of(quality, family) for family in families}}
        for quality in QUALITIES
    ]
    templates = {name: [asdict(template) for template in members] for name, members in CATEGORIES.items()}
    return {"categories": templates, "qualities": qualities}
