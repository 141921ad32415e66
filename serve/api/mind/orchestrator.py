"""`/api/orchestrator`: which models suit a prompt, and drawing with several at once, ranked (C-040, C-041)."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Request, Response
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from serve.api.http.callers import Directly, DrawsDirectly, urls_of
from serve.api.http.drawing import DrawingFields, PictureUrl, draw
from serve.api.http.input_pictures import input_picture, limits_of
from serve.api.http.models import Number, RequestModel, Text, Time, Whole
from serve.api.http.ownership import UserName
from serve.api.http.problems import kind_of, render
from serve.api.middleware.authentication import principal_of
from serve.api.mind.analyser import analyse
from serve.api.mind.fields import MAX_PROMPT
from serve.api.mind.taste import TasteOf
from serve.api.native.conversion import SiteSettings
from serve.api.restyling.styles import styles_of
from serve.ensembles.embedder import Embedder, embedder_in, relative_fits
from serve.ensembles.prompts.analysis import Analysis
from serve.ensembles.restyler.restyle import Restyle, StyleUse
from serve.ensembles.restyler.style_files import StyleFile
from serve.errors import NotFound
from serve.jobs.direct.direct_request import Answer, Caller
from serve.jobs.direct.service import DirectService
from serve.observability.metrics import catalogue
from serve.personalisation.orchestrator import (
    DIFFUSION,
    STYLE_TRANSFER,
    Drawn,
    Selected,
    generate_with_models,
    palette_agreement,
    rank_score,
    select_models,
)
from serve.personalisation.taste import TasteService
from serve.settings import Settings
from serve.state.tables import utc_now

router = APIRouter(prefix="/api/orchestrator")

MAX_MODELS = 4
MAX_TIMEOUT_S = 600.0
_PX = 48
_PROMPT = "portrait of an old sailor, oil painting"
Names = Annotated[
    list[Annotated[Text, Field(min_length=1, max_length=256)]], Field(min_length=1, max_length=MAX_MODELS)
]


class SelectModelsRequest(RequestModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"prompt": _PROMPT}]})

    prompt: Annotated[Text, Field(min_length=1, max_length=MAX_PROMPT)]
    models: Annotated[Names | None, Field(description="These alone: the caller's choice wins.")] = None
    user_id: Annotated[UserName | None, Field(alias="userId")] = None


class OrchestratedRequest(SelectModelsRequest):
    model_config = ConfigDict(json_schema_extra={"examples": [{"prompt": _PROMPT, "count": 2, "seed": 7}]})

    count: Annotated[Whole, Field(ge=1, le=MAX_MODELS, description="How many models draw, if none is named.")] = 2
    seed: Annotated[Whole | None, Field(ge=0, le=2**32 - 1, description="The same for all.")] = None
    steps: Annotated[Whole | None, Field(ge=1, le=150)] = None
    timeout_s: Annotated[
        Number, Field(alias="timeoutS", gt=0, le=MAX_TIMEOUT_S, description="Seconds for each model.")
    ] = 60.0


class SelectedModel(BaseModel):
    kind: Literal["diffusion", "style-transfer"]
    model: str
    confidence: Annotated[float, Field(ge=0, le=1)]
    reason: str
    expected: Annotated[float, Field(ge=0, le=1, description="What the user's feedback says of it.")]
    available: Annotated[bool, Field(description="Whether this site has it.")]


class SelectModelsResponse(BaseModel):
    models: list[SelectedModel]
    served_by: Literal["rules"]


class RankedResult(BaseModel):
    model: str
    imageUrl: PictureUrl | None
    generationId: str | None
    score: Annotated[float, Field(ge=0, le=1)]
    paletteAgreement: Annotated[
        float | None, Field(ge=0, le=1, description="How much of the colours that the prompt names it shows.")
    ]
    likeness: Annotated[
        float | None,
        Field(ge=-1, le=1, description="Cosine of the embeddings of the picture and the prompt.", examples=[0.61]),
    ]
    fit: Annotated[
        float | None, Field(ge=0, le=1, description="How likely it is for the prompt, relative to the most likely one.")
    ]
    seconds: float
    error: Annotated[str | None, Field(description="Why there is no picture.")]
    metadata: Annotated[dict[str, Any], Field(examples=[{"seed": 7}])]
    generatedAt: Time | None


class OrchestratedResponse(BaseModel):
    results: Annotated[list[RankedResult], Field(description="The best first, failures last.")]
    selected: list[SelectedModel]
    rankedBy: Annotated[
        str,
        Field(
            description="Without engines of an image-text embedding, or if they know no word of the prompt: taste, or "
            "taste and palette.",
            examples=["image-text embedding, taste and palette"],
        ),
    ]
    rankedWith: Annotated[
        str | None, Field(description="The engines of the embedding.", examples=["search 0123456789abcdef"])
    ]


@router.post("/select", response_model=SelectModelsResponse, response_description="The best first")
async def select(body: SelectModelsRequest, request: Request, direct: Directly, taste: TasteOf) -> Response:
    """Which models suit a prompt, by its analysis and the user's taste, with confidence and reason."""
    analysis = await analyse(body.prompt)
    found = await _selected(body, analysis, await _style_of(analysis, request, direct), request, direct, taste)
    return render({"models": [_selected_document(one) for one in found], "served_by": "rules"}, 200, None)


@router.post("/generate", response_model=OrchestratedResponse, response_description="What was drawn, ranked")
async def generate(
    body: OrchestratedRequest, request: Request, direct: DrawsDirectly, settings: SiteSettings, taste: TasteOf
) -> Response:
    """Draw a prompt with several models at once, each within a time limit, and rank the results."""
    analysis = await analyse(body.prompt)
    style = await _style_of(analysis, request, direct)
    selected = await _selected(body, analysis, style, request, direct, taste)
    models = [one.model for one in selected if one.available][: len(body.models) if body.models else body.count]
    user_id = principal_of(request).acting_user_id(body.user_id, "userId")
    fields = DrawingFields.model_validate({
        name: value for name, value in (("seed", body.seed), ("num_inference_steps", body.steps)) if value is not None
    })  # fmt: skip

    base = next((one.model for one in selected if one.kind == DIFFUSION), None)

    async def draw_with(model: str) -> Answer:
        options: dict[str, Any] = {"model": model}
        if model == STYLE_TRANSFER:  # what diffusion draws, painted in the style
            options = {"model": base, "restyle": await _restyle(style, settings)}
        order = fields.order(settings.pictures.embed_metadata, prompt=body.prompt, **options)
        return await draw(order, direct, Caller(user_id=user_id))

    expected = {one.model: one.expected for one in selected}
    palette = [one.hex for one in analysis.palette if one.source == "word"]
    drawn = await generate_with_models(models, draw_with, body.timeout_s)
    embedder = await asyncio.to_thread(ranker_in, settings)
    likeness = await _likeness(embedder, body.prompt, drawn)
    fits = _fits(embedder, likeness)
    results = [
        await _result(one, expected[one.model], palette, like, fit, settings)
        for one, like, fit in zip(drawn, likeness, fits, strict=True)
    ]
    results.sort(key=lambda one: (one["error"] is not None, -one["score"]))
    _count(results)
    by = [name for name, used in (("image-text embedding", any(f is not None for f in fits)), ("taste", True)) if used]
    content = {
        "results": results,
        "selected": [_selected_document(one) for one in selected],
        "rankedBy": " and ".join([", ".join(by), "palette"] if palette else by),
        "rankedWith": f"{embedder.name} {embedder.engine}" if embedder is not None and len(by) > 1 else None,
    }
    return render(content, 200, None)


def ranker_in(settings: Settings) -> Embedder | None:
    """The engines that rank pictures, where the site has them."""
    own = settings.illustrator
    return None if own.ranking_engines is None else embedder_in(own.model_repository, own.ranking_engines)


async def _likeness(embedder: Embedder | None, prompt: str, drawn: Sequence[Drawn[Answer]]) -> list[float | None]:
    """Cosine of each picture with ``prompt``; None for what was not drawn, and for all without a known word."""
    if embedder is None or not embedder.knows(prompt):
        return [None] * len(drawn)
    wanted = await asyncio.to_thread(embedder.text, prompt)
    found: list[float | None] = []
    for one in drawn:
        if one.value is None:
            found.append(None)
            continue
        file = one.value.files[0]
        found.append(float(await asyncio.to_thread(embedder.picture, file.data, file.media_type) @ wanted))
    return found


def _fits(embedder: Embedder | None, likeness: Sequence[float | None]) -> list[float | None]:
    known = [one for one in likeness if one is not None]
    if embedder is None or not known:
        return [None] * len(likeness)
    fits = iter(relative_fits(known, embedder.logit_scale))
    return [None if one is None else next(fits) for one in likeness]


def _count(results: Sequence[dict[str, Any]]) -> None:
    """The statistics of the models (C-040): who was best, and how well the pictures fit."""
    for place, one in enumerate(results):
        outcome = "failed" if one["error"] is not None else "ranked" if place else "best"
        catalogue.ORCHESTRATED.add(1, one["model"], outcome)
        if one["error"] is None:
            catalogue.ORCHESTRATED_SCORE.observe(one["score"], one["model"])


async def _selected(
    body: SelectModelsRequest,
    analysis: Analysis,
    style: StyleFile | None,
    request: Request,
    direct: DirectService,
    taste: TasteService,
) -> list[Selected]:
    """``style``: that of the prompt (`_style_of`). Raises NotFound for a model that this site has not."""
    known = [] if request.app.state.illustrator is None else [one.name for one in await direct.families()]
    for name in body.models or ():
        if name == STYLE_TRANSFER:
            if style is None:
                raise NotFound("the prompt names no style that this site can transfer", "models")
        elif name not in known:
            raise NotFound(f"there is no model {name[:64]!a}; there are: {', '.join(known) or 'none'}", "models")
    user_id = principal_of(request).acting_user_id(body.user_id, "userId")
    arms = await taste.arms(user_id, "model", [*known, STYLE_TRANSFER], body.prompt)
    named = None if style is None else style.entry.name
    return select_models(analysis, known, arms, list(dict.fromkeys(body.models or ())), named)


async def _style_of(analysis: Analysis, request: Request, direct: DirectService) -> StyleFile | None:
    """The style of the site that the prompt names first, where there are engines that transfer it."""
    if request.app.state.illustrator is None or not any(one.restyles for one in await direct.families()):
        return None
    known = styles_of(request).values()
    for name in analysis.names("styles"):
        for style in known:
            if name == style.entry.name or name in style.entry.aliases:
                return style
    return None


async def _restyle(style: StyleFile | None, settings: Settings) -> Restyle:
    assert style is not None  # else style transfer was not selected
    picture = await input_picture(style.data, "styles", limits_of(settings))
    return Restyle((StyleUse(picture, name=style.entry.name),))


async def _result(
    one: Drawn[Answer],
    expected: float,
    palette: list[str],
    likeness: float | None,
    fit: float | None,
    settings: SiteSettings,
) -> dict[str, Any]:
    empty: dict[str, Any] = {
        "model": one.model, "imageUrl": None, "generationId": None, "score": 0.0, "paletteAgreement": None,
        "likeness": None, "fit": None,
        "seconds": one.seconds, "error": None, "metadata": {}, "generatedAt": None,
    }  # fmt: skip
    if one.value is None:
        assert one.error is not None
        return {**empty, "error": f"{kind_of(one.error)}: {one.error.message}"}
    answer = one.value
    agreement = palette_agreement(await asyncio.to_thread(_pixels, answer.files[0].data), palette) if palette else None
    return {
        **empty, "imageUrl": urls_of(answer, settings)[0], "generationId": answer.generation_id,
        "score": rank_score(expected, agreement, fit), "paletteAgreement": agreement,
        "likeness": None if likeness is None else max(-1.0, min(1.0, likeness)), "fit": fit,
        "metadata": {**answer.details, "cached": answer.cached}, "generatedAt": utc_now().isoformat(),
    }  # fmt: skip


def _pixels(data: bytes) -> NDArray[np.uint8]:
    """Of a picture of our own, reduced."""
    with Image.open(io.BytesIO(data)) as picture:
        return np.asarray(picture.convert("RGB").resize((_PX, _PX)))


def _selected_document(one: Selected) -> dict[str, Any]:
    return {
        "kind": one.kind, "model": one.model, "confidence": round(one.confidence, 4), "reason": one.reason,
        "expected": round(one.expected, 4), "available": one.available,
    }  # fmt: skip
