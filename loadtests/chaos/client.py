"""A client that retries: after `Retry-After`, or when the connection breaks, until a time limit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import grpc
import httpx

from loadtests.chaos.attempts_log import FINAL, WELL, Attempt, AttemptLog, AttemptResult

ATTEMPT_S = 30.0
"""After so long without an answer an attempt is given up."""
PATIENCE_S = 75.0
"""After so long a request is lost."""
MAX_WAIT_S = 10.0
FIRST_WAIT_S = 0.25
COMES_AGAIN = (429, 503, 504, 507)


@dataclass(frozen=True)
class AttemptOutcome:
    """``wait_s``: when the server said to come again."""

    result: AttemptResult
    details: str = ""
    wait_s: float | None = None


Send = Callable[[], Awaitable[AttemptOutcome]]
"""One attempt. What it raises of ``httpx`` and ``grpc`` is what the client saw, too."""


async def send_with_retries(attempts_log: AttemptLog, door: str, send: Send) -> bool:
    """``send`` until it is answered, refused, or patience ends; whether the answer was right."""
    entry = attempts_log.open(door)
    try:
        wait_s = FIRST_WAIT_S
        while True:
            began = entry.attempt_began = time.monotonic()
            outcome = await attempt(send)
            entry.attempts.append(Attempt(began, time.monotonic(), outcome.result, outcome.details))
            entry.attempt_began = None
            if outcome.result in FINAL:
                return outcome.result in WELL
            pause_s = min(MAX_WAIT_S, wait_s if outcome.wait_s is None else outcome.wait_s)
            if time.monotonic() - entry.began + pause_s > PATIENCE_S:
                return False
            await asyncio.sleep(pause_s)
            wait_s = min(2.0, 2 * wait_s)
    finally:
        entry.ended = time.monotonic()


async def attempt(send: Send) -> AttemptOutcome:
    try:
        async with asyncio.timeout(ATTEMPT_S):
            return await send()
    except TimeoutError:
        return AttemptOutcome(AttemptResult.BROKEN, f"nothing within {ATTEMPT_S:g} s")
    except httpx.HTTPError as error:
        return AttemptOutcome(AttemptResult.BROKEN, type(error).__name__)
    except grpc.aio.AioRpcError as error:
        return of_grpc(error)
    except Exception as error:  # an answer that cannot be read is none, and no reason for a caller to end
        return AttemptOutcome(AttemptResult.WRONG, f"{type(error).__name__}: {error}"[:160])


def of_http(answer: httpx.Response) -> AttemptOutcome | None:
    """What an answer that is no success says; None for a success."""
    if answer.is_success:
        return None
    details = f"{answer.status_code} {answer.text[:100]!r}"
    after = answer.headers.get("retry-after", "")
    if answer.status_code in COMES_AGAIN and after.isdigit():
        return AttemptOutcome(AttemptResult.CLEAR, details, float(after))
    return AttemptOutcome(AttemptResult.UNCLEAR if answer.status_code >= 500 else AttemptResult.REFUSED, details)


_CONNECTION = (
    "failed to connect",
    "Socket closed",
    "Connection reset",
    "recvmsg",
    "GOAWAY",
    "Stream removed",
    "RST_STREAM",
    "Broken pipe",
    "Endpoint",
)
"""In the words of gRPC's library for what befell a connection."""
_LATER = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.DEADLINE_EXCEEDED)


def of_grpc(error: grpc.aio.AioRpcError) -> AttemptOutcome:
    """A gateway tells with every answer which request it was, in the trailing metadata, and of what may be asked again
    when. Without metadata nobody of the stack has answered: ``UNAVAILABLE`` is what gRPC's own library says then of a
    connection that broke, and of a server that ends."""
    code, message = error.code(), error.details() or ""
    details = f"{code.name} {message[:100]!r}"
    metadata = dict(error.trailing_metadata() or ())
    after = str(metadata.get("retry-after", ""))
    if code in _LATER and after.isdigit():
        return AttemptOutcome(AttemptResult.CLEAR, details, float(after))
    if not metadata and (code is grpc.StatusCode.UNAVAILABLE or any(word in message for word in _CONNECTION)):
        return AttemptOutcome(AttemptResult.BROKEN, details)
    server = code in (*_LATER, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.CANCELLED)
    return AttemptOutcome(AttemptResult.UNCLEAR if server else AttemptResult.REFUSED, details)
