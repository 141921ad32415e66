"""The events of a job over a WebSocket: `/v1/jobs/{id}/ws?after=N` (B-080).

Each event is a JSON message {id, event, data}. A client may send {"type": "cancel"}; what cannot be heeded is answered
by an event "problem" without an id. It closes with 1000 after the last event, 4404 for an unknown job, 4400 for a
number that is none, 4401 when the key has ended, 4403 for a page of another site, 1013 when to come again later, 1008
and 1009 for who sends too much, 1003 for what is no text, and 1011 when something is wrong here.
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
from serve.api.jobs.dependencies import JobServices, job_id_of, parts_of
from serve.api.jobs.events import problem_of
from serve.api.jobs.models import StreamQuery
from serve.api.jobs.rendering import event_of
from serve.api.middleware.authentication import admitted_still
from serve.api.middleware.origin_check import is_welcome
from serve.errors import AtelierError, InvalidRequest, NotFound, Unauthorized
from serve.settings import Settings

LOGGER = logging.getLogger(__name__)
router = APIRouter()

MAX_MESSAGE = 4096
"""Characters of what a client sends."""
MESSAGES, WITHIN_S = 20, 10.0
"""What a client may send in that time."""
SEND_TIMEOUT_S = 30.0

OVER, NOT_TEXT, TOO_MANY, TOO_LARGE, BROKEN, LATER = 1000, 1003, 1008, 1009, 1011, 1013
BAD_NUMBER, ENDED, FOREIGN, UNKNOWN = 4400, 4401, 4403, 4404


@router.websocket("/v1/jobs/{job_id}/ws")
async def follow(socket: WebSocket, job_id: str) -> None:
    # Accepted in any case: a browser shows its page no reason of a handshake that failed.
    await socket.accept()
    try:
        code, reason = await _serve(socket, job_id, socket.app.state.settings)
    except WebSocketDisconnect:
        return
    with contextlib.suppress(RuntimeError, WebSocketDisconnect, TimeoutError):
        async with asyncio.timeout(SEND_TIMEOUT_S):
            await socket.close(code, reason)


async def _serve(socket: WebSocket, job_id: str, settings: Settings) -> tuple[int, str]:
    """The code and the reason to close with."""
    if not is_welcome(socket.headers.get("origin"), socket.headers.get("host", ""), settings):
        return FOREIGN, "not for pages of other sites"
    try:
        parts, after = await parts_of(socket), validate(StreamQuery, dict(socket.query_params)).after
        return await _converse(socket, parts, await job_id_of(job_id, socket), after, settings)
    except WebSocketDisconnect:
        raise
    except NotFound as error:
        return UNKNOWN, error.message
    except InvalidRequest as error:
        return BAD_NUMBER, str(error)
    except Unauthorized as error:
        return ENDED, error.message
    except AtelierError as error:
        return (BROKEN if error.retry_after_s is None else LATER), error.message
    except TimeoutError:
        return TOO_MANY, "reads too slowly"
    except Exception:
        LOGGER.exception("a WebSocket of job %s failed", job_id)
        return BROKEN, "an internal error"


async def _converse(
    socket: WebSocket, parts: JobServices, job_id: str, after: int, settings: Settings
) -> tuple[int, str]:
    tasks = [
        asyncio.create_task(_tell(socket, parts, job_id, after, settings)),
        asyncio.create_task(_listen(socket, parts, job_id)),
    ]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return next(task for task in tasks if task in done).result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _tell(socket: WebSocket, parts: JobServices, job_id: str, after: int, settings: Settings) -> tuple[int, str]:
    async with contextlib.aclosing(parts.follower.follow(job_id, after)) as following:
        async for event in following:
            await admitted_still(socket)
            await _send(socket, event_of(job_id, event, settings))
    return OVER, "the job is over"


async def _listen(socket: WebSocket, parts: JobServices, job_id: str) -> tuple[int, str]:
    """Raises WebSocketDisconnect when the client goes."""
    came: deque[float] = deque(maxlen=MESSAGES)
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", OVER))
        text = message.get("text")
        if text is None:
            return NOT_TEXT, "send JSON as text"
        if len(text) > MAX_MESSAGE:
            return TOO_LARGE, f"a message may have {MAX_MESSAGE} characters"
        if len(came) == MESSAGES and time.monotonic() - came[0] < WITHIN_S:
            return TOO_MANY, f"at most {MESSAGES} messages in {WITHIN_S:g} s"
        came.append(time.monotonic())
        try:
            await _heed(text, socket, parts, job_id)
        except AtelierError as error:
            await _send(socket, {"event": "problem", "data": problem_of(error)})


async def _heed(text: str, socket: WebSocket, parts: JobServices, job_id: str) -> None:
    if parse_json(text.encode(errors="replace")).get("type") != "cancel":
        raise InvalidRequest('must be {"type": "cancel"}', "type")
    await check_change(socket, "job", job_id)
    await parts.queue.cancel(job_id)


async def _send(socket: WebSocket, document: dict[str, object]) -> None:
    """Raises TimeoutError for a client that does not read."""
    async with asyncio.timeout(SEND_TIMEOUT_S):
        await socket.send_text(json.dumps(document))
