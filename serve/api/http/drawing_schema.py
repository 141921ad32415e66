"""What OpenAPI says of requests for drawings: JSON schemas that the doors put together."""

from __future__ import annotations

from typing import Any

from serve.api.http.callers import CACHE_HEADER, KEY
from serve.api.http.drawing import Vocabulary
from serve.api.openapi.operation import header
from serve.diffusion.noise import MAX_SEED
from serve.ensembles.illustrator.encoding import DEFAULT_QUALITY, MEDIA_TYPES
from serve.ensembles.illustrator.illustration import MAX_GUIDANCE, MAX_PROMPT_CHARACTERS, MAX_SIDE_PX, MAX_STEPS
from serve.jobs.queue.idempotency import MAX_KEY

KEY_PARAMETER = header(
    KEY, {"type": "string", "minLength": 1, "maxLength": MAX_KEY}, "The same key and request are done but once."
)
ASKING = [
    KEY_PARAMETER,
    header(
        "Cache-Control", {"type": "string"}, "no-cache: not a stored answer; no-store: nor is this one to be stored."
    ),
]
"""How the direct doors are asked."""
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
    """The properties of a request, by the names of ``vocabulary``; of two for the same, one may be sent."""
    found = {names[0]: OPTIONS[ours] for ours, names in vocabulary.items()}
    for ours, names in vocabulary.items():
        for other in names[1:]:
            found[other] = {**OPTIONS[ours], "description": f"another name of {names[0]}"}
    return found


def described(
    properties: dict[str, Any],
    required: list[str],
    example: dict[str, Any],
    answers: dict[str, Any],
    others: bool = False,
) -> dict[str, Any]:
    """An operation: its JSON body, and ``answers``, the properties of the answer of status 200.

    ``others``: whether the body may have other members.
    """
    body = {"type": "object", "required": required, "properties": properties, "additionalProperties": others}
    answer = {"type": "object", "required": list(answers), "properties": answers}
    content = {"application/json": {"schema": body, "example": example}}
    done = {
        "description": "What was drawn",
        "headers": CACHE_HEADER,
        "content": {"application/json": {"schema": answer}},
    }
    return {"parameters": ASKING, "requestBody": {"required": True, "content": content}, "responses": {"200": done}}
