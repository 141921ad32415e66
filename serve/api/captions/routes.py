"""`POST /api/captions`, `GET /api/captions/models`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from serve.api.captions.captioners import captioner_of
from serve.api.captions.fields import CaptionFields
from serve.api.http.callers import CallerOf
from serve.api.http.input_pictures import PictureOriginFields
from serve.api.http.picture_forms import PictureRoute, with_form
from serve.api.http.problems import render
from serve.api.library.files import ConversionTurns
from serve.api.library.picture_sources import PictureSources
from serve.errors import InvalidRequest

router = APIRouter(prefix="/api/captions", route_class=PictureRoute)


class CaptionRequestBody(PictureOriginFields, CaptionFields):
    model_config = ConfigDict(json_schema_extra={"examples": [{"image": "data:image/png;base64,iVBORw0KGgo="}]})


class CaptionCandidate(BaseModel):
    text: str
    model: str
    confidence: Annotated[
        float | None,
        Field(
            ge=0, le=1, description="The model's own: the mean probability of a token. A language model states none."
        ),
    ]
    likeness: Annotated[float | None, Field(description="Cosine of the embeddings of text and picture.")]
    fit: Annotated[float | None, Field(ge=0, le=1, description="Likelihood by them, relative to the best candidate.")]
    agreement: Annotated[float | None, Field(ge=0, le=1, description="How much of it other models say too.")]
    score: Annotated[
        float, Field(ge=0, le=1, description="The mean of those known, times the model's weight; 0 where none is.")
    ]


class CaptionTag(BaseModel):
    category: Annotated[str, Field(examples=["objects"])]
    name: Annotated[str, Field(examples=["heart"])]
    score: Annotated[float, Field(ge=-1, le=1, description="Cosine of the embeddings of word and picture.")]
    probability: Annotated[float, Field(ge=0, le=1, description="Among the words of its category.")]


class CaptionedPicture(BaseModel):
    caption: Annotated[
        str,
        Field(
            description="The best candidate, with likely words that it does not say; empty where no model had a word."
        ),
    ]
    score: Annotated[float, Field(ge=0, le=1, description="Of the best candidate; 0 without one.")]
    candidates: Annotated[list[CaptionCandidate], Field(description="The best first.")]
    tags: Annotated[list[CaptionTag], Field(description="The likeliest words of each category of the vocabulary.")]
    models: Annotated[list[str], Field(examples=[["blip", "search"]])]
    seconds: float


class CaptionModelsResponse(BaseModel):
    models: Annotated[
        list[str],
        Field(description="The engines, the embedding that names the nearest words, the language model that sees."),
    ]


@router.post(
    "",
    response_model=CaptionedPicture,
    response_description="The caption and its candidates",
    responses={501: {}},
    openapi_extra=with_form(CaptionRequestBody, files=("image",)),
)
async def caption(body: CaptionRequestBody, request: Request, caller: CallerOf, turns: ConversionTurns) -> Response:
    """What a picture shows, by all captioning models of the site together."""
    captioner, options = await captioner_of(request), body.options()
    captioner.check(options)
    picture = await PictureSources(request).shown(body, caller.user_id)
    if picture is None:
        raise InvalidRequest("is required: the picture to caption", "image")
    async with turns.slot():
        made = await captioner.caption(picture.data, options)
    return render(made.to_json(), 200, None)


@router.get("/models", response_model=CaptionModelsResponse, response_description="Their names")
async def models(request: Request) -> Response:
    """The models that caption pictures here."""
    return render({"models": list((await captioner_of(request)).models)}, 200, None)
