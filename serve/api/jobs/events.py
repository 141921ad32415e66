"""What happens to a job, told three ways that agree: server-sent events, polling, and (in sockets.py) a WebSocket.

Every event has its number, and says where the job stands: who has the newest one knows as much as who asks for the job.
Who was cut off names the number of the last event he has, and gets those that follow.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncGenerator, Mapping

from fastapi import APIRouter, Request, Response

from serve.api.http.event_stream import EventStream
from serve.api.http.problems import kind_of, render
from serve.api.http.values import flag, number, refuse_unknown, whole
from serve.api.jobs.dependencies import JobId, JobServices, Parts
from serve.api.jobs.event_schema import EVENTS, STREAM
from serve.api.jobs.orders import MAX_WAIT_S
from serve.api.jobs.rendering import event_of
from serve.api.middleware.authentication import admitted_still
from serve.api.native.conversion import SiteSettings
from serve.errors import AtelierError, InvalidRequest
from serve.jobs.queue.events import event_slice
from serve.security.signing.signed_urls import PARAMETERS as SIGNED
from serve.settings import Settings

router = APIRouter()

SSE = "text/event-stream"
LAST_EVENT = "Last-Event-ID"
RECONNECT_MS = 1000
MOST = 2**31 - 1
"""Of an event's number."""


@router.get("/v1/jobs/{job_id}/events", openapi_extra=EVENTS)
async def events(request: Request, job_id: JobId, parts: Parts, settings: SiteSettings) -> Response:
    """What happened to a job. As a stream (`Accept: text/event-stream`), or as JSON, which can wait for news."""
    values = request.query_params
    refuse_unknown(values, ("after", "wait_s", "stream", *SIGNED))
    if flag(values, "stream", SSE in request.headers.get("accept", "")):
        return await _stream(request, job_id, parts, settings)
    after, wait_s = after_of(values), number(values, "wait_s", 0.0, (0, MAX_WAIT_S)) or 0.0
    if not 0 <= wait_s <= MAX_WAIT_S:
        raise InvalidRequest(f"must be from 0 to {MAX_WAIT_S:g}", "wait_s")
    found = await parts.follower.wait(job_id, after, wait_s)
    told = [event_of(job_id, event, settings) for event in found.events]
    return render({"events": told, "last": told[-1]["id"] if told else after, "over": found.finished}, 200, None)


@router.get("/v1/jobs/{job_id}/status/stream", openapi_extra=STREAM)
async def status_stream(request: Request, job_id: JobId, parts: Parts, settings: SiteSettings) -> Response:
    """What happens to a job, as a stream (fal's name for it)."""
    return await _stream(request, job_id, parts, settings)


def after_of(values: Mapping[str, str], name: str = "after") -> int:
    found = whole(values, name, 0, (0, MOST)) or 0
    if not 0 <= found <= MOST:
        raise InvalidRequest(f"must be from 0 to {MOST}", name)
    return found


async def _stream(request: Request, job_id: str, parts: JobServices, settings: Settings) -> Response:
    """204 when nothing follows any more: browsers then stop asking."""
    after = after_of(request.query_params)
    if request.headers.get(LAST_EVENT):
        after = after_of({LAST_EVENT: request.headers[LAST_EVENT].strip()}, LAST_EVENT)
    found = await event_slice(parts.state.database, job_id, after, limit=1)
    if found.finished and not found.events:
        return Response(status_code=204)
    return await EventStream.of(
        _told(request, job_id, after, parts, settings), settings.pictures.heartbeat_s, _as_event
    )


async def _told(
    request: Request, job_id: str, after: int, parts: JobServices, settings: Settings
) -> AsyncGenerator[str]:
    hint = f"retry: {RECONNECT_MS}\n"
    async with contextlib.aclosing(parts.follower.follow(job_id, after)) as following:
        async for event in following:
            await admitted_still(request)
            told = event_of(job_id, event, settings)
            yield f"{hint}id: {told['id']}\nevent: {told['event']}\ndata: {json.dumps(told['data'])}\n\n"
            hint = ""


def problem_of(error: AtelierError) -> dict[str, object]:
    return {"type": f"urn:atelier:problem:{kind_of(error)}", "status": error.status, "detail": error.message}


def _as_event(error: AtelierError) -> str:
    return f"event: problem\ndata: {json.dumps(problem_of(error))}\n\n"
