"""History and gallery: `GET /api/generate/history` (C-043, C-047) and /v1/generations, favourites, downloads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, Field, model_validator

from serve.api.http.models import Cursor, Flag, Moment, NextCursor, Number, RequestModel, Text, Whole, error_at, one_of
from serve.api.http.ownership import MAX_USER, WHOSE, check_own, owner_of, with_owner
from serve.api.http.problems import render
from serve.api.http.stateful import StateOf
from serve.api.library.files import ZIP_RESPONSE, FileQuery, KeptFile, Ranged, file_responses, serve_object
from serve.api.library.generations import (
    CamelCaseGeneration,
    GenerationInfo,
    files_of,
    generation_in_camel_case,
    generation_json,
    zip_response,
)
from serve.api.middleware.authentication import principal_of
from serve.api.native.conversion import SiteSettings
from serve.api.openapi.operation import CONFLICT, UNKNOWN
from serve.ensembles.requests import MAX_STORED_ID, STORED_ID
from serve.personalisation import feedback
from serve.state import State, gallery
from serve.state.cursors import NEWEST, SORTS, Page
from serve.state.database import Database
from serve.state.gallery import MAX_IDS, MAX_PAGE_SIZE, MAX_SEARCH_WORDS, Filters, Generation
from serve.state.job_states import STATUSES

router = APIRouter()

MAX_TEXT = 256
_SNAKE_CASE = {"userId": "user_id", "batchId": "batch_id"}
ShortText = Annotated[Text, Field(max_length=MAX_TEXT)]
GenerationId = Annotated[str, Path(pattern=STORED_ID)]
_INPUTS = ("image/png", "image/jpeg", "image/webp", "image/gif", "application/octet-stream")
ObjectName = Annotated[
    str,
    Path(
        pattern=r"^[0-9a-f]{64}\.[a-z]{3,4}$",
        description="As the generation's parameters name it.",
        examples=[f"{'3a7b' * 16}.png"],
    ),
]


class UserQuery(RequestModel):
    """Some parameters may be sent in camelCase too."""

    user_id: Annotated[Text | None, Field(min_length=1, max_length=MAX_USER, description=WHOSE)] = None

    @model_validator(mode="before")
    @classmethod
    def _rename(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        renamed: dict[Any, Any] = {}
        for name, value in values.items():
            known = _SNAKE_CASE.get(name, name)
            if known in renamed:
                raise error_at(cls, f"says the same as {known}; send one of them", name)
            renamed[known] = (
                value[-1] if isinstance(value, list) else value
            )  # of a repeated parameter the last value counts
        return renamed


class GalleryQuery(UserQuery):
    user_id: Annotated[
        Text | None,
        Field(
            min_length=1,
            max_length=MAX_USER,
            description="Whose; the key's user by default, everybody's for admins and without keys.",
        ),
    ] = None
    cursor: Cursor = None
    limit: Annotated[Whole, Field(ge=1, le=MAX_PAGE_SIZE, description="Most in one page.")] = 20
    kind: Annotated[ShortText | None, Field(description="Such as illustrate or vectorize.")] = None
    model: Annotated[ShortText | None, Field(description="Of this model alone.")] = None
    status: Annotated[Annotated[str, one_of(STATUSES)] | None, Field(description="Of this status alone.")] = None
    favorite: Annotated[Flag | None, Field(description="Favourites alone, or all others.")] = None
    batch_id: Annotated[Text | None, Field(max_length=MAX_STORED_ID, description="Of this batch alone.")] = None
    q: Annotated[
        ShortText | None,
        Field(description=f"Up to {MAX_SEARCH_WORDS} words that the prompt has, in any case and order."),
    ] = None
    min_rating: Annotated[Number | None, Field(description="Of this rating or a better one.")] = None
    since: Annotated[Moment | None, Field(description="ISO 8601; UTC unless it has a zone.")] = None
    until: Annotated[Moment | None, Field(description="The end, which is not part of it.")] = None
    sort: Annotated[str, one_of(SORTS), Field(description="The order.")] = NEWEST.name


class DownloadQuery(RequestModel):
    ids: Annotated[
        Text,
        Field(
            min_length=1,
            max_length=MAX_IDS * (MAX_STORED_ID + 1),
            description=f"Up to {MAX_IDS} ids with commas between them.",
        ),
    ]


class GalleryPage(BaseModel):
    generations: list[GenerationInfo]
    next_cursor: NextCursor


class CamelCasePage(BaseModel):
    generations: list[CamelCaseGeneration]
    nextCursor: NextCursor


class Favorite(BaseModel):
    id: str
    favorite: bool


@router.get("/api/generate/history", response_model=CamelCasePage, response_description="A page")
async def history(
    query: Annotated[GalleryQuery, Query()], request: Request, state: StateOf, settings: SiteSettings
) -> Response:
    """A page of the gallery, in camelCase (C-043, C-044)."""
    page = await _page(query, request, state.database)
    items = [generation_in_camel_case(one, settings) for one in page.items]
    return render({"generations": items, "nextCursor": page.next_cursor}, 200, None)


@router.get("/v1/generations", response_model=GalleryPage, response_description="A page")
async def generations(
    query: Annotated[GalleryQuery, Query()], request: Request, state: StateOf, settings: SiteSettings
) -> Response:
    """A page of the gallery."""
    page = await _page(query, request, state.database)
    items = [generation_json(one, settings) for one in page.items]
    return render({"generations": items, "next_cursor": page.next_cursor}, 200, None)


@router.get("/v1/generations/download", responses={**ZIP_RESPONSE, **UNKNOWN})
async def download(
    query: Annotated[DownloadQuery, Query()], request: Request, state: StateOf, settings: SiteSettings
) -> Response:
    """All results of several generations as one ZIP. Its metadata.json has what the gallery tells of them."""
    ids = list(dict.fromkeys(one.strip() for one in query.ids.split(",") if one.strip()))
    await check_own(request, "generation", ids, "ids")
    selected = await gallery.get_generations(state.database, ids)
    return zip_response(files_of(state.objects, selected, settings), "atelier-generations.zip")


@router.get("/v1/generations/{generation_id}", response_model=GenerationInfo, response_description="It")
async def generation(request: Request, generation_id: GenerationId, state: StateOf, settings: SiteSettings) -> Response:
    """One generation with its results."""
    await check_own(request, "generation", [generation_id])
    return render(generation_json(await gallery.get_generation(state.database, generation_id), settings), 200, None)


@router.head("/v1/generations/{generation_id}/inputs/{object_name}", include_in_schema=False)
@router.get("/v1/generations/{generation_id}/inputs/{object_name}", responses=file_responses(_INPUTS))
async def generation_input(
    query: Annotated[FileQuery, Query()],
    conditions: Ranged,
    request: Request,
    generation_id: GenerationId,
    object_name: ObjectName,
    state: StateOf,
) -> Response:
    """A picture that a generation was drawn from: its source, mask, control picture or reference."""
    await check_own(request, "generation", [generation_id])
    stored = await gallery.get_input(state.database, generation_id, object_name)
    kept = KeptFile(object_name, stored.media_type, stored.bytes, "input")
    return await serve_object(request, state.objects, kept, query.download, conditions)


@router.delete(
    "/v1/generations/{generation_id}",
    status_code=204,
    response_description="It is gone",
    responses=CONFLICT,
)
async def delete(
    query: Annotated[UserQuery, Query()], request: Request, generation_id: GenerationId, state: StateOf
) -> Response:
    """Delete a generation of one's own, with its results. 409 while it is not over."""
    user_id = owner_of(request, query.user_id)
    entry = with_owner(request, "generation.delete", generation_id, user_id=user_id)
    await gallery.delete_generation(state.database, generation_id, user_id, entry)
    return Response(None, 204)


@router.put("/v1/generations/{generation_id}/favorite", response_model=Favorite, response_description="As it is now")
async def make_favorite(
    query: Annotated[UserQuery, Query()], request: Request, generation_id: GenerationId, state: StateOf
) -> Response:
    """Make a generation a favourite."""
    return await _favorite(owner_of(request, query.user_id), generation_id, state, True)


@router.delete("/v1/generations/{generation_id}/favorite", response_model=Favorite, response_description="As it is now")
async def unmake_favorite(
    query: Annotated[UserQuery, Query()], request: Request, generation_id: GenerationId, state: StateOf
) -> Response:
    """Make a generation no favourite any more."""
    return await _favorite(owner_of(request, query.user_id), generation_id, state, False)


async def _favorite(user_id: str, generation_id: str, state: State, value: bool) -> Response:
    taste = feedback.write_favorite(user_id, generation_id, value)
    await gallery.set_favorite(state.database, generation_id, user_id, value, taste)
    return render({"id": generation_id, "favorite": value}, 200, None)


async def _page(query: GalleryQuery, request: Request, database: Database) -> Page[Generation]:
    names = ("kind", "model", "status", "favorite", "batch_id", "since", "until", "min_rating")
    filters = Filters(
        user_id=principal_of(request).visible_user_id(query.user_id, "user_id"),
        text=query.q,
        **{name: getattr(query, name) for name in names},
    )
    return await gallery.page(database, filters, SORTS[query.sort], query.cursor, query.limit)
