"""Prompt to illustration for a user: `POST /api/illustrations/generate` (A-070) and `POST /generate` (A-072).

Style and memory become part of the prompt, in this order, separated by commas: the prompt, "STYLE style", "COLOURS
colours", "MOOD mood", the memory's title, its content. A preference that names a style of the site
(`serve.api.native.styles`) becomes that style's words instead. Brackets in the others are the characters, not weights.
The memory's date is only told in the metadata: a text encoder makes nothing of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from serve.api.http.callers import CACHE_HEADER, CalledBy, DrawsDirectly, urls_of
from serve.api.http.drawing import (
    PictureUrl,
    Prompt,
    SizedDrawingFields,
    answer_metadata,
    camel_case,
    draw,
    with_answer_headers,
)
from serve.api.http.models import Number, RequestModel, Text
from serve.api.http.ownership import UserName, owner_of
from serve.api.http.picture_forms import PictureRoute, with_form
from serve.api.http.problems import render
from serve.api.library.picture_sources import SourcesOf
from serve.api.native.conversion import SiteSettings
from serve.api.native.styles import StylesOf
from serve.diffusion import styles
from serve.diffusion.styles import Style
from serve.ensembles.illustrator.illustration import MAX_PROMPT_CHARACTERS
from serve.errors import InvalidRequest, rename_fields

router = APIRouter(route_class=PictureRoute)

MAX_PHRASE = 512
NO_STYLES: Mapping[str, Style] = {}
MAX_COLOURS = 16
_NOT_YET = WithJsonSchema({"type": "null", "description": "not offered yet"})


class UnsupportedYet(InvalidRequest):
    """Asks for something that is known and not offered."""

    status = 422
    title = "Not offered yet"
    kind = "not-yet"


def _palette(value: Any) -> Any:
    """A list of colours as text."""
    if not isinstance(value, list):
        return value
    if len(value) > MAX_COLOURS or not all(isinstance(colour, str) for colour in value):
        raise ValueError(f"must be text or up to {MAX_COLOURS} names")
    return " and ".join(value)


_TEXT_OR_COLOURS = WithJsonSchema({
    "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "maxItems": MAX_COLOURS}],
    "description": "text, or names of colours",
})  # fmt: skip
Phrase = Annotated[Text, Field(max_length=MAX_PHRASE)]
Passage = Annotated[Text, Field(max_length=MAX_PROMPT_CHARACTERS)]


class _Context(RequestModel, alias_generator=camel_case):
    """Texts that become part of the prompt; those of spaces alone do not count."""

    def texts(self) -> dict[str, str]:
        """By the client's names."""
        texts: dict[str, str] = self.model_dump(by_alias=True, exclude_none=True)
        return {name: text.strip() for name, text in texts.items() if text.strip()}


class StylePreferences(_Context):
    artistic_style: Phrase | None = None
    color_palette: Annotated[Phrase | None, BeforeValidator(_palette), _TEXT_OR_COLOURS] = None
    mood: Phrase | None = None


class MemoryContext(_Context):
    title: Passage | None = None
    content: Passage | None = None
    date: Passage | None = None


class IllustrationRequest(SizedDrawingFields):
    model_config = ConfigDict(
        alias_generator=camel_case,
        json_schema_extra={
            "examples": [
                {
                    "prompt": "a fox",
                    "userId": "ada",
                    "stylePreferences": {"artisticStyle": "flat", "mood": "calm"},
                    "seed": 7,
                }
            ]
        },
    )

    prompt: Prompt
    user_id: UserName | None = None
    subject_references: Annotated[
        list[Any], Field(description="not offered yet", json_schema_extra={"maxItems": 0})
    ] = Field(default_factory=list)
    style_preferences: StylePreferences = StylePreferences()
    memory_context: MemoryContext = MemoryContext()


class IllustrationResponse(BaseModel, alias_generator=camel_case):
    image_url: PictureUrl
    generation_id: str
    metadata: dict[str, Any]


@router.post(
    "/api/illustrations/generate",
    response_model=IllustrationResponse,
    response_description="What was drawn",
    responses={200: {"headers": CACHE_HEADER}},
    openapi_extra=with_form(IllustrationRequest),
)
async def generate_illustration(
    body: IllustrationRequest,
    request: Request,
    headers: CalledBy,
    direct: DrawsDirectly,
    settings: SiteSettings,
    sources: SourcesOf,
    book: StylesOf,
) -> Response:
    """Prompt to illustration, with a user's style and memory."""
    caller = headers.caller(request, owner_of(request, body.user_id, "userId"))
    if body.subject_references:
        raise UnsupportedYet("references are not offered yet; leave them out", "subjectReferences")
    style, memory = body.style_preferences.texts(), body.memory_context.texts()
    context = {name: texts for name, texts in (("style_preferences", style), ("memory_context", memory)) if texts}
    source = await sources.of(body, caller.user_id)
    longest = "prompt" if len(body.prompt) >= len(memory.get("content", "")) else "memoryContext.content"
    with rename_fields({"prompt": longest}):  # what to shorten, should all of it be too long
        named = book.preferred(style)
        mixed = styles.mix("", body.negative_prompt, [(one, 1.0) for one in named.values()])
        prompts = {"prompt": folded(body.prompt, style, memory, named), "negative_prompt": mixed.negative_prompt}
        own = body.options()
        defaults = {name: value for name, value in mixed.defaults.items() if own[name] is None}
        order = body.styled_order(
            book, settings.pictures.embed_metadata, mixed.colors, **defaults, **prompts, source=source
        )
        answer = await draw(order, direct, caller, **context)
    metadata = answer_metadata(answer)
    metadata["parameters"] = {camel_case(name): value for name, value in metadata["parameters"].items()}
    content = {
        "imageUrl": urls_of(answer, settings)[0],
        "generationId": answer.generation_id,
        "metadata": {camel_case(name): value for name, value in metadata.items()},
    }
    return with_answer_headers(render(content, 200, None), answer)


def folded(
    prompt: str, style: Mapping[str, str], memory: Mapping[str, str], named: Mapping[str, Style] = NO_STYLES
) -> str:
    """``prompt`` with a user's style and memory, as the module's text says; ``named``: preferences that are styles."""
    forms = {"artisticStyle": "{} style", "colorPalette": "{} colours", "mood": "{} mood"}
    added = [
        named[name].prompt if name in named else form.format(_plain(style[name]))
        for name, form in forms.items()
        if style.get(name)
    ]
    added += [_plain(memory[name]) for name in ("title", "content") if memory.get(name)]
    return ", ".join([prompt, *added])


def _plain(words: str) -> str:
    r"""``words`` with every character that weighs a prompt escaped."""
    return re.sub(r"([\\()\[\]])", r"\\\1", words)


class GenerateRequest(SizedDrawingFields):
    """The scales are those of a reference: without one, they have no effect."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"prompt": "red apple, flat", "user_id": "ada", "seed": 7}]}
    )

    prompt: Prompt
    user_id: UserName | None = None
    subject_reference_url: Annotated[Text | None, _NOT_YET] = None
    style_scale: Annotated[Number, Field(ge=0, le=2)] = 0.8
    content_scale: Annotated[Number, Field(ge=0, le=2)] = 1.0


class GenerateResponse(BaseModel):
    image_url: PictureUrl
    generation_id: str
    metadata: dict[str, Any]


@router.post(
    "/generate",
    response_model=GenerateResponse,
    response_description="What was drawn",
    responses={200: {"headers": CACHE_HEADER}},
    openapi_extra=with_form(GenerateRequest),
)
async def generate(
    body: GenerateRequest,
    request: Request,
    headers: CalledBy,
    direct: DrawsDirectly,
    settings: SiteSettings,
    sources: SourcesOf,
    book: StylesOf,
) -> Response:
    """Prompt to illustration, as a service behind another."""
    caller = headers.caller(request, owner_of(request, body.user_id))
    if body.subject_reference_url is not None:
        raise UnsupportedYet("references are not offered yet; leave it out", "subject_reference_url")
    source = await sources.of(body, caller.user_id)
    order = body.styled_order(book, settings.pictures.embed_metadata, prompt=body.prompt, source=source)
    answer = await draw(order, direct, caller)
    url = urls_of(answer, settings)[0]
    content = {"image_url": url, "generation_id": answer.generation_id, "metadata": answer_metadata(answer)}
    return with_answer_headers(render(content, 200, None), answer)
