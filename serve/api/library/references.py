"""Subject references: upload, list, get, delete (A-021, A-022, A-073)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, Request, Response

from serve.api.http.bodies import Form, read_form
from serve.api.http.fetching import PictureFetcher
from serve.api.http.ownership import MAX_USER, user_of, with_owner
from serve.api.http.problems import render
from serve.api.http.stateful import StateOf
from serve.api.http.urls import address, shown_url
from serve.api.http.values import refuse_unknown, required_text, text, whole_within
from serve.api.library.files import ConversionTurns, KeptFile, described, serve_object, serve_rendition
from serve.api.library.reference_store import MOST_ITEMS, PNG, WEBP, Reference, SubjectReferenceManager
from serve.api.native.conversion import SiteSettings
from serve.api.openapi.operation import json_object, query
from serve.errors import InvalidRequest, rename_fields
from serve.security.fetching.data_urls import MAX_DATA_URL
from serve.security.fetching.fetcher import Fetcher
from serve.security.signing.signed_urls import PARAMETERS as SIGNED
from serve.settings import Settings

router = APIRouter(prefix="/api/references")

MAX_SUBJECT = 128
_FIELDS = ("subject_name", "user_id", "url")
_USER_TEXT = {"type": "string", "minLength": 1, "maxLength": MAX_USER}
_SUBJECT_TEXT = {"type": "string", "minLength": 1, "maxLength": MAX_SUBJECT}
_TEXT = {"type": "string"}
_URL = {"type": "string", "format": "uri"}


async def references_of(state: StateOf) -> SubjectReferenceManager:
    return SubjectReferenceManager(state)


References = Annotated[SubjectReferenceManager, Depends(references_of)]

_USER = query("user_id", _USER_TEXT, "Whose it is; the key's user by default, required without a key.")
_REFERENCE = json_object(
    {
        **{name: _TEXT for name in ("id", "user_id", "subject_name", "file_name", "md5", "created_at")},
        **{name: {"type": "integer"} for name in ("width", "height", "bytes")},
        **{name: _URL for name in ("url", "image_url", "thumbnail_url")},
    }
)


def _answers(status: str, what: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"responses": {status: {"description": what, "content": {"application/json": {"schema": dict(schema)}}}}}


_UPLOAD = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["subject_name"],
                    "anyOf": [{"required": ["image"]}, {"required": ["url"]}],
                    "additionalProperties": False,
                    "properties": {
                        "image": {
                            "type": "string",
                            "format": "binary",
                            "description": "PNG, JPEG, WebP, GIF, BMP, TIFF, or SVG; only its pixels are kept, upright",
                        },
                        "url": {**_URL, "description": "instead of image: where it is, https: or data:"},
                        "subject_name": _SUBJECT_TEXT,
                        "user_id": _USER_TEXT,
                    },
                },
                "example": {"image": "the bytes of bella.png", "subject_name": "Bella"},
            }
        },
    },
    **_answers("201", "It is kept; `Location` has its address", _REFERENCE),
}


@router.post("", status_code=201, openapi_extra=_UPLOAD)
async def upload(
    request: Request, references: References, settings: SiteSettings, turns: ConversionTurns, fetcher: PictureFetcher
) -> Response:
    """Keep a picture of a subject."""
    form = await read_form(request, settings.limits)
    for name in (*form.files, *form.fields):
        if name not in ("image", *_FIELDS) or (name == "image") != (name in form.files):
            known = ", ".join(("image (a file)", *_FIELDS))
            raise InvalidRequest(f"is not a field of this form; known: {known}", name[:64])
    user_id, subject_name = user_of(request, form.fields), required_text(form.fields, "subject_name", MAX_SUBJECT)
    field, image = await _picture(form, fetcher)
    with rename_fields({"image": field}):
        async with turns.slot():
            found = await references.store_subject_reference(user_id, subject_name, image)
    answer = render(_told(found, settings), 201, None)
    answer.headers["Location"] = _path(found)
    return answer


async def _picture(form: Form, fetcher: Fetcher) -> tuple[str, bytes]:
    """What came along, or what the URL leads to; and the name of the field."""
    url = text(form.fields, "url", MAX_DATA_URL)
    if url is not None and "image" in form.files:
        raise InvalidRequest("says the same as image; send one of them", "url")
    if url is not None:
        return "url", await fetcher.fetch_picture(url, "url")
    if "image" not in form.files:
        raise InvalidRequest("send the picture as a multipart/form-data file named image, or its url", "image")
    return "image", form.files["image"]


_PAGE = {
    "parameters": [
        _USER,
        query("subject_name", _SUBJECT_TEXT, "Those of one subject alone."),
        query("cursor", _TEXT, "`next_cursor` of the page before."),
        query("limit", {"type": "integer", "minimum": 1, "maximum": MOST_ITEMS, "default": 20}, "Most in one page."),
    ],
    **_answers(
        "200",
        "The newest first; `next_cursor` is null at the end",
        {
            "type": "object",
            "properties": {
                "items": {"type": "array", "items": _REFERENCE},
                "next_cursor": {"type": ["string", "null"]},
            },
        },
    ),
}


@router.get("", openapi_extra=_PAGE)
async def page(request: Request, references: References, settings: SiteSettings) -> Response:
    """List a user's references."""
    values = request.query_params
    refuse_unknown(values, ("user_id", "subject_name", "cursor", "limit"))
    found = await references.page(
        user_of(request, values),
        text(values, "subject_name", MAX_SUBJECT),
        text(values, "cursor"),
        whole_within(values, "limit", 1, MOST_ITEMS, 20),
    )
    items = [_told(one, settings) for one in found.items]
    return render({"items": items, "next_cursor": found.next_cursor}, 200, None)


@router.get("/{reference_id}", openapi_extra={"parameters": [_USER], **_answers("200", "It", _REFERENCE)})
async def reference(request: Request, reference_id: str, references: References, settings: SiteSettings) -> Response:
    """What is known of a reference."""
    refuse_unknown(request.query_params, ("user_id",))
    return render(
        _told(await references.get(user_of(request, request.query_params), reference_id), settings), 200, None
    )


@router.head("/{reference_id}/image", include_in_schema=False)
@router.get("/{reference_id}/image", openapi_extra=described([PNG], [_USER]))
async def image(request: Request, reference_id: str, state: StateOf, references: References) -> Response:
    """A reference's picture, upright and without metadata."""
    return await serve_object(request, state.objects, _as_file(await _asked(request, references, reference_id)))


@router.head("/{reference_id}/thumbnail", include_in_schema=False)
@router.get("/{reference_id}/thumbnail", openapi_extra=described([WEBP], [_USER], ranges=False))
async def thumbnail(request: Request, reference_id: str, state: StateOf, references: References) -> Response:
    """A reference's picture as a small WebP."""
    found = await _asked(request, references, reference_id)

    async def kept() -> bytes:
        return await state.objects.get(found.thumbnail)

    return await serve_rendition(request, _as_file(found), WEBP, "thumbnail", kept)


@router.delete(
    "/{reference_id}",
    status_code=204,
    openapi_extra={"parameters": [_USER], "responses": {"204": {"description": "It is gone"}}},
)
async def delete(request: Request, reference_id: str, references: References) -> Response:
    """Forget a reference."""
    refuse_unknown(request.query_params, ("user_id",))
    user_id = user_of(request, request.query_params)
    told = with_owner(request, "reference.delete", reference_id, user_id=user_id)
    await references.delete(user_id, reference_id, told)
    return Response(status_code=204)


async def _asked(request: Request, references: SubjectReferenceManager, reference_id: str) -> Reference:
    refuse_unknown(request.query_params, ("user_id", "download", *SIGNED))
    return await references.get(user_of(request, request.query_params), reference_id)


def _as_file(found: Reference) -> KeptFile:
    return KeptFile(found.object, PNG, found.bytes, found.file_name.removesuffix(".png"))


def _path(found: Reference) -> str:
    return f"/api/references/{found.id}?{_query(found)}"


def _shown(found: Reference, part: str, settings: Settings) -> str:
    """The address of a picture, which a page can show."""
    return shown_url(settings, f"/api/references/{found.id}/{part}", _query(found))


def _query(found: Reference) -> str:
    return f"user_id={quote(found.user_id, safe='')}"


def _told(found: Reference, settings: Settings) -> dict[str, Any]:
    names = ("id", "user_id", "subject_name", "file_name", "md5", "width", "height", "bytes")
    return {
        **{name: getattr(found, name) for name in names},
        "url": address(settings, _path(found)),
        "image_url": _shown(found, "image", settings),
        "thumbnail_url": _shown(found, "thumbnail", settings),
        "created_at": found.created_at.isoformat(),
    }
