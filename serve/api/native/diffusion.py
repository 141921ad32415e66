"""Text to image with presets: `POST /api/diffusion/generate` and `GET /api/diffusion/presets` (C-020 to C-022)."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request, Response

from serve.api.http.bodies import read_json
from serve.api.http.callers import DrawsDirectly, caller_of, urls_of
from serve.api.http.drawing import (
    SNAKE_CASE,
    Vocabulary,
    chosen,
    draw,
    how_many,
    names_of,
    parse_order,
    told,
    with_words,
)
from serve.api.http.drawing_schema import PICTURE_URL, PROMPT, described, options_of
from serve.api.http.problems import render
from serve.api.http.values import refuse_unknown, required_text, text
from serve.api.native.conversion import SiteSettings
from serve.api.native.presets import CATEGORIES, QUALITIES, apply, quality_of, steps_of, template_of
from serve.api.openapi.operation import NUMBER, TEXT, WHOLE, answer, json_object, list_of, mapping_of
from serve.ensembles.illustrator.illustration import MAX_PICTURES, MAX_PROMPT_CHARACTERS

router = APIRouter()

# C-021's own words for two of the options come first.
VOCABULARY: Vocabulary = {
    **SNAKE_CASE,
    "num_inference_steps": ("steps", "num_inference_steps"),
    "guidance_scale": ("guidance", "guidance_scale"),
}
_GENERATION = described(
    {
        "prompt": PROMPT,
        "n": {"type": "integer", "minimum": 1, "maximum": MAX_PICTURES, "default": 1},
        "preset": {"type": "string", "description": f"{', '.join(CATEGORIES)}, or category/template"},
        "quality": {"type": "string", "enum": [quality.name for quality in QUALITIES], "default": "standard"},
        **options_of(VOCABULARY),
    },
    ["prompt"],
    {"prompt": "a lighthouse", "preset": "landscape", "quality": "draft", "steps": 20, "guidance": 5, "seed": 7},
    {
        "success": {"type": "boolean"},
        "image_url": PICTURE_URL,
        "images": {"type": "array", "items": {"type": "object", "properties": {"image_url": PICTURE_URL}}},
        "generation_id": {"type": "string"},
        "metadata": {"type": "object"},
    },
)


@router.post("/api/diffusion/generate", openapi_extra=_GENERATION)
async def generate(request: Request, direct: DrawsDirectly, settings: SiteSettings) -> Response:
    """Prompt to pictures, with a template around the prompt and a preset of effort if named."""
    values = await read_json(request, settings.limits)
    refuse_unknown(values, ("prompt", "n", "preset", "quality", *names_of(VOCABULARY)))
    prompt = required_text(values, "prompt", MAX_PROMPT_CHARACTERS)
    negative_prompt = text(values, "negative_prompt", MAX_PROMPT_CHARACTERS) or ""
    preset, quality = text(values, "preset", 256), quality_of(text(values, "quality", 256) or "standard")
    if preset is not None and prompt.strip():
        prompt, negative_prompt = apply(template_of(preset), prompt, negative_prompt)
    asked: dict[str, Any] = {"prompt": prompt, "negative_prompt": negative_prompt, "n": how_many(values)}
    order = parse_order(values, VOCABULARY, settings.pictures.embed_metadata, **asked)
    family = chosen(await direct.families(), order.options.model)
    order = order.with_quality(quality, family)
    answer = await draw(order, direct, caller_of(request), preset=preset, quality=quality.name)
    urls = urls_of(answer, settings)
    body = {
        "success": True,
        "image_url": urls[0],
        "images": [{"image_url": url, "seed": file.seed} for url, file in zip(urls, answer.files, strict=True)],
        "generation_id": answer.generation_id,
        "metadata": told(answer),
    }
    return with_words(render(body, 200, None), answer)


_TEMPLATE = {"name": TEXT, "prompt": TEXT, "negative_prompt": TEXT}
_EFFORT = {"name": TEXT, "description": TEXT, "steps_factor": NUMBER, "steps": mapping_of(WHOLE)}
_PRESETS = {"categories": mapping_of(list_of(json_object(_TEMPLATE))), "qualities": list_of(json_object(_EFFORT))}
_EXAMPLE = {
    "categories": {"portrait": [asdict(CATEGORIES["portrait"][0])]},
    "qualities": [{**asdict(QUALITIES[0]), "steps": {"mini": 10}}],
}


@router.get("/api/diffusion/presets", openapi_extra=answer("All of them", json_object(_PRESETS), example=_EXAMPLE))
async def presets(direct: DrawsDirectly) -> dict[str, Any]:
    """Templates by category, and qualities with the steps that they mean for each model."""
    families = await direct.families()
    qualities = [
        {**asdict(quality), "steps": {family.name: steps_of(quality, family) for family in families}}
        for quality in QUALITIES
    ]
    templates = {name: [asdict(template) for template in found] for name, found in CATEGORIES.items()}
    return {"categories": templates, "qualities": qualities}
