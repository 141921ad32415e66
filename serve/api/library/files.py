"""Kept files as answers: caching, ranges and names (RFC 9110, 9111, 6266), for results and references alike.

The content at an address never changes, so clients may cache it for a year without revalidation.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Header, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field
from starlette.requests import HTTPConnection

from serve.api.http import headers as guards
from serve.api.http.models import Flag, RequestModel
from serve.api.http.problems import as_problem
from serve.api.library.renditions import SVG
from serve.errors import InvalidRequest
from serve.security.limits.admission_queue import AdmissionQueue
from serve.state.objects.names import EXTENSIONS
from serve.state.objects.objects import PIECE_BYTES, Objects

CACHED = "private, max-age=31536000, immutable"
_TAG = re.compile(r'(?:W/)?"[^"]*"')
_RANGE = re.compile(r"bytes=(?:([0-9]{1,19})-([0-9]{0,19})|-([0-9]{1,19}))", re.ASCII | re.IGNORECASE)
_MAX_SLUG = 60
_MAX_CONVERSIONS, _MAX_QUEUED_CONVERSIONS = 2, 32


class UnsatisfiableRange(InvalidRequest):
    status = 416
    title = "Range not satisfiable"


async def turns_of(connection: HTTPConnection) -> AdmissionQueue:
    return turns_in(connection.app.state)


def turns_in(state: Any) -> AdmissionQueue:
    """The conversions of this process, by its ``app.state``: each takes one core and hundreds of megabytes."""
    if not hasattr(state, "conversions"):
        state.conversions = AdmissionQueue(_MAX_CONVERSIONS, _MAX_QUEUED_CONVERSIONS)
    turns: AdmissionQueue = state.conversions
    return turns


ConversionTurns = Annotated[AdmissionQueue, Depends(turns_of)]


class SignedQuery(RequestModel):
    """The query of an address that may be signed."""

    expires: Annotated[
        str | None,
        Field(description="Of an address that is signed: Unix time.", json_schema_extra={"pattern": "^[0-9]{1,12}$"}),
    ] = None
    signature: Annotated[
        str | None, Field(description="Of an address that is signed; it needs no key until it expires.")
    ] = None


class FileQuery(SignedQuery):
    download: Annotated[Flag, Field(description="Whether browsers save it instead of showing it.")] = False


class ConditionalHeaders(BaseModel):
    if_none_match: Annotated[str, Field(alias="If-None-Match", description="The ETag of what the client has.")] = ""


class RangeHeaders(ConditionalHeaders):
    range: Annotated[str, Field(alias="Range", description="One part of it, as `bytes=FIRST-LAST`.")] = ""
    if_range: Annotated[
        str | None,
        Field(alias="If-Range", description="The ETag of which `Range` is a part; of another, all is sent."),
    ] = None


Conditional = Annotated[ConditionalHeaders, Header()]
Ranged = Annotated[RangeHeaders, Header()]


@dataclass(frozen=True)
class KeptFile:
    """``object`` is its name in the object store; ``title`` is the file name for downloads, without extension."""

    object: str
    media_type: str
    bytes: int
    title: str

    @property
    def hash(self) -> str:
        """SHA-256 of the content, in hex."""
        return self.object.partition(".")[0]


async def serve_object(
    request: Request, objects: Objects, kept: KeptFile, download: bool, conditions: RangeHeaders
) -> Response:
    """The file as it is, or the part of it that ``Range`` names. Raises NotFound, StateUnavailable."""
    tag = f'"{kept.hash}"'
    if kept.media_type == SVG and "gzip" in request.headers.get("accept-encoding", ""):
        tag = f"W/{tag}"  # the answer is compressed: other bytes, the same content
    headers = _headers(request, tag, kept.media_type, kept.title, download) | {"Accept-Ranges": "bytes"}
    if _is_known(conditions, tag):
        return Response(None, 304, _headers_of_304(headers))
    if request.method == "HEAD":
        return Response(None, 200, headers | {"Content-Length": str(kept.bytes)})
    try:
        part = _part(conditions, tag, kept.bytes)
    except UnsatisfiableRange as error:
        response = as_problem(request, error)
        response.headers["Content-Range"] = f"bytes */{kept.bytes}"
        return response
    if part is None:
        return await _streamed(objects, kept, 0, kept.bytes, 200, headers)
    start, end = part
    headers["Content-Range"] = f"bytes {start}-{end - 1}/{kept.bytes}"
    return await _streamed(objects, kept, start, end, 206, headers)


async def serve_rendition(
    request: Request,
    kept: KeptFile,
    media_type: str,
    variant: str,
    make: Callable[[], Awaitable[bytes]],
    download: bool,
    conditions: ConditionalHeaders,
) -> Response:
    """``kept`` in the form ``variant``, made by ``make``, but not for HEAD and for a client that has it.

    Raises the errors of ``make``.
    """
    tag = f'W/"{kept.hash}-{variant}"'  # weak: another release may encode it in other bytes
    headers = _headers(request, tag, media_type, kept.title, download)
    if _is_known(conditions, tag):
        return Response(None, 304, _headers_of_304(headers))
    if request.method == "HEAD":
        response = Response(None, 200, headers)
        del response.headers["Content-Length"]  # it is not known yet
        return response
    return Response(await make(), 200, headers)


async def _streamed(
    objects: Objects, kept: KeptFile, start: int, end: int, status: int, headers: Mapping[str, str]
) -> Response:
    pieces = objects.read(kept.object, start, end)
    first = await anext(pieces, b"")  # before the answer begins, so that an error still has its status
    if end - start <= PIECE_BYTES:
        return Response(first, status, headers)

    async def rest() -> AsyncIterator[bytes]:
        yield first
        async for piece in pieces:
            yield piece

    return StreamingResponse(rest(), status, {**headers, "Content-Length": str(end - start)})


def _headers(request: Request, tag: str, media_type: str, title: str, download: bool) -> dict[str, str]:
    kind = "attachment" if download else "inline"
    name = f"{title}.{EXTENSIONS.get(media_type, 'bin')}"
    headers = {
        "Content-Type": media_type,
        "ETag": tag,
        "Cache-Control": CACHED,
        "Content-Disposition": guards.disposition(kind, name),
        **guards.of_files(request.app.state.settings.http.allowed_origins),
    }
    return headers | guards.SVG if media_type == SVG else headers


def _headers_of_304(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name in ("ETag", "Cache-Control")}


def slug(text: str) -> str:
    """``text`` as part of a file name: letters and digits of any script, everything between them as a hyphen."""
    return re.sub(r"[\W_]+", "-", text[: 2 * _MAX_SLUG])[:_MAX_SLUG].strip("-")


def _is_known(conditions: ConditionalHeaders, tag: str) -> bool:
    """Whether the client has it, by ``If-None-Match``."""
    tags = conditions.if_none_match
    known = {one.removeprefix("W/") for one in _TAG.findall(tags)}
    return tags.strip() == "*" or tag.removeprefix("W/") in known


def _part(conditions: RangeHeaders, tag: str, size: int) -> tuple[int, int] | None:
    """(start, end) of the single range of the request; None where the whole is the answer, as for several ranges.

    Raises UnsatisfiableRange for one that begins behind the end.
    """
    condition = conditions.if_range
    if condition is not None and (condition.strip() != tag or tag.startswith("W/")):
        return None
    match = _RANGE.fullmatch(conditions.range.strip())
    if match is None:
        return None
    first, last, suffix = match.groups()
    start = max(0, size - int(suffix)) if suffix else int(first)
    end = min(size, int(last) + 1) if last else size
    if last and int(last) < start:
        return None
    if start >= size:
        raise UnsatisfiableRange(f"there are {size} bytes", "Range")
    return start, end


def file_responses(media_types: Sequence[str], ranges: bool = True) -> dict[int | str, dict[str, Any]]:
    """OpenAPI responses of an operation that answers a file."""
    content = {name: {"schema": {"type": "string", "format": "binary"}} for name in media_types}
    responses: dict[int | str, dict[str, Any]] = {
        200: {"description": "The file, with an ETag; it never changes", "content": content},
        304: {"description": "The client has it (`If-None-Match`)"},
    }
    if ranges:
        responses[206] = {"description": "The part that `Range` names", "content": content}
        responses[416] = {"description": "`Range` begins behind the end; `Content-Range` tells where that is"}
    return responses


ZIP_RESPONSE: dict[int | str, dict[str, Any]] = {
    200: {"description": "A ZIP", "content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}}}
}
