"""What OpenAPI says of requests for drawings: JSON schemas that the doors put together."""

from __future__ import annotations

from typing import Any

from serve.api.drawing import Vocabulary
from serve.diffusion.noise import MAX_SEED
from serve.ensembles.illustration import MAX_GUIDANCE, MAX_PROMPT_CHARACTERS, MAX_SIDE_PX, MAX_STEPS
from serve.ensembles.pictures import DEFAULT_QUALITY, MEDIA_TYPES

_SIDE = {"type": "integer", "minimum": 1, "maximum": MAX_SIDE_PX, "description": "pixels; the model's own by default"}
PICTURE_URL = {"type": "string", "format": "uri", "description": "where it is kept; a data: URL where nothing is kept"}
PROMPT = {"type": "string", "minLength": 1, "maxLength": MAX_PROMPT_CHARACTERS}
OPTIONS: dict[str, dict[str, Any]] = {
    "negative_prompt": {"type": "string", "maxLength": MAX_PROMPT_CHARACTERS, "default": ""},
    "model": {"type": "string", "description": "one of GET /v1/models; the first by default"},
    "width": _SIDE,
    "height": _SIDE,
    "num_inference_steps": {"type": "integer", "minimum": 1, "maximum": MAX_STEPS},
    "guidance_scale": {"type": "number", "minimum": 0, "maximum": MAX_GUIDANCE},
    "sampler": {"type": "string", "description": "such as ddim, euler, euler_ancestral, heun, dpmpp_2m, unipc, lcm"},
    "seed": {"type": "integer", "minimum": -1, "maximum": MAX_SEED, "default": -1, "description": "-1: any"},
    "output_format": {"type": "string", "enum": list(MEDIA_TYPES), "default": "png"},
    "output_compression": {
        "type": "integer",
        "minimum": 0,
        "maximum": 100,
        "default": DEFAULT_QUALITY,
        "description": "quality of JPEG and WebP",
    },
    "metadata": {"type": "boolean", "description": "whether the picture tells how it was made; the site's own default"},
    "c2pa": {
        "type": "boolean",
        "description": "whether it is signed (Content Credentials), where that is offered",
    },
}


def options_of(vocabulary: Vocabulary) -> dict[str, Any]:
    """The properties of a request, by the first names of ``vocabulary``."""
    return {names[0]: OPTIONS[ours] for ours, names in vocabulary.items()}


def described(
    properties: dict[str, Any], required: list[str], example: dict[str, Any], answers: dict[str, Any]
) -> dict[str, Any]:
    """An operation: its JSON body, and ``answers``, the properties of the answer of status 200."""
    body = {"type": "object", "required": required, "properties": properties}
    answer = {"type": "object", "required": list(answers), "properties": answers}
    content = {"application/json": {"schema": body, "example": example}}
    done = {"description": "What was drawn", "content": {"application/json": {"schema": answer}}}
    return {"requestBody": {"required": True, "content": content}, "responses": {"200": done}}
