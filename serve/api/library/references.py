"""Subject references: upload, list, get, delete (A-021, A-022, A-073)."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, Query, Request, Response, UploadFile
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from serve.api.http.bodies import CappedRoute
from serve.api.http.fetching import PictureFetcher
from serve.api.http.models import Cursor, RequestModel, Text, Url, Whole
from serve.api.http.ownership import MAX_USER, owner_of, with_owner
from serve.api.http.problems import render
from serve.api.http.stateful import StateOf
from serve.api.http.urls import address, shown_url
from serve.api.library.files import (
    Conditional,
    ConversionTurns,
    FileQuery,
    KeptFile,
    Ranged,
    file_responses,
    serve_object,
    serve_rendition,
)
from serve.api.library.reference_store import MOST_ITEMS, PNG, WEBP, Reference, SubjectReferenceManager
from serve.api.native.conversion import FORM, SiteSettings
from serve.errors import InvalidRequest, rename_fields
from serve.security.fetching.fetcher import MAX_DATA_URL, Fetcher
from serve.settings import Settings

router = APIRouter(prefix="/api/references", route_class=CappedRoute)

MAX_SUBJECT = 128
_WHOSE = "Whose it is; the key's user by default, required without a key."
_EXAMPLE: dict[str, Any] = {"image": "the bytes of bella.png", "subject_name": "Bella"}
UserId = Annotated[Text, Field(min_length=1, max_length=MAX_USER)]
SubjectName = Annotated[Text, Field(min_length=1, max_length=MAX_SUBJECT)]


class ReferenceForm(RequestModel):
    """Either a picture or the address of one."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [_EXAMPLE], "anyOf": [{"required": ["image"]}, {"required": ["url"]}]}
    )

    image: Annotated[
        UploadFile | None,
        WithJsonSchema(
            {
                "type": "string",
                "format": "binary",
                "description": "PNG, JPEG, WebP, AVIF, GIF, BMP, ICO, TIFF, or SVG; only its pixels are kept, upright",
            }
        ),
    ] = None
    url: Annotated[
        Text | None,
        Field(
            max_length=MAX_DATA_URL,
            description="instead of image: where it is, https: or data:",
            json_schema_extra={"format": "uri"},
        ),
    ] = None
    subject_name: SubjectName
    user_id: UserId | None = None


class UserQuery(RequestModel):
    user_id: Annotated[UserId | None, Field(description=_WHOSE)] = None


class ReferencesQuery(UserQuery):
    subject_name: Annotated[SubjectName | None, Field(description="Those of one subject alone.")] = None
    cursor: Cursor = None
    limit: Annotated[Whole, Field(ge=1, le=MOST_ITEMS, description="Most in one page.")] = 20


class ReferenceFileQuery(UserQuery, FileQuery):
    pass


class ReferenceInfo(BaseModel):
    id: str
    user_id: str
    subject_name: str
    file_name: str
    md5: str
    created_at: str
    width: int
    height: int
    bytes: int
    url: Url
    image_url: Url
    thumbnail_url: Url


class ReferencesPage(BaseModel):
    items: list[ReferenceInfo]
    next_cursor: str | None


async def references_of(state: StateOf) -> SubjectReferenceManager:
    return SubjectReferenceManager(state)


References = Annotated[SubjectReferenceManager, Depends(references_of)]


@router.post(
    "",
    status_code=201,
    response_model=ReferenceInfo,
    response_description="It is kept; `Location` has its address",
)
async def upload(
    body: Annotated[ReferenceForm, FORM],
    request: Request,
    references: References,
    settings: SiteSettings,
    turns: ConversionTurns,
    fetcher: PictureFetcher,
) -> Response:
    """Keep a picture of a subject."""
    user_id = owner_of(request, body.user_id)
    field, image = await _picture(body, fetcher)
    with rename_fields({"image": field}):
        async with turns.slot():
            reference = await references.store_subject_reference(user_id, body.subject_name, image)
    response = render(_json(reference, settings), 201, None)
    response.headers["Location"] = _path(reference)
    return response


async def _picture(body: ReferenceForm, fetcher: Fetcher) -> tuple[str, bytes]:
    """The name of the field that has the picture, and the picture's bytes: of the file or fetched from the URL."""
    if body.url is not None and body.image is not None:
        raise InvalidRequest("says the same as image; send one of them", "url")
    if body.url is not None:
        return "url", await fetcher.fetch_picture(body.url, "url")
    if body.image is None:
        raise InvalidRequest("send the picture as a multipart/form-data file named image, or its url", "image")
    return "image", await body.image.read()


@router.get(
    "", response_model=ReferencesPage, response_description="The newest first; `next_cursor` is null at the end"
)
async def page(
    query: Annotated[ReferencesQuery, Query()], request: Request, references: References, settings: SiteSettings
) -> Response:
    """List a user's references."""
    user_id = owner_of(request, query.user_id)
    references_page = await references.page(user_id, query.subject_name, query.cursor, query.limit)
    items = [_json(one, settings) for one in references_page.items]
    return render({"items": items, "next_cursor": references_page.next_cursor}, 200, None)


@router.get("/{reference_id}", response_model=ReferenceInfo, response_description="It")
async def reference(
    query: Annotated[UserQuery, Query()],
    request: Request,
    reference_id: str,
    references: References,
    settings: SiteSettings,
) -> Response:
    """What is known of a reference."""
    return render(_json(await references.get(owner_of(request, query.user_id), reference_id), settings), 200, None)


@router.head("/{reference_id}/image", include_in_schema=False)
@router.get("/{reference_id}/image", responses=file_responses([PNG]))
async def image(
    query: Annotated[ReferenceFileQuery, Query()],
    conditions: Ranged,
    request: Request,
    reference_id: str,
    state: StateOf,
    references: References,
) -> Response:
    """A reference's picture, upright and without metadata."""
    file = _as_file(await references.get(owner_of(request, query.user_id), reference_id))
    return await serve_object(request, state.objects, file, query.download, conditions)


@router.head("/{reference_id}/thumbnail", include_in_schema=False)
@router.get("/{reference_id}/thumbnail", responses=file_responses([WEBP], ranges=False))
async def thumbnail(
    query: Annotated[ReferenceFileQuery, Query()],
    conditions: Conditional,
    request: Request,
    reference_id: str,
    state: StateOf,
    references: References,
) -> Response:
    """A reference's picture as a small WebP."""
    stored = await references.get(owner_of(request, query.user_id), reference_id)

    async def kept() -> bytes:
        return await state.objects.get(stored.thumbnail)

    return await serve_rendition(request, _as_file(stored), WEBP, "thumbnail", kept, query.download, conditions)


@router.delete("/{reference_id}", status_code=204, response_description="It is gone")
async def delete(
    query: Annotated[UserQuery, Query()], request: Request, reference_id: str, references: References
) -> Response:
    """Delete a reference."""
    user_id = owner_of(request, query.user_id)
    entry = with_owner(request, "reference.delete", reference_id, user_id=user_id)
    await references.delete(user_id, reference_id, entry)
    return Response(status_code=204)


def _as_file(reference: Reference) -> KeptFile:
    return KeptFile(reference.object, PNG, reference.bytes, reference.file_name.removesuffix(".png"))


def _path(reference: Reference) -> str:
    return f"/api/references/{reference.id}?{_query(reference)}"


def _shown(reference: Reference, part: str, settings: Settings) -> str:
    """The address of a picture, signed so that a page can show it."""
    return shown_url(settings, f"/api/references/{reference.id}/{part}", _query(reference))


def _query(reference: Reference) -> str:
    return f"user_id={quote(reference.user_id, safe='')}"


def _json(reference: Reference, settings: Settings) -> dict[str, Any]:
    names = ("id", "user_id", "subject_name", "file_name", "md5", "width", "height", "bytes")
    return {
        **{name: getattr(reference, name) for name in names},
        "url": address(settings, _path(reference)),
        "image_url": _shown(reference, "image", settings),
        "thumbnail_url": _shown(reference, "thumbnail", settings),
        "created_at": reference.created_at.isoformat(),
    }
