"""The caller of a route that answers with the result itself: its headers, its user, and the headers of the answer."""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import Depends, Header, Request, Response
from pydantic import BaseModel, Field
from starlette.datastructures import Headers

from serve.api.http.models import validate
from serve.api.http.urls import result_url
from serve.api.middleware.authentication import principal_of
from serve.ensembles.illustrator.encoding import as_url
from serve.ensembles.illustrator.illustration import no_illustrator_error
from serve.errors import InvalidRequest
from serve.jobs.direct.direct_request import Answer, CacheStatus, Caller
from serve.jobs.direct.service import DirectService
from serve.jobs.queue.insertion import MAX_KEY
from serve.settings import Settings

KEY = "Idempotency-Key"
CACHE = "X-Atelier-Cache"
"""Header of every answer: from the cache (hit), not in the cache (miss), or the cache was not read (bypass)."""

CACHE_HEADER = {CACHE: {"$ref": f"#/components/headers/{CACHE}"}}
"""Headers of an answer, for OpenAPI."""

_KEY = re.compile(rf"[ -~]{{1,{MAX_KEY}}}", re.ASCII)


class KeyHeader(BaseModel):
    """The header of the routes whose work is done once per key."""

    idempotency_key: Annotated[
        str | None,
        Field(
            alias=KEY,
            min_length=1,
            max_length=MAX_KEY,
            pattern=r"^[ -~]*$",
            description="The same key and request are done but once.",
        ),
    ] = None


class CallerHeaders(KeyHeader):
    """The headers of the routes that answer with the result itself."""

    cache_control: Annotated[
        list[str],
        Field(
            alias="Cache-Control",
            description="no-cache: not a stored answer; no-store: nor is this one to be stored.",
        ),
    ] = []

    def caller(self, request: Request, user_id: str | None = None, grace_s: float = 0.0) -> Caller:
        """Raises Forbidden for a ``user_id`` that is not the caller's."""
        directives = {part.strip().lower() for value in self.cache_control for part in value.split(",")}
        return Caller(
            user_id=principal_of(request).acting_user_id(user_id or None),
            idempotency_key=self.idempotency_key,
            bypass_cache=bool(directives & {"no-cache", "no-store"}),
            store="no-store" not in directives,
            grace_s=grace_s,
        )


Keyed = Annotated[KeyHeader, Header()]
CalledBy = Annotated[CallerHeaders, Header()]


async def caller_from(headers: CalledBy, request: Request) -> Caller:
    return headers.caller(request)


def caller_of(request: Request) -> Caller:
    """`caller_from` without FastAPI. Raises InvalidRequest for an invalid idempotency key."""
    values: dict[str, Any] = {"Cache-Control": request.headers.getlist("cache-control")}
    if (key := request.headers.get(KEY)) is not None:
        values[KEY] = key
    return validate(CallerHeaders, values).caller(request)


async def user_id_of(request: Request) -> str:
    return principal_of(request).acting_user_id(None)


UserId = Annotated[str, Depends(user_id_of)]
CallerOf = Annotated[Caller, Depends(caller_from)]
"""The caller of a route whose body names no user."""


async def direct_of(request: Request) -> DirectService:
    direct: DirectService = request.app.state.direct
    return direct


async def drawing_direct(request: Request) -> DirectService:
    """Raises NotFound on a site without an Illustrator."""
    if request.app.state.illustrator is None:
        raise no_illustrator_error()
    return await direct_of(request)


Directly = Annotated[DirectService, Depends(direct_of)]
DrawsDirectly = Annotated[DirectService, Depends(drawing_direct)]


def with_cache_status(response: Response, status: CacheStatus) -> Response:
    response.headers[CACHE] = status
    return response


def urls_of(answer: Answer, settings: Settings) -> list[str]:
    """Of each file its URL; a ``data:`` URL on a site that stores nothing."""
    if answer.kept:
        return [result_url(settings, result_id) for result_id in answer.result_ids]
    return [as_url(file.data, file.media_type) for file in answer.files]


def idempotency_key(headers: Headers) -> str | None:
    """The idempotency key. Raises InvalidRequest for an invalid one."""
    key = headers.get(KEY)
    if key is not None and not _KEY.fullmatch(key):
        raise InvalidRequest(f"must be 1 to {MAX_KEY} printable ASCII characters", KEY)
    return key
