"""The events of a job, by server-sent events, by polling and over a WebSocket. All three agree.

Every event has a number and the state of the job at that time. A client that was disconnected sends the number of its
last event and gets the following ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response, WebSocket
from starlette.websockets import WebSocketDisconnect

from serve.api.http.bodies import parse_json
from serve.api.http.event_stream import EventStream
from serve.api.http.models import validate
from serve.api.http.ownership import check_change
from serve.api.http.problems import kind_of, render
from serve.api.jobs.dependencies import JobId, JobServices, JobServicesOf, job_id_of, services_of
from serve.api.jobs.models import EventsResponse
from serve.api.jobs.rendering import event_of
from serve.api.jobs.request_models import LAST_EVENT, EventsQuery, LastEventHeader, StreamQuery
from serve.api.middleware.authentication import reauthenticate
from serve.api.middleware.origin_check import is_allowed_origin
from serve.api.native.conversion import SiteSettings
from serve.api.openapi.operation import event_stream
from serve.errors import AtelierError, InvalidRequest, NotFound, Unauthorized
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


LOGGER = logging.getLogger(__name__)

MAX_MESSAGE = 4096
"""Characters of one message from a client."""
MAX_MESSAGES, MESSAGES_WINDOW_S = 20, 10.0
"""Messages that a client may send within the window."""
SEND_TIMEOUT_S = 30.0

NORMAL, UNSUPPORTED_DATA, POLICY_VIOLATION, TOO_LARGE, INTERNAL_ERROR, TRY_LATER = 1000, 1003, 1008, 1009, 1011, 1013
INVALID_REQUEST, UNAUTHORIZED, FORBIDDEN_ORIGIN, NOT_FOUND = 4400, 4401, 4403, 4404
"""Close codes."""


@router.websocket("/v1/jobs/{job_id}/ws")
async def follow(socket: WebSocket, job_id: str) -> None:
    """The events of a job: `/v1/jobs/{id}/ws?after=N` (B-080).

    Each event is a JSON message {id, event, data}. A client may send {"type": "cancel"}; an invalid message is answered
    by an event "problem" without an id. Close codes: 1000 after the last event, 4404 for an unknown job, 4400 for an
    invalid number, 4401 for a key that is no longer valid, 4403 for a page of another site, 1013 for an error that a
    retry may solve, 1008 for too many messages or a slow reader, 1009 for a message that is too long, 1003 for binary
    messages, and 1011 for an internal error.
    """
    # Accepted in any case: a browser does not show its page why a handshake failed.
    await socket.accept()
    try:
        code, reason = await _serve(socket, job_id, socket.app.state.settings)
    except WebSocketDisconnect:
        return
    with contextlib.suppress(RuntimeError, WebSocketDisconnect, TimeoutError):
        async with asyncio.timeout(SEND_TIMEOUT_S):
            await socket.close(code, reason)


async def _serve(socket: WebSocket, job_id: str, settings: Settings) -> tuple[int, str]:
    """The close code and reason."""
    if not is_allowed_origin(socket.headers.get("origin"), socket.headers.get("host", ""), settings):
        return FORBIDDEN_ORIGIN, "not for pages of other sites"
    try:
        services, after = await services_of(socket), validate(StreamQuery, dict(socket.query_params)).after
        return await _exchange(socket, services, await job_id_of(job_id, socket), after, settings)
    except WebSocketDisconnect:
        raise
    except NotFound as error:
        return NOT_FOUND, error.message
    except InvalidRequest as error:
        return INVALID_REQUEST, str(error)
    except Unauthorized as error:
        return UNAUTHORIZED, error.message
    except AtelierError as error:
        return (INTERNAL_ERROR if error.retry_after_s is None else TRY_LATER), error.message
    except TimeoutError:
        return POLICY_VIOLATION, "reads too slowly"
    except Exception:
        LOGGER.exception("a WebSocket of job %s failed", job_id)
        return INTERNAL_ERROR, "an internal error"


async def _exchange(
    socket: WebSocket, services: JobServices, job_id: str, after: int, settings: Settings
) -> tuple[int, str]:
    tasks = [
        asyncio.create_task(_send_events(socket, services, job_id, after, settings)),
        asyncio.create_task(_receive_messages(socket, services, job_id)),
    ]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return next(task for task in tasks if task in done).result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _send_events(
    socket: WebSocket, services: JobServices, job_id: str, after: int, settings: Settings
) -> tuple[int, str]:
    async with contextlib.aclosing(services.follower.follow(job_id, after)) as job_events:
        async for event in job_events:
            await reauthenticate(socket)
            await _send(socket, event_of(job_id, event, settings))
    return NORMAL, "the job is over"


async def _receive_messages(socket: WebSocket, services: JobServices, job_id: str) -> tuple[int, str]:
    """Raises WebSocketDisconnect when the client disconnects."""
    received_at: deque[float] = deque(maxlen=MAX_MESSAGES)
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", NORMAL))
        text = message.get("text")
        if text is None:
            return UNSUPPORTED_DATA, "send JSON as text"
        if len(text) > MAX_MESSAGE:
            return TOO_LARGE, f"a message may have {MAX_MESSAGE} characters"
        if len(received_at) == MAX_MESSAGES and time.monotonic() - received_at[0] < MESSAGES_WINDOW_S:
            return POLICY_VIOLATION, f"at most {MAX_MESSAGES} messages in {MESSAGES_WINDOW_S:g} s"
        received_at.append(time.monotonic())
        try:
            await _handle_message(text, socket, services, job_id)
        except AtelierError as error:
            await _send(socket, {"event": "problem", "data": problem_of(error)})


async def _handle_message(text: str, socket: WebSocket, services: JobServices, job_id: str) -> None:
    if parse_json(text.encode(errors="replace")).get("type") != "cancel":
        raise InvalidRequest('must be {"type": "cancel"}', "type")
    await check_change(socket, "job", job_id)
    await services.queue.cancel(job_id)


async def _send(socket: WebSocket, document: dict[str, object]) -> None:
    """Raises TimeoutError for a client that does not read."""
    async with asyncio.timeout(SEND_TIMEOUT_S):
        await socket.send_text(json.dumps(document))
