"""Pictures and drawings by their ids: as they are, in other formats, small, and how they were made (A-115, C-140)."""

from __future__ import annotations

import contextlib
import dataclasses
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from serve.api.http.models import NoQuery, Number, Time, Whole, one_of
from serve.api.http.ownership import check_own
from serve.api.http.problems import render
from serve.api.http.stateful import StateOf
from serve.api.http.urls import result_url, thumbnail_url
from serve.api.library.files import (
    Conditional,
    ConversionTurns,
    FileQuery,
    KeptFile,
    Ranged,
    file_responses,
    serve_object,
    serve_rendition,
    slug,
)
from serve.api.library.renditions import SVG, THUMBNAIL_PX, THUMBNAILS_PX, convert, export, of_scale, thumbnail
from serve.api.middleware.authentication import principal_of
from serve.api.native.conversion import Service, SiteSettings
from serve.ensembles.illustrator.encoding import DEFAULT_QUALITY, MEDIA_TYPES, Encoding
from serve.ensembles.illustrator.illustration import MAX_SIDE_PX
from serve.ensembles.illustrator.provenance import is_marked, mark_svg
from serve.ensembles.vectorizer.vectorization import VectorizeOptions, VectorizerService
from serve.errors import InvalidRequest, OutOfSpace, StateUnavailable, rename_fields
from serve.observability.metrics.catalogue import DOWNLOADS
from serve.security.identity.roles import GENERATE
from serve.security.limits.admission_queue import AdmissionQueue
from serve.state import State
from serve.state.gallery import Generation, OwnedResult, get_generation, get_result, set_thumbnail
from serve.vector.exports.formats import EXPORTS, MAX_SCALE, MIN_SCALE

router = APIRouter()

WEBP = MEDIA_TYPES["webp"]
_DRAWINGS = ("svg", *EXPORTS)
_RASTER = ("png", "jpeg", "webp")
_FORMAT_OF = {media_type: name for name, media_type in MEDIA_TYPES.items()}


class ResultQuery(FileQuery):
    format: Annotated[
        Annotated[str, one_of([*MEDIA_TYPES, *EXPORTS])] | None,
        Field(description="Another format; without it the file is as it is."),
    ] = None
    quality: Annotated[Whole, Field(ge=0, le=100, description="Of JPEG and WebP.")] = DEFAULT_QUALITY
    width: Annotated[
        Whole | None, Field(ge=1, le=MAX_SIDE_PX, description="Pixels of a drawing as PNG, JPEG, WebP.")
    ] = None
    scale: Annotated[
        Number | None,
        Field(ge=MIN_SCALE, le=MAX_SCALE, description="Of a drawing as PNG, JPEG, WebP, PDF, EPS or DXF: its size."),
    ] = None


class ThumbnailQuery(FileQuery):
    size: Annotated[
        Whole,
        Field(
            ge=THUMBNAILS_PX[0],
            le=THUMBNAILS_PX[-1],
            description=f"Pixels of the longer side; the next of {', '.join(map(str, THUMBNAILS_PX))} is taken.",
        ),
    ] = THUMBNAIL_PX


class ResultMetadata(BaseModel):
    id: str
    generation_id: str
    place: int
    media_type: str
    width: int | None
    height: int | None
    bytes: int
    seed: int | None
    score: float | None
    model: str | None
    details: Any = None
    sha256: str
    created_at: Time
    url: str
    thumbnail_url: str
    generation: Annotated[
        dict[str, Any], Field(examples=[{"kind": "illustrate", "prompt": "red apple, flat", "model": "mini"}])
    ]


@router.head("/v1/results/{result_id}", include_in_schema=False)
@router.get("/v1/results/{result_id}", responses=file_responses([*MEDIA_TYPES.values(), *EXPORTS.values()]))
async def result(
    query: Annotated[ResultQuery, Query()],
    conditions: Ranged,
    request: Request,
    result_id: str,
    state: StateOf,
    service: Service,
    turns: ConversionTurns,
) -> Response:
    """A picture or a drawing, as it is or in another format."""
    await check_own(request, "result", [result_id])
    stored = await get_result(state.database, result_id)
    kept = as_file(stored)
    target = _export(query, stored)
    DOWNLOADS.add(1, "result")
    if target is None:
        return await serve_object(request, state.objects, kept, query.download, conditions)
    if target.format in _DRAWINGS and kept.media_type != SVG:  # a conversion, which needs the scope of /api/convert
        principal_of(request).require(GENERATE)
    make = partial(_exported, state, stored, target, service, turns)
    return await serve_rendition(request, kept, target.media_type, target.variant, make, query.download, conditions)


def as_file(stored: OwnedResult) -> KeptFile:
    """The result's file; its name has words of the prompt and the seed."""
    parts = (
        slug(stored.prompt) or stored.media_type.partition("/")[0],
        stored.seed if stored.seed is not None else stored.id[:8],
    )
    return KeptFile(stored.object, stored.media_type, stored.bytes, "-".join(map(str, parts)))


@dataclass(frozen=True)
class _Export:
    """A result in another form; ``width`` in pixels, or ``scale``, are those of a drawing."""

    format: str
    quality: int
    width: int | None = None
    scale: float | None = None

    @property
    def media_type(self) -> str:
        return EXPORTS.get(self.format) or MEDIA_TYPES[self.format]

    @property
    def variant(self) -> str:
        size = f"-{self.width}" if self.width else f"-x{self.scale:g}" if self.scale else ""
        return f"{self.format}-{self.quality}{size}"


def _export(query: ResultQuery, stored: OwnedResult) -> _Export | None:
    """None where the query matches the stored file. Raises InvalidRequest naming the field."""
    own = _FORMAT_OF.get(stored.media_type, "")
    target = query.format or own
    if query.width is not None and (own != "svg" or target not in _RASTER):
        raise InvalidRequest("is for drawings (SVG) as png, jpeg or webp", "width")
    if query.scale is not None and (target in ("svg", "svgz") or (own != "svg" and target in _RASTER)):
        raise InvalidRequest("is for drawings (SVG) as png, jpeg, webp, pdf, eps or dxf", "scale")
    if query.scale is not None and query.width is not None:
        raise InvalidRequest("says the same as width; send one of them", "scale")
    is_reencoded = target in ("jpeg", "webp") and "quality" in query.model_fields_set
    if target == own and not is_reencoded:
        return None
    quality = query.quality if target in ("jpeg", "webp") else DEFAULT_QUALITY
    return _Export(target, quality, query.width, query.scale)


async def _exported(
    state: State, stored: OwnedResult, target: _Export, service: VectorizerService, turns: AdmissionQueue
) -> bytes:
    data = b""
    if target.format in _DRAWINGS and stored.media_type != SVG:
        data = await state.objects.get(stored.object)
        with rename_fields({"image": "format"}):  # it may be too large for the Vectorizer
            svg = (await service.vectorize(data, VectorizeOptions())).svg
        data = (mark_svg(svg) if is_marked(data) else svg).encode()
        if target.format == "svg":
            return data
    async with turns.slot():
        data = data or await state.objects.get(stored.object)
        if target.format in EXPORTS:
            return await export(data, target.format, target.scale or 1.0)
        width = of_scale(data, target.scale)[0] if target.scale else target.width
        return await convert(data, stored.media_type, Encoding(target.format, target.quality), width)


@router.head("/v1/results/{result_id}/thumbnail", include_in_schema=False)
@router.get("/v1/results/{result_id}/thumbnail", responses=file_responses([WEBP], ranges=False))
async def result_thumbnail(
    query: Annotated[ThumbnailQuery, Query()],
    conditions: Conditional,
    request: Request,
    result_id: str,
    state: StateOf,
    turns: ConversionTurns,
) -> Response:
    """A picture or a drawing as a small WebP."""
    size_px = min(size for size in THUMBNAILS_PX if size >= query.size)
    await check_own(request, "result", [result_id])
    stored = await get_result(state.database, result_id)
    DOWNLOADS.add(1, "thumbnail")
    make = partial(_thumbnail, state, stored, size_px, turns)
    name = f"thumbnail-{size_px}"
    return await serve_rendition(request, as_file(stored), WEBP, name, make, query.download, conditions)


async def _thumbnail(state: State, stored: OwnedResult, size_px: int, turns: AdmissionQueue) -> bytes:
    if size_px == THUMBNAIL_PX and stored.thumbnail is not None:
        return await state.objects.get(stored.thumbnail)
    async with turns.slot():
        if size_px == THUMBNAIL_PX:
            stored = await get_result(state.database, stored.id)  # another request may have made it meanwhile
            if stored.thumbnail is not None:
                return await state.objects.get(stored.thumbnail)
        data = await thumbnail(await state.objects.get(stored.object), stored.media_type, size_px)
        if size_px == THUMBNAIL_PX:
            with contextlib.suppress(OutOfSpace, StateUnavailable):  # the thumbnail is answered without being stored
                file = await state.objects.put(data, WEBP)
                await set_thumbnail(state.database, stored.id, file.name)
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


@router.get(
    "/v1/results/{result_id}/metadata",
    response_model=ResultMetadata,
    response_description="The file, and under `generation` the request that it came of",
)
async def result_metadata(
    query: Annotated[NoQuery, Query()], request: Request, result_id: str, state: StateOf, settings: SiteSettings
) -> Response:
    """How a picture or a drawing was made."""
    await check_own(request, "result", [result_id])
    stored = await get_result(state.database, result_id)
    generation = await get_generation(state.database, stored.generation_id)
    body = {
        **{name: getattr(stored, name) for name in _RESULT},
        "sha256": as_file(stored).hash,
        "created_at": stored.created_at.isoformat(),
        "url": result_url(settings, stored.id),
        "thumbnail_url": thumbnail_url(settings, stored.id),
        "generation": _generation(generation),
    }
    return render(body, 200, None)


def _generation(generation: Generation) -> dict[str, Any]:
    """The generation without its user."""
    values = dataclasses.asdict(generation)
    times = {name: time.isoformat() if (time := values[name]) is not None else None for name in _TIMES}
    return {name: values[name] for name in _GENERATION} | times
