"""Search of the gallery by likeness: to a text, or to a stored picture."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Self

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field, model_validator

from serve.api.http.models import Flag, Text, Whole, error_at
from serve.api.http.ownership import MAX_USER, check_own
from serve.api.http.problems import render
from serve.api.http.stateful import StateOf
from serve.api.library.files import ConversionTurns
from serve.api.library.gallery import MAX_TEXT, ShortText, UserQuery
from serve.api.library.generations import GenerationInfo, generation_json
from serve.api.middleware.authentication import principal_of
from serve.api.native.conversion import SiteSettings
from serve.ensembles.embedder import Embedder, required_embedder
from serve.ensembles.requests import MAX_STORED_ID
from serve.errors import rename_fields
from serve.security.limits.admission_queue import AdmissionQueue
from serve.settings import Settings
from serve.state import State, embeddings, gallery
from serve.state.embeddings import MAX_COMPARED
from serve.state.gallery import MAX_PAGE_SIZE, Filters

router = APIRouter()


class SimilarQuery(UserQuery):
    text: Annotated[
        Text | None,
        Field(min_length=1, max_length=MAX_TEXT, description="What pictures show; prompts do not count."),
    ] = None
    result_id: Annotated[
        Text | None, Field(min_length=1, max_length=MAX_STORED_ID, description="A result: pictures like this one.")
    ] = None
    user_id: Annotated[
        Text | None,
        Field(
            min_length=1,
            max_length=MAX_USER,
            description="Whose; the key's user by default, everybody's for admins and without keys.",
        ),
    ] = None
    kind: Annotated[ShortText | None, Field(description="Such as illustrate or vectorize.")] = None
    model: Annotated[ShortText | None, Field(description="Of this model alone.")] = None
    favorite: Annotated[Flag | None, Field(description="Favourites alone, or all others.")] = None
    limit: Annotated[Whole, Field(ge=1, le=MAX_PAGE_SIZE, description="Most matches.")] = 20

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.text is None) == (self.result_id is None):
            raise error_at(type(self), "is required, or result_id; send one of them", "text")
        return self


class SimilarMatch(BaseModel):
    score: Annotated[float, Field(description="Cosine of the embeddings, from -1 to 1.", examples=[0.83])]
    result_id: Annotated[str, Field(description="The generation's result that is most alike.")]
    generation: GenerationInfo


class SimilarPage(BaseModel):
    matches: Annotated[list[SimilarMatch], Field(description="The most alike first.")]


@router.get(
    "/v1/generations/similar",
    response_model=SimilarPage,
    response_description="The most alike",
    description=f"Compares the newest {MAX_COMPARED:,} results that the filters allow. New results are found a few "
    "seconds after they are stored. Of words that the engine does not know nothing is found.",
)
async def similar(
    query: Annotated[SimilarQuery, Query()],
    request: Request,
    state: StateOf,
    settings: SiteSettings,
    turns: ConversionTurns,
) -> Response:
    filters = Filters(
        user_id=principal_of(request).visible_user_id(query.user_id, "user_id"),
        kind=query.kind,
        model=query.model,
        favorite=query.favorite,
    )
    if query.result_id is not None:
        await check_own(request, "result", [query.result_id], "result_id")
    own = settings.illustrator
    embedder = await asyncio.to_thread(required_embedder, own.model_repository, own.search_engines)
    wanted = await _wanted(query, state, embedder, turns)
    if wanted is None:
        return render({"matches": []}, 200, None)
    found = await embeddings.nearest(
        state.database, embedder.engine, wanted, filters, query.limit, except_result=query.result_id
    )
    return render({"matches": await _shown(found, state, settings)}, 200, None)


async def _wanted(
    query: SimilarQuery, state: State, embedder: Embedder, turns: AdmissionQueue
) -> npt.NDArray[np.float32] | None:
    """The vector that is searched for; None where no word is known."""
    if query.text is not None:
        return await asyncio.to_thread(embedder.text, query.text) if embedder.knows(query.text) else None
    assert query.result_id is not None
    stored = await embeddings.read(state.database, embedder.engine, query.result_id)
    if stored is not None:
        return stored
    with rename_fields({"id": "result_id", "image": "result_id"}):
        result = await gallery.get_result(state.database, query.result_id)
        async with turns.slot():
            data = await state.objects.get(result.object)
            return await asyncio.to_thread(embedder.picture, data, result.media_type)


async def _shown(found: list[embeddings.Match], state: State, settings: Settings) -> list[dict[str, Any]]:
    """Matches with their generations; without those that were deleted meanwhile."""
    known = {
        one.id: one for one in await gallery.existing_generations(state.database, [one.generation_id for one in found])
    }
    return [
        {
            "score": round(one.score, 4),
            "result_id": one.result_id,
            "generation": generation_json(known[one.generation_id], settings),
        }
        for one in found
        if one.generation_id in known
    ]
