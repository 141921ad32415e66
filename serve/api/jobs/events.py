"""The events of a job, by server-sent events and by polling; `sockets` has the WebSocket. All three agree.

Every event has a number and the state of the job at that time. A client that was disconnected sends the number of its
last event and gets the following ones.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncGenerator
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response

from serve.api.http.event_stream import EventStream
from serve.api.http.models import validate
from serve.api.http.problems import kind_of, render
from serve.api.jobs.dependencies import JobId, JobServices, JobServicesOf
from serve.api.jobs.models import EventsResponse
from serve.api.jobs.rendering import event_of
from serve.api.jobs.request_models import LAST_EVENT, EventsQuery, LastEventHeader, StreamQuery
from serve.api.middleware.authentication import reauthenticate
from serve.api.native.conversion import SiteSettings
from serve.api.openapi.operation import event_stream
from serve.errors import AtelierError
from serve.jobs.queue.events import event_slice
from serve.settings import Settings

router = APIRouter()

SSE = "text/event-stream"
RECONNECT_MS = 1000
_STREAM = event_stream(
    {"id": "2", "event": "processing", "data": '{"status": "processing", "progress": 0.0}', "retry": RECONNECT_MS},
    {"type": "object"},
)
LastEvent = Annotated[str | None, Header(alias=LAST_EVENT, description="as after, and wins over it")]


@router.get(
    "/v1/jobs/{job_id}/events",
    response_model=EventsResponse,
    response_description="JSON, or server-sent events that end after the last one",
    responses={
        200: {"content": _STREAM},
        204: {"description": "As a stream: nothing follows that number any more"},
    },
)
async def events(
    query: Annotated[EventsQuery, Query()],
    request: Request,
    job_id: JobId,
    services: JobServicesOf,
    settings: SiteSettings,
    last_event: LastEvent = None,
) -> Response:
    """The events of a job. As a stream (`Accept: text/event-stream`), or as JSON, which can wait for news."""
    if SSE in request.headers.get("accept", "") if query.stream is None else query.stream:
        return await _stream(query.after, last_event, request, job_id, services, settings)
    news = await services.follower.wait(job_id, query.after, query.wait_s)
    documents = [event_of(job_id, event, settings) for event in news.events]
    last = documents[-1]["id"] if documents else query.after
    return render({"events": documents, "last": last, "over": news.finished}, 200, None)


@router.get(
    "/v1/jobs/{job_id}/status/stream",
    responses={
        200: {"description": "Server-sent events that end after the last one", "content": _STREAM},
        204: {"description": "Nothing follows that number any more"},
    },
)
async def status_stream(
    query: Annotated[StreamQuery, Query()],
    request: Request,
    job_id: JobId,
    services: JobServicesOf,
    settings: SiteSettings,
    last_event: LastEvent = None,
) -> Response:
    """The events of a job, as a stream (fal's name for it)."""
    return await _stream(query.after, last_event, request, job_id, services, settings)


async def _stream(
    after: int, last_event: str | None, request: Request, job_id: str, services: JobServices, settings: Settings
) -> Response:
    """204 when no event follows: browsers then stop to reconnect."""
    known = validate(LastEventHeader, {LAST_EVENT: last_event}).last_event_id
    after = after if known is None else known
    following = await event_slice(services.state.database, job_id, after, limit=1)
    if following.finished and not following.events:
        return Response(status_code=204)
    source = _frames(request, job_id, after, services, settings)
    return await EventStream.of(source, settings.pictures.heartbeat_s, _as_event)


async def _frames(
    request: Request, job_id: str, after: int, services: JobServices, settings: Settings
) -> AsyncGenerator[str]:
    hint = f"retry: {RECONNECT_MS}\n"
    async with contextlib.aclosing(services.follower.follow(job_id, after)) as job_events:
        async for event in job_events:
            await reauthenticate(request)
            document = event_of(job_id, event, settings)
            data = json.dumps(document["data"])
            yield f"{hint}id: {document['id']}\nevent: {document['event']}\ndata: {data}\n\n"
            hint = ""


def problem_of(error: AtelierError) -> dict[str, object]:
    return {"type": f"urn:atelier:problem:{kind_of(error)}", "status": error.status, "detail": error.message}


def _as_event(error: AtelierError) -> str:
    return f"event: problem\ndata: {json.dumps(problem_of(error))}\n\n"
