"""The events of a job over a WebSocket: `/v1/jobs/{id}/ws?after=N` (B-080).

Each event is a JSON message {id, event, data}. A client may send {"type": "cancel"}; an invalid message is answered by
an event "problem" without an id. Close codes: 1000 after the last event, 4404 for an unknown job, 4400 for an invalid
number, 4401 for a key that is no longer valid, 4403 for a page of another site, 1013 for an error that a retry may
solve, 1008 for too many messages or a slow reader, 1009 for a message that is too long, 1003 for binary messages, and
1011 for an internal error.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections import deque

from fastapi import APIRouter, WebSocket
from starlette.websockets import WebSocketDisconnect

from serve.api.http.bodies import parse_json
from serve.api.http.models import validate
from serve.api.http.ownership import check_change
from serve.api.jobs.dependencies import JobServices, job_id_of, services_of
from serve.api.jobs.events import problem_of
from serve.api.jobs.rendering import event_of
from serve.api.jobs.request_models import StreamQuery
from serve.api.middleware.authentication import reauthenticate
from serve.api.middleware.origin_check import is_allowed_origin
from serve.errors import AtelierError, InvalidRequest, NotFound, Unauthorized
from serve.settings import Settings

LOGGER = logging.getLogger(__name__)
router = APIRouter()

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
