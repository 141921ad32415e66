"""Prompt to illustration for a user: `POST /api/illustrations/generate` (A-070) and `POST /generate` (A-072).

Style and memory become part of the prompt, in this order, separated by commas: the prompt, "STYLE style", "COLOURS
colours", "MOOD mood", the memory's title, its content. Brackets in them are the characters, not weights. The memory's
date is only told in the metadata: a text encoder makes nothing of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request, Response

from serve.api.http.callers import DrawsDirectly, caller_of, urls_of
from serve.api.http.drawing import CAMEL_CASE, SNAKE_CASE, camel_case, draw, names_of, parse_order, told, with_words
from serve.api.http.drawing_schema import PICTURE_URL, PROMPT, described, options_of
from serve.api.http.json_body import read_json
from serve.api.http.ownership import MAX_USER, WHOSE, user_of
from serve.api.http.problems import render
from serve.api.http.values import mapping, number, refuse_unknown, required_text, text
from serve.api.native.conversion import SiteSettings
from serve.ensembles.illustrator.illustration import MAX_PROMPT_CHARACTERS
from serve.errors import InvalidRequest, rename_fields

router = APIRouter()

MAX_PHRASE = 512
MAX_COLOURS = 16
_SCALES = {"style_scale": 0.8, "content_scale": 1.0}
_STYLE = ("artisticStyle", "colorPalette", "mood")
_MEMORY = ("title", "content", "date")
_TEXT = {"type": "string"}


class UnsupportedYet(InvalidRequest):
    """Asks for something that is known and not offered."""

    status = 422
    title = "Not offered yet"


def _objects(*names: str) -> dict[str, Any]:
    return {"type": "object", "properties": {name: _TEXT for name in names}, "additionalProperties": False}


_STYLE_SCHEMA = _objects(*_STYLE)
_STYLE_SCHEMA["properties"]["colorPalette"] = {
    "anyOf": [_TEXT, {"type": "array", "items": _TEXT, "maxItems": MAX_COLOURS}],
    "description": "text, or names of colours",
}
_ILLUSTRATION = described(
    {
        "prompt": PROMPT,
        "userId": {"type": "string", "minLength": 1, "maxLength": MAX_USER, "description": WHOSE},
        "subjectReferences": {"type": "array", "maxItems": 0, "description": "not offered yet"},
        "stylePreferences": _STYLE_SCHEMA,
        "memoryContext": _objects(*_MEMORY),
        **options_of(CAMEL_CASE),
    },
    ["prompt"],
    {"prompt": "a fox", "userId": "ada", "stylePreferences": {"artisticStyle": "flat", "mood": "calm"}, "seed": 7},
    {"imageUrl": PICTURE_URL, "generationId": _TEXT, "metadata": {"type": "object"}},
)


@router.post("/api/illustrations/generate", openapi_extra=_ILLUSTRATION)
async def generate_illustration(request: Request, direct: DrawsDirectly, settings: SiteSettings) -> Response:
    """Prompt to illustration, with a user's style and memory."""
    values = await read_json(request, settings.limits)
    own = ("prompt", "userId", "subjectReferences", "stylePreferences", "memoryContext")
    refuse_unknown(values, (*own, *names_of(CAMEL_CASE)))
    caller = caller_of(request, user_of(request, values, "userId"))
    _refuse_references(values.get("subjectReferences"))
    style, memory = _style(values), _texts(values, "memoryContext", _MEMORY, MAX_PROMPT_CHARACTERS)
    own_prompt = required_text(values, "prompt", MAX_PROMPT_CHARACTERS)
    prompt = folded(own_prompt, style, memory)
    longest = "prompt" if len(own_prompt) >= len(memory.get("content", "")) else "memoryContext.content"
    asked = {name: given for name, given in (("style_preferences", style), ("memory_context", memory)) if given}
    with rename_fields({"prompt": longest}):  # what to shorten, should all of it be too long
        order = parse_order(values, CAMEL_CASE, settings.pictures.embed_metadata, prompt=prompt)
        answer = await draw(order, direct, caller, **asked)
    metadata = told(answer)
    metadata["parameters"] = {camel_case(name): value for name, value in metadata["parameters"].items()}
    body = {
        "imageUrl": urls_of(answer, settings)[0],
        "generationId": answer.generation_id,
        "metadata": {camel_case(name): value for name, value in metadata.items()},
    }
    return with_words(render(body, 200, None), answer)


def _refuse_references(references: Any) -> None:
    if references is not None and not isinstance(references, list):
        raise InvalidRequest("must be a list", "subjectReferences")
    if references:
        raise UnsupportedYet("references are not offered yet; leave them out", "subjectReferences")


def _style(values: Mapping[str, Any]) -> dict[str, str]:
    """A palette may be a list of colours."""
    given = dict(mapping(values, "stylePreferences"))
    palette = given.get("colorPalette")
    if isinstance(palette, list):
        if len(palette) > MAX_COLOURS or not all(isinstance(colour, str) for colour in palette):
            raise InvalidRequest(f"must be text or up to {MAX_COLOURS} names", "stylePreferences.colorPalette")
        given["colorPalette"] = " and ".join(palette)
    return _texts({"stylePreferences": given}, "stylePreferences", _STYLE, MAX_PHRASE)


def _texts(values: Mapping[str, Any], name: str, known: tuple[str, ...], longest: int) -> dict[str, str]:
    """The texts in the object ``name``; a field at fault is named with a dot."""
    dotted = {f"{name}.{part}": value for part, value in mapping(values, name).items()}
    refuse_unknown(dotted, [f"{name}.{part}" for part in known])
    found = {part: text(dotted, f"{name}.{part}", longest) for part in known}
    return {part: value.strip() for part, value in found.items() if value and value.strip()}


def folded(prompt: str, style: Mapping[str, str], memory: Mapping[str, str]) -> str:
    """``prompt`` with a user's style and memory, as the module's text says."""
    phrases = [
        (style.get("artisticStyle"), "{} style"),
        (style.get("colorPalette"), "{} colours"),
        (style.get("mood"), "{} mood"),
        (memory.get("title"), "{}"),
        (memory.get("content"), "{}"),
    ]
    added = [form.format(_plain(value)) for value, form in phrases if value]
    return ", ".join([prompt, *added])


def _plain(words: str) -> str:
    r"""``words`` with every character that weighs a prompt escaped."""
    return re.sub(r"([\\()\[\]])", r"\\\1", words)


_GENERATION = described(
    {
        "prompt": PROMPT,
        "user_id": {"type": "string", "minLength": 1, "maxLength": MAX_USER, "description": WHOSE},
        "subject_reference_url": {"type": "null", "description": "not offered yet"},
        **{name: {"type": "number", "minimum": 0, "maximum": 2, "default": scale} for name, scale in _SCALES.items()},
        **options_of(SNAKE_CASE),
    },
    ["prompt"],
    {"prompt": "red apple, flat", "user_id": "ada", "seed": 7},
    {"image_url": PICTURE_URL, "generation_id": _TEXT, "metadata": {"type": "object"}},
)


@router.post("/generate", openapi_extra=_GENERATION)
async def generate(request: Request, direct: DrawsDirectly, settings: SiteSettings) -> Response:
    """Prompt to illustration, as a service behind another. The scales are those of a reference: without one, idle."""
    values = await read_json(request, settings.limits)
    refuse_unknown(values, ("prompt", "user_id", "subject_reference_url", *_SCALES, *names_of(SNAKE_CASE)))
    caller = caller_of(request, user_of(request, values))
    if text(values, "subject_reference_url") is not None:
        raise UnsupportedYet("references are not offered yet; leave it out", "subject_reference_url")
    for name in _SCALES:
        scale = number(values, name)
        if scale is not None and not 0 <= scale <= 2:
            raise InvalidRequest("must be from 0 to 2", name)
    prompt = required_text(values, "prompt", MAX_PROMPT_CHARACTERS)
    order = parse_order(values, SNAKE_CASE, settings.pictures.embed_metadata, prompt=prompt)
    answer = await draw(order, direct, caller)
    url = urls_of(answer, settings)[0]
    body = {"image_url": url, "generation_id": answer.generation_id, "metadata": told(answer)}
    return with_words(render(body, 200, None), answer)
