"""A client as they should be: asks again when it is told to, or when the connection breaks, within its patience."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import grpc
import httpx

from loadtests.chaos.ledger import FINAL, WELL, Attempt, Ledger, Saw

ATTEMPT_S = 30.0
"""After so long without an answer an attempt is given up."""
PATIENCE_S = 75.0
"""After so long a request is lost."""
MAX_WAIT_S = 10.0
FIRST_WAIT_S = 0.25
COMES_AGAIN = (429, 503, 504, 507)


@dataclass(frozen=True)
class Seen:
    """``wait_s``: when the server said to come again."""

    saw: Saw
    told: str = ""
    wait_s: float | None = None


Ask = Callable[[], Awaitable[Seen]]
"""One attempt. What it raises of ``httpx`` and ``grpc`` is what the client saw, too."""


async def insist(ledger: Ledger, door: str, ask: Ask) -> bool:
    """``ask`` until it is answered, refused, or patience ends; whether the answer was right."""
    entry = ledger.open(door)
    try:
        wait_s = FIRST_WAIT_S
        while True:
            began = entry.attempt_began = time.monotonic()
            seen = await attempt(ask)
            entry.attempts.append(Attempt(began, time.monotonic(), seen.saw, seen.told))
            entry.attempt_began = None
            if seen.saw in FINAL:
                return seen.saw in WELL
            pause_s = min(MAX_WAIT_S, wait_s if seen.wait_s is None else seen.wait_s)
            if time.monotonic() - entry.began + pause_s > PATIENCE_S:
                return False
            await asyncio.sleep(pause_s)
            wait_s = min(2.0, 2 * wait_s)
    finally:
        entry.ended = time.monotonic()


async def attempt(ask: Ask) -> Seen:
    try:
        async with asyncio.timeout(ATTEMPT_S):
            return await ask()
    except TimeoutError:
        return Seen(Saw.BROKEN, f"nothing within {ATTEMPT_S:g} s")
    except httpx.HTTPError as error:
        return Seen(Saw.BROKEN, type(error).__name__)
    except grpc.aio.AioRpcError as error:
        return of_grpc(error)
    except Exception as error:  # an answer that cannot be read is none, and no reason for a caller to end
        return Seen(Saw.WRONG, f"{type(error).__name__}: {error}"[:160])


def of_http(answer: httpx.Response) -> Seen | None:
    """What an answer that is no success says; None for a success."""
    if answer.is_success:
        return None
    told = f"{answer.status_code} {answer.text[:100]!r}"
    after = answer.headers.get("retry-after", "")
    if answer.status_code in COMES_AGAIN and after.isdigit():
        return Seen(Saw.CLEAR, told, float(after))
    return Seen(Saw.UNCLEAR if answer.status_code >= 500 else Saw.REFUSED, told)


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


def of_grpc(error: grpc.aio.AioRpcError) -> Seen:
    """A gateway tells with every answer which request it was, in the trailing metadata, and of what may be asked again
    when. Without metadata nobody of the stack has answered: ``UNAVAILABLE`` is what gRPC's own library says then of a
    connection that broke, and of a server that ends."""
    code, details = error.code(), error.details() or ""
    told = f"{code.name} {details[:100]!r}"
    metadata = dict(error.trailing_metadata() or ())
    after = str(metadata.get("retry-after", ""))
    if code in _LATER and after.isdigit():
        return Seen(Saw.CLEAR, told, float(after))
    if not metadata and (code is grpc.StatusCode.UNAVAILABLE or any(word in details for word in _CONNECTION)):
        return Seen(Saw.BROKEN, told)
    server = code in (*_LATER, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.CANCELLED)
    return Seen(Saw.UNCLEAR if server else Saw.REFUSED, told)
