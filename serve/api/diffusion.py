"""Text to image with presets: `POST /api/diffusion/generate` and `GET /api/diffusion/presets` (C-020 to C-022)."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request, Response

from serve.api.drawing import (
    SNAKE_CASE,
    Illustrates,
    Vocabulary,
    chosen,
    draw,
    how_many,
    names_of,
    new_id,
    parse_order,
    told,
)
from serve.api.drawing_schema import PROMPT, described, options_of
from serve.api.json_body import read_json
from serve.api.native import Service, SiteSettings
from serve.api.presets import CATEGORIES, QUALITIES, apply, quality_of, steps_of, template_of
from serve.api.problems import render
from serve.api.values import refuse_unknown, required_text, text
from serve.ensembles.illustration import MAX_PICTURES, MAX_PROMPT_CHARACTERS
from serve.ensembles.pictures import as_url

router = APIRouter()

# C-021's own words for two of the options come first.
VOCABULARY: Vocabulary = {
    **SNAKE_CASE,
    "num_inference_steps": ("steps", "num_inference_steps"),
    "guidance_scale": ("guidance", "guidance_scale"),
}
_URL = {"type": "string", "format": "uri", "description": "a data: URL, which holds the picture"}
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
        "image_url": _URL,
        "images": {"type": "array", "items": {"type": "object", "properties": {"image_url": _URL}}},
        "generation_id": {"type": "string"},
        "metadata": {"type": "object"},
    },
)


@router.post("/api/diffusion/generate", openapi_extra=_GENERATION)
async def generate(request: Request, illustrator: Illustrates, service: Service, settings: SiteSettings) -> Response:
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
    family = chosen(await illustrator.families(), order.options.model)
    order = order.with_quality(quality, family)
    illustration, files = await draw(order, illustrator, service)
    urls = [as_url(file, order.encoding.media_type) for file in files]
    body = {
        "success": True,
        "image_url": urls[0],
        "images": [
            {"image_url": url, "seed": picture.seed} for url, picture in zip(urls, illustration.pictures, strict=True)
        ],
        "generation_id": new_id(),
        "metadata": told(illustration, preset=preset, quality=quality.name),
    }
    return render(body, 200, None)


@router.get("/api/diffusion/presets")
async def presets(illustrator: Illustrates) -> dict[str, Any]:
    """Templates by category, and qualities with the steps that they mean for each model."""
    families = await illustrator.families()
    qualities = [
        {**asdict(quality), "steps": {family.name: steps_of(quality, family) for family in families}}
        for quality in QUALITIES
    ]
    templates = {name: [asdict(template) for template in found] for name, found in CATEGORIES.items()}
    return {"categories": templates, "qualities": qualities}
