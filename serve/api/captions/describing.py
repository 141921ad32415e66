"""`POST /api/captions/describe`: what a language model that sees pictures says of one, in several turns (B-024)."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, FailFast, Field

from serve.api.captions.captioners import known_describer
from serve.api.http.callers import CallerOf
from serve.api.http.input_pictures import PictureOriginFields
from serve.api.http.models import FORM_LIST, RequestModel, Text, Whole
from serve.api.http.picture_forms import PictureRoute, with_form
from serve.api.http.problems import render
from serve.api.library.files import ConversionTurns
from serve.api.library.picture_sources import PictureSources
from serve.ensembles.captioner.describer import Describer, question_of, templates
from serve.ensembles.embedder import on_white
from serve.errors import InvalidRequest, Unsupported

router = APIRouter(prefix="/api/captions", route_class=PictureRoute)

MAX_TURNS = 8
MAX_TEXT = 2_000


class Turn(RequestModel):
    question: Annotated[Text, Field(min_length=1, max_length=MAX_TEXT)]
    answer: Annotated[Text, Field(min_length=1, max_length=2 * MAX_TEXT)]


class DescribeRequest(PictureOriginFields):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"image": "data:image/png;base64,iVBORw0KGgo=", "question": "What is the light like?"}]
        }
    )

    template: Annotated[
        Text | None, Field(max_length=64, description="A question by its name: one of GET /api/captions/templates.")
    ] = None
    question: Annotated[Text | None, Field(max_length=MAX_TEXT, description="In place of template.")] = None
    turns: Annotated[
        list[Turn],
        FailFast(),
        Field(max_length=MAX_TURNS, description="Earlier questions on this picture and their answers, in order."),
        FORM_LIST,
    ] = Field(default_factory=list)
    max_tokens: Annotated[Whole, Field(ge=1, le=1_024)] = 256


class DescribedPicture(BaseModel):
    text: str
    question: str
    model: Annotated[str, Field(examples=["llava"])]
    turns: Annotated[list[Turn], Field(description="Those of the request and this one, the last eight, for the next.")]


class TemplatesResponse(BaseModel):
    templates: Annotated[dict[str, str], Field(examples=[{"style": "Name the artistic style of this picture."}])]


def describer_of(request: Request) -> Describer:
    """Raises Unsupported where there is none."""
    found = known_describer(request)
    if found is None:
        raise Unsupported(
            "there is no language model that sees pictures; director.base_url names one, and "
            "director.sees_pictures says that it does",
            "image",
        )
    return found


@router.post(
    "/describe",
    response_model=DescribedPicture,
    response_description="What it says",
    responses={501: {}},
    openapi_extra=with_form(DescribeRequest, files=("image",)),
)
async def describe(body: DescribeRequest, request: Request, caller: CallerOf, turns: ConversionTurns) -> Response:
    """A picture described by a language model that sees it: by a template, or as the answer to a question."""
    describer, question = describer_of(request), question_of(body.template, body.question)
    picture = await PictureSources(request).shown(body, caller.user_id)
    if picture is None:
        raise InvalidRequest("is required: the picture to describe", "image")
    async with turns.slot():
        rgb = await asyncio.to_thread(on_white, picture.data)
    before = [(one.question, one.answer) for one in body.turns]
    text = await describer.describe(rgb, before, question, body.max_tokens)
    latest = [*before, (question, text[: 2 * MAX_TEXT])][-MAX_TURNS:]
    said = [{"question": one, "answer": answer} for one, answer in latest]
    return render({"text": text, "question": question, "model": describer.model.name, "turns": said}, 200, None)


@router.get("/templates", response_model=TemplatesResponse, response_description="By name")
async def list_templates() -> Response:
    """The questions of this site's file, by name."""
    return render({"templates": dict(templates())}, 200, None)
