"""Pictures and drawings by their ids: as they are, in other formats, small, and how they were made (A-115, C-140)."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Any

from fastapi import APIRouter, Request, Response

from serve.api.http.ownership import check_own
from serve.api.http.problems import render
from serve.api.http.stateful import StateOf
from serve.api.http.urls import result_url, thumbnail_url
from serve.api.http.values import choice, refuse_unknown, whole, whole_within
from serve.api.library.files import ConversionTurns, KeptFile, described, serve_object, serve_rendition, slug
from serve.api.library.renditions import THUMBNAIL_PX, THUMBNAILS_PX, convert, thumbnail
from serve.api.middleware.authentication import principal_of
from serve.api.native.conversion import Service, SiteSettings
from serve.api.openapi.operation import MAYBE_NUMBER, MAYBE_TEXT, OBJECT, TEXT, TIME, WHOLE, answer, json_object, query
from serve.ensembles.illustrator.encoding import DEFAULT_QUALITY, MEDIA_TYPES, Encoding
from serve.ensembles.illustrator.illustration import MAX_SIDE_PX
from serve.ensembles.illustrator.provenance import is_marked, mark_svg
from serve.ensembles.vectorizer.vectorization import VectorizeOptions, VectorizerService
from serve.errors import InvalidRequest, OutOfSpace, StateUnavailable, rename_fields
from serve.observability.metrics.catalogue import DOWNLOADS
from serve.security.identity.roles import GENERATE
from serve.security.limits.admission_queue import AdmissionQueue
from serve.security.signing.signed_urls import PARAMETERS as SIGNED
from serve.state import State
from serve.state.gallery import Generation, OwnedResult, get_generation, get_result, set_thumbnail

router = APIRouter()

WEBP = MEDIA_TYPES["webp"]
_FORMAT_OF = {media_type: name for name, media_type in MEDIA_TYPES.items()}

_EXPORT = [
    query("format", {"type": "string", "enum": list(MEDIA_TYPES)}, "Another format; without it the file is as it is."),
    query(
        "quality", {"type": "integer", "minimum": 0, "maximum": 100, "default": DEFAULT_QUALITY}, "Of JPEG and WebP."
    ),
    query(
        "width", {"type": "integer", "minimum": 1, "maximum": MAX_SIDE_PX}, "Pixels of a drawing as PNG, JPEG, WebP."
    ),
]
_SIZE = query(
    "size",
    {"type": "integer", "minimum": THUMBNAILS_PX[0], "maximum": THUMBNAILS_PX[-1], "default": THUMBNAIL_PX},
    f"Pixels of the longer side; the next of {', '.join(map(str, THUMBNAILS_PX))} is taken.",
)


@router.head("/v1/results/{result_id}", include_in_schema=False)
@router.get("/v1/results/{result_id}", openapi_extra=described(list(MEDIA_TYPES.values()), _EXPORT))
async def result(
    request: Request, result_id: str, state: StateOf, service: Service, turns: ConversionTurns
) -> Response:
    """A picture or a drawing, as it is or in another format."""
    refuse_unknown(request.query_params, ("format", "quality", "width", "download", *SIGNED))
    await check_own(request, "result", [result_id])
    found = await get_result(state.database, result_id)
    kept = as_file(found)
    wanted = _wanted(request.query_params, found)
    DOWNLOADS.add(1, "result")
    if wanted is None:
        return await serve_object(request, state.objects, kept)
    encoding, width = wanted
    if encoding.format == "svg":  # somebody has to draw it
        principal_of(request).require(GENERATE)
    what = f"{encoding.format}-{encoding.quality}" + (f"-{width}" if width else "")
    make = partial(_exported, state, found, encoding, width, service, turns)
    return await serve_rendition(request, kept, encoding.media_type, what, make)


def as_file(found: OwnedResult) -> KeptFile:
    """Its file name tells of the prompt and the seed."""
    parts = (
        slug(found.prompt) or found.media_type.partition("/")[0],
        found.seed if found.seed is not None else found.id[:8],
    )
    return KeptFile(found.object, found.media_type, found.bytes, "-".join(map(str, parts)))


def _wanted(values: Mapping[str, str], found: OwnedResult) -> tuple[Encoding, int | None] | None:
    """What to make of ``found``, and how wide; None where it is that already."""
    own = _FORMAT_OF.get(found.media_type, "")
    wanted = choice(values, "format", MEDIA_TYPES, own)
    quality = whole_within(values, "quality", 0, 100, DEFAULT_QUALITY)
    width = whole_within(values, "width", 1, MAX_SIDE_PX, 0) or None
    if width is not None and (own != "svg" or wanted == "svg"):
        raise InvalidRequest("is for drawings (SVG) as png, jpeg or webp", "width")
    encoded_again = wanted in ("jpeg", "webp") and whole(values, "quality") is not None
    if wanted == own and not encoded_again:
        return None
    return Encoding(wanted, quality if wanted in ("jpeg", "webp") else DEFAULT_QUALITY), width


async def _exported(
    state: State,
    found: OwnedResult,
    encoding: Encoding,
    width: int | None,
    service: VectorizerService,
    turns: AdmissionQueue,
) -> bytes:
    if encoding.format == "svg":
        data = await state.objects.get(found.object)
        with rename_fields({"image": "format"}):  # it may be more than a Vectorizer takes
            svg = (await service.vectorize(data, VectorizeOptions())).svg
        return (mark_svg(svg) if is_marked(data) else svg).encode()
    async with turns.slot():
        data = await state.objects.get(found.object)
        return await convert(data, found.media_type, encoding, width)


@router.head("/v1/results/{result_id}/thumbnail", include_in_schema=False)
@router.get("/v1/results/{result_id}/thumbnail", openapi_extra=described([WEBP], [_SIZE], ranges=False))
async def result_thumbnail(request: Request, result_id: str, state: StateOf, turns: ConversionTurns) -> Response:
    """A picture or a drawing as a small WebP."""
    refuse_unknown(request.query_params, ("size", "download", *SIGNED))
    asked = whole_within(request.query_params, "size", THUMBNAILS_PX[0], THUMBNAILS_PX[-1], THUMBNAIL_PX)
    size_px = min(size for size in THUMBNAILS_PX if size >= asked)
    await check_own(request, "result", [result_id])
    found = await get_result(state.database, result_id)
    DOWNLOADS.add(1, "thumbnail")
    make = partial(_thumbnail, state, found, size_px, turns)
    return await serve_rendition(request, as_file(found), WEBP, f"thumbnail-{size_px}", make)


async def _thumbnail(state: State, found: OwnedResult, size_px: int, turns: AdmissionQueue) -> bytes:
    if size_px == THUMBNAIL_PX and found.thumbnail is not None:
        return await state.objects.get(found.thumbnail)
    async with turns.slot():
        if size_px == THUMBNAIL_PX:
            found = await get_result(state.database, found.id)  # who had the turn before may have made it
            if found.thumbnail is not None:
                return await state.objects.get(found.thumbnail)
        data = await thumbnail(await state.objects.get(found.object), found.media_type, size_px)
        if size_px == THUMBNAIL_PX:
            with contextlib.suppress(OutOfSpace, StateUnavailable):  # it is an answer all the same
                stored = await state.objects.put(data, WEBP)
                await set_thumbnail(state.database, found.id, stored.name)
    return data


_RESULT = (
    "id",
    "generation_id",
    "place",
    "media_type",
    "width",
    "height",
    "bytes",
    "seed",
    "score",
    "model",
    "details",
)
_GENERATION = (
    "kind", "direct", "batch_id", "retried_from", "prompt", "enhanced_prompt", "analysis", "model", "models",
    "parameters", "details", "status", "favorite", "rating", "cached", "generation_time_s",
)  # fmt: skip
_TIMES = ("created_at", "started_at", "completed_at")
_MAYBE_WHOLE = {"type": ["integer", "null"]}
_METADATA = answer(
    "The file, and under `generation` the request that it came of",
    json_object(
        {
            **dict.fromkeys(("id", "generation_id", "media_type", "sha256", "url", "thumbnail_url"), TEXT),
            **dict.fromkeys(("place", "bytes"), WHOLE),
            **dict.fromkeys(("width", "height", "seed"), _MAYBE_WHOLE),
            "score": MAYBE_NUMBER,
            "model": MAYBE_TEXT,
            "created_at": TIME,
            "generation": {**OBJECT, "example": {"kind": "illustrate", "prompt": "red apple, flat", "model": "mini"}},
        }
    ),
)


@router.get("/v1/results/{result_id}/metadata", openapi_extra=_METADATA)
async def result_metadata(request: Request, result_id: str, state: StateOf, settings: SiteSettings) -> Response:
    """How a picture or a drawing was made."""
    refuse_unknown(request.query_params, ())
    await check_own(request, "result", [result_id])
    found = await get_result(state.database, result_id)
    generation = await get_generation(state.database, found.generation_id)
    body = {
        **{name: getattr(found, name) for name in _RESULT},
        "sha256": as_file(found).hash,
        "created_at": found.created_at.isoformat(),
        "url": result_url(settings, found.id),
        "thumbnail_url": thumbnail_url(settings, found.id),
        "generation": _told(generation),
    }
    return render(body, 200, None)


def _told(generation: Generation) -> dict[str, Any]:
    """All but whose it is."""
    values = dataclasses.asdict(generation)
    times = {name: time.isoformat() if (time := values[name]) is not None else None for name in _TIMES}
    return {name: values[name] for name in _GENERATION} | times
