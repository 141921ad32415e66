"""History and gallery: `GET /api/generate/history` (C-043, C-047) and /v1/generations, favourites, downloads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response

from serve.api.http.ownership import MAX_USER, WHOSE, check_own, user_of, user_wanted, with_owner
from serve.api.http.problems import render
from serve.api.http.stateful import StateOf
from serve.api.http.values import choice, flag, moment, number, refuse_unknown, required_text, text, whole_within
from serve.api.library.archive import zip_response
from serve.api.library.generation_files import files_of
from serve.api.library.generations import schema, told, told_in_camel_case
from serve.api.native.conversion import SiteSettings
from serve.api.openapi.operation import CONFLICT, FLAG, NUMBER, TEXT, TIME, UNKNOWN, answer, json_object, query
from serve.errors import InvalidRequest
from serve.settings import Settings
from serve.state import State, gallery
from serve.state.cursors import NEWEST, SORTS
from serve.state.database import Database
from serve.state.gallery import MAX_IDS, MAX_PAGE_SIZE, MAX_SEARCH_WORDS, Filters, Generation, Page
from serve.state.job_states import STATUSES

router = APIRouter()

_LONGEST = 256
_LONGEST_ID = 128
_USUAL_ITEMS = 20
_PARAMETERS: Mapping[str, dict[str, Any]] = {
    "user_id": {"type": "string", "minLength": 1, "maxLength": MAX_USER},
    "cursor": TEXT,
    "limit": {"type": "integer", "minimum": 1, "maximum": MAX_PAGE_SIZE, "default": _USUAL_ITEMS},
    "kind": {"type": "string", "maxLength": _LONGEST},
    "model": {"type": "string", "maxLength": _LONGEST},
    "status": {"type": "string", "enum": list(STATUSES)},
    "favorite": FLAG,
    "batch_id": {"type": "string", "maxLength": _LONGEST_ID},
    "q": {"type": "string", "maxLength": _LONGEST},
    "min_rating": NUMBER,
    "since": TIME,
    "until": TIME,
    "sort": {"type": "string", "enum": list(SORTS), "default": NEWEST.name},
}
_SAID: Mapping[str, str] = {
    "user_id": "Whose; the key's user by default, everybody's for admins and without keys.",
    "cursor": "The `next_cursor` of the page before.",
    "limit": "Most in one page.",
    "kind": "Such as illustrate or vectorize.",
    "model": "Of this model alone.",
    "status": "Of this status alone.",
    "favorite": "Favourites alone, or all others.",
    "batch_id": "Of this batch alone.",
    "q": f"Up to {MAX_SEARCH_WORDS} words that the prompt has, in any case and order.",
    "min_rating": "Of this rating or a better one.",
    "since": "ISO 8601; UTC unless it has a zone.",
    "until": "The end, which is not part of it.",
    "sort": "The order.",
}
_ALSO = {"userId": "user_id", "batchId": "batch_id"}
"""Other names of parameters."""


GenerationId = Annotated[str, Path(pattern=rf"^[A-Za-z0-9_.:-]{{1,{_LONGEST_ID}}}$")]


def _described(in_camel_case: bool) -> dict[str, Any]:
    parameters = [query(name, found, _SAID[name]) for name, found in _PARAMETERS.items()]
    cursor = "nextCursor" if in_camel_case else "next_cursor"
    properties = {
        "generations": {"type": "array", "items": schema(in_camel_case)},
        cursor: {"type": ["string", "null"], "description": "none on the last page"},
    }
    return {"parameters": parameters, **answer("A page", json_object(properties))}


_OF_USER = {"parameters": [query("user_id", _PARAMETERS["user_id"], WHOSE)]}
_ONE = answer("It", schema(False))
_FAVORITE = {**_OF_USER, **answer("As it is now", json_object({"id": TEXT, "favorite": FLAG}))}
_ZIP = {"200": {"description": "A ZIP", "content": {"application/zip": {"schema": {**TEXT, "format": "binary"}}}}}
_IDS = {"type": "string", "minLength": 1, "maxLength": MAX_IDS * (_LONGEST_ID + 1)}
_DOWNLOAD = {
    "parameters": [query("ids", _IDS, f"Up to {MAX_IDS} ids with commas between them.", required=True)],
    "responses": {**_ZIP, "404": UNKNOWN["404"]},
}


@router.get("/api/generate/history", openapi_extra=_described(True))
async def history(request: Request, state: StateOf, settings: SiteSettings) -> Response:
    """A page of the gallery, in camelCase (C-043, C-044)."""
    return _shown(await _page(request, state.database), told_in_camel_case, settings, "nextCursor")


@router.get("/v1/generations", openapi_extra=_described(False))
async def generations(request: Request, state: StateOf, settings: SiteSettings) -> Response:
    """A page of the gallery."""
    return _shown(await _page(request, state.database), told, settings, "next_cursor")


@router.get("/v1/generations/download", openapi_extra=_DOWNLOAD)
async def download(request: Request, state: StateOf, settings: SiteSettings) -> Response:
    """All results of several generations as one ZIP. Its metadata.json has what the gallery tells of them."""
    values = request.query_params
    refuse_unknown(values, ("ids",))
    asked = required_text(values, "ids", MAX_IDS * (_LONGEST_ID + 1)).split(",")
    ids = list(dict.fromkeys(one.strip() for one in asked if one.strip()))
    await check_own(request, "generation", ids, "ids")
    found = await gallery.get_generations(state.database, ids)
    return zip_response(files_of(state.objects, found, settings), "atelier-generations.zip")


@router.get("/v1/generations/{generation_id}", openapi_extra=_ONE)
async def generation(request: Request, generation_id: GenerationId, state: StateOf, settings: SiteSettings) -> Response:
    """One generation with its results."""
    await check_own(request, "generation", [generation_id])
    return render(told(await gallery.get_generation(state.database, generation_id), settings), 200, None)


@router.delete(
    "/v1/generations/{generation_id}",
    status_code=204,
    openapi_extra={**_OF_USER, "responses": {"204": {"description": "It is gone"}, **CONFLICT}},
)
async def delete(request: Request, generation_id: GenerationId, state: StateOf) -> Response:
    """Delete a generation of one's own, with its results. 409 while it is not over."""
    user_id = _user(request)
    told = with_owner(request, "generation.delete", generation_id, user_id=user_id)
    await gallery.delete_generation(state.database, generation_id, user_id, told)
    return Response(None, 204)


@router.put("/v1/generations/{generation_id}/favorite", openapi_extra=_FAVORITE)
async def make_favorite(request: Request, generation_id: GenerationId, state: StateOf) -> Response:
    """Make a generation a favourite."""
    return await _favorite(request, generation_id, state, True)


@router.delete("/v1/generations/{generation_id}/favorite", openapi_extra=_FAVORITE)
async def unmake_favorite(request: Request, generation_id: GenerationId, state: StateOf) -> Response:
    """Make a generation no favourite any more."""
    return await _favorite(request, generation_id, state, False)


async def _favorite(request: Request, generation_id: str, state: State, value: bool) -> Response:
    await gallery.set_favorite(state.database, generation_id, _user(request), value)
    return render({"id": generation_id, "favorite": value}, 200, None)


def _user(request: Request) -> str:
    values = _ours(request.query_params)
    refuse_unknown(values, ("user_id",))
    return user_of(request, values)


async def _page(request: Request, database: Database) -> Page:
    values = _ours(request.query_params)
    refuse_unknown(values, _PARAMETERS)
    filters = Filters(
        user_id=user_wanted(request, values),
        kind=text(values, "kind", _LONGEST),
        model=text(values, "model", _LONGEST),
        status=choice(values, "status", STATUSES, "") or None,
        favorite=flag(values, "favorite") if values.get("favorite") else None,
        text=text(values, "q", _LONGEST),
        batch_id=text(values, "batch_id", _LONGEST_ID),
        since=moment(values, "since"),
        until=moment(values, "until"),
        min_rating=number(values, "min_rating"),
    )
    sort = SORTS[choice(values, "sort", SORTS, NEWEST.name)]
    limit = whole_within(values, "limit", 1, MAX_PAGE_SIZE, _USUAL_ITEMS)
    return await gallery.page(database, filters, sort, text(values, "cursor"), limit)


def _ours(given: Mapping[str, str]) -> dict[str, str]:
    """By our names. Raises InvalidRequest where the same is said twice."""
    values: dict[str, str] = {}
    for name, value in given.items():
        if _ALSO.get(name, name) in values:
            raise InvalidRequest(f"says the same as {_ALSO.get(name, name)}; send one of them", name)
        values[_ALSO.get(name, name)] = value
    return values


def _shown(
    page: Page, teller: Callable[[Generation, Settings], dict[str, Any]], settings: Settings, cursor: str
) -> Response:
    return render({"generations": [teller(one, settings) for one in page.items], cursor: page.next_cursor}, 200, None)
