"""Prompt to illustration for a user: `POST /api/illustrations/generate` (A-070) and `POST /generate` (A-072).

Style and memory become part of the prompt, in this order, separated by commas: the prompt, "STYLE style", "COLOURS
colours", "MOOD mood", the memory's title, its content. A preference that names a style of the site
(`serve.api.native.styles`) becomes that style's words instead. Brackets in the others are the characters, not weights.
The memory's date is only told in the metadata: a text encoder makes nothing of it. A memory may be a stored one
(`/api/memories`), by its id or as the one that is most like the prompt.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Self

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, BeforeValidator, ConfigDict, FailFast, Field, WithJsonSchema, model_validator

from serve.api.http.callers import CACHE_HEADER, CalledBy, DrawsDirectly, urls_of
from serve.api.http.drawing import (
    PictureUrl,
    Prompt,
    SizedDrawingFields,
    answer_metadata,
    camel_case,
    draw,
    family_for,
    with_answer_headers,
)
from serve.api.http.guides import MAX_NAME
from serve.api.http.models import Number, RequestModel, Text, error_at
from serve.api.http.ownership import UserName, owner_of
from serve.api.http.picture_forms import PictureRoute, with_form
from serve.api.http.problems import render
from serve.api.library.picture_sources import SourcesOf
from serve.api.mind.memories import StoredMemoryFields, recalled
from serve.api.native.conversion import SiteSettings
from serve.api.native.styles import StylesOf
from serve.diffusion import styles
from serve.diffusion.styles import Style
from serve.ensembles.illustrator.adapters import MAX_PICTURES_EACH, MAX_SCALE, ReferenceUse
from serve.ensembles.illustrator.illustration import MAX_PROMPT_CHARACTERS
from serve.errors import InvalidRequest, rename_fields
from serve.jobs.direct.service import DirectService

router = APIRouter(route_class=PictureRoute)

MAX_PHRASE = 512
NO_STYLES: Mapping[str, Style] = {}
MAX_COLOURS = 16


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
        own = {"id", "recall"}
        texts: dict[str, str] = self.model_dump(by_alias=True, exclude_none=True, exclude=own)
        return {name: text.strip() for name, text in texts.items() if text.strip()}


class StylePreferences(_Context):
    artistic_style: Phrase | None = None
    color_palette: Annotated[Phrase | None, BeforeValidator(_palette), _TEXT_OR_COLOURS] = None
    mood: Phrase | None = None


class MemoryContext(StoredMemoryFields, _Context):
    title: Passage | None = None
    content: Passage | None = None
    date: Passage | None = None


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


class _SubjectReference(RequestModel, alias_generator=camel_case):
    name: Annotated[Text | None, Field(max_length=MAX_NAME)] = None
    image_url: Annotated[Text | None, Field(description="https: or data:; the newest stored one by default")] = None
    weight: Annotated[Number, Field(ge=0, le=MAX_SCALE)] = 1.0

    @model_validator(mode="after")
    def _require_one(self) -> Self:
        if self.name is None and self.image_url is None:
            raise error_at(type(self), "needs a name or an imageUrl", "name")
        return self

    def picture(self) -> str:
        """A URL or the name of a subject."""
        return self.image_url or self.name or ""


SubjectReference = Annotated[_SubjectReference, BeforeValidator(_named)]


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
        list[SubjectReference],
        FailFast(),
        Field(max_length=MAX_PICTURES_EACH, description="subjects that are drawn again: names, or names and pictures"),
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
        await _check_references(direct, body.model, "subjectReferences")
    style, given = body.style_preferences.texts(), body.memory_context
    memory = await recalled(given.texts(), given, body.prompt, request, body.user_id)
    context = {name: texts for name, texts in (("style_preferences", style), ("memory_context", memory)) if texts}
    inputs = await sources.options(body, caller.user_id)
    for i, subject in enumerate(body.subject_references):
        picture = await sources.subject(subject.picture(), f"subjectReferences[{i}]", caller.user_id)
        inputs["references"] += (ReferenceUse(picture, weight=subject.weight),)
    longest = "prompt" if len(body.prompt) >= len(memory.get("content", "")) else "memoryContext.content"
    with rename_fields({"prompt": longest}):  # what to shorten, should all of it be too long
        named = book.preferred(style)
        mixed = styles.mix("", body.negative_prompt, [(one, 1.0) for one in named.values()])
        prompts = {"prompt": folded(body.prompt, style, memory, named), "negative_prompt": mixed.negative_prompt}
        own = body.options()
        defaults = {name: value for name, value in mixed.defaults.items() if own[name] is None}
        order = body.styled_order(book, settings.pictures.embed_metadata, mixed, **defaults, **prompts, **inputs)
        answer = await draw(order, direct, caller, **context)
    metadata = answer_metadata(answer)
    metadata["parameters"] = {camel_case(name): value for name, value in metadata["parameters"].items()}
    content = {
        "imageUrl": urls_of(answer, settings)[0],
        "generationId": answer.generation_id,
        "metadata": {camel_case(name): value for name, value in metadata.items()},
    }
    return with_answer_headers(render(content, 200, None), answer)


async def _check_references(direct: DirectService, model: str | None, field: str) -> None:
    """Raises UnsupportedYet where the model takes none, before anything is fetched."""
    family = family_for(await direct.families(), model, lambda one: one.takes_references)
    if not family.takes_references:
        reason = f"references are not offered yet by model '{family.name}'; build its engines with --ip-adapter"
        raise UnsupportedYet(reason, field)


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
    subject_reference_url: Annotated[
        Text | None,
        Field(description="what is drawn again: an https: or data: URL, or the name of a stored subject"),
    ] = None
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
        await _check_references(direct, body.model, "subject_reference_url")
    inputs = await sources.options(body, caller.user_id)
    if body.subject_reference_url is not None:
        picture = await sources.subject(body.subject_reference_url, "subject_reference_url", caller.user_id)
        inputs["references"] += (ReferenceUse(picture, style_scale=body.style_scale, content_scale=body.content_scale),)
    order = body.styled_order(book, settings.pictures.embed_metadata, prompt=body.prompt, **inputs)
    answer = await draw(order, direct, caller)
    url = urls_of(answer, settings)[0]
    content = {"image_url": url, "generation_id": answer.generation_id, "metadata": answer_metadata(answer)}
    return with_answer_headers(render(content, 200, None), answer)
