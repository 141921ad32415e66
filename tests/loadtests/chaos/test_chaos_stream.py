"""A stream ends with the right picture, gives a time to retry, or is retried like a broken connection."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Sequence

import httpx
import pytest
from illustrator_standin import IllustratorStandIn
from standin import StandIn

from loadtests.chaos import load
from loadtests.chaos.attempts_log import AttemptLog, AttemptResult
from loadtests.chaos.client import AttemptOutcome, attempt
from loadtests.chaos.expected_answers import ExpectedAnswers, generate
from loadtests.chaos.load import CALLERS, Load
from loadtests.chaos.stream import COMPLETED, of_event, stream
from loadtests.load.drawings import encoded
from serve.api.app import create_app
from serve.errors import AtelierError, EngineFailure, EngineLost, InvalidRequest
from serve.settings import Settings


async def attempt_stream(transport: httpx.AsyncBaseTransport, known: ExpectedAnswers) -> AttemptOutcome:
    async with httpx.AsyncClient(transport=transport, base_url="http://site") as http:
        return await attempt(lambda: stream(http, known, 1))


async def test_streamed_picture_equals_the_one_without_a_stream() -> None:
    door = httpx.ASGITransport(create_app(StandIn(), Settings(), illustrator=IllustratorStandIn()))
    known = ExpectedAnswers()
    async with httpx.AsyncClient(transport=door, base_url="http://site") as http:
        assert await generate(http, known, 1) == AttemptOutcome(AttemptResult.RIGHT)
    assert await attempt_stream(door, known) == AttemptOutcome(AttemptResult.RIGHT)
    known.pictures[1] = 255 - known.pictures[1]
    assert (await attempt_stream(door, known)).result is AttemptResult.WRONG


@pytest.mark.parametrize(
    ("failure", "result", "wait_s"),
    [
        (EngineLost("it is restarting"), AttemptResult.CLEAR, EngineLost.retry_after_s),
        (EngineFailure("it is ill"), AttemptResult.UNCLEAR, None),
        (InvalidRequest("not so"), AttemptResult.REFUSED, None),
    ],
)
@pytest.mark.parametrize("fails_after", [0, 3])
async def test_error_is_counted_alike_before_and_in_the_stream(
    failure: AtelierError, result: AttemptResult, wait_s: float | None, fails_after: int
) -> None:
    """As a status with headers, and as the last event."""
    illustrator = IllustratorStandIn()
    illustrator.failure, illustrator.fails_after = failure, fails_after
    found = await attempt_stream(
        httpx.ASGITransport(create_app(StandIn(), Settings(), illustrator=illustrator)), ExpectedAnswers()
    )
    assert (found.result, found.wait_s) == (result, wait_s)
    assert found.details.startswith("an event" if fails_after else str(failure.status))


def test_error_event_without_retry_time_is_unclear() -> None:
    error = {"message": "full", "type": "server_error", "param": None, "code": "overloaded"}
    assert of_event(error).result is AttemptResult.UNCLEAR
    assert of_event({**error, "retry_after": 2}) == AttemptOutcome(
        AttemptResult.CLEAR, "an event, overloaded: 'full'", 2.0
    )


class Cut(httpx.AsyncByteStream):
    """Sends ``lines``; then the connection breaks, or ends in order."""

    def __init__(self, lines: Sequence[str], breaks: bool) -> None:
        self._lines, self._breaks = lines, breaks

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for line in self._lines:
            yield f"{line}\n\n".encode()
        if self._breaks:
            raise httpx.RemoteProtocolError("peer closed connection without sending complete message body")


DRAWN = f"data: {json.dumps({'type': COMPLETED, 'b64_json': base64.b64encode(encoded('simple', 64)).decode()})}"
SILENT, DONE = ": still drawing", "data: [DONE]"


@pytest.mark.parametrize(
    ("lines", "breaks", "result"),
    [
        ([SILENT], True, AttemptResult.BROKEN),
        ([SILENT], False, AttemptResult.BROKEN),
        ([SILENT, DRAWN], True, AttemptResult.BROKEN),
        ([SILENT, DRAWN], False, AttemptResult.BROKEN),
        ([SILENT, DRAWN, DONE], False, AttemptResult.RIGHT),
        ([DONE], False, AttemptResult.WRONG),
        ([DRAWN, DRAWN, DONE], False, AttemptResult.WRONG),
        (["data: nonsense"], False, AttemptResult.WRONG),
    ],
)
async def test_stream_without_its_end_is_a_broken_connection(
    lines: Sequence[str], breaks: bool, result: AttemptResult
) -> None:
    door = httpx.MockTransport(lambda request: httpx.Response(200, stream=Cut(lines, breaks)))
    assert (await attempt_stream(door, ExpectedAnswers())).result is result


async def test_every_second_request_of_a_caller_is_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """And each route gets the requests whose responses were recorded at the start."""
    monkeypatch.setattr(load, "THINKS_S", 0.0)
    outcome: list[tuple[str, int]] = []
    one = Load("http://site", "127.0.0.1:1", AttemptLog(), ExpectedAnswers())

    def door(name: str) -> load.Numbered:
        async def send(number: int) -> AttemptOutcome:
            outcome.append((name, number))
            if len(outcome) == 8:
                one._over.set()
            return AttemptOutcome(AttemptResult.RIGHT)

        return send

    doors = {name: door(name) for name in one._doors()}
    assert sorted(doors) == sorted(name for caller in CALLERS for name in caller), "every door has its caller"
    monkeypatch.setattr(one, "_doors", lambda: doors)
    async with asyncio.timeout(60):
        await one._closed(("OpenAI", "OpenAI, stream"))
    await one.stop()
    assert outcome == [(name, number) for number in range(4) for name in ("OpenAI", "OpenAI, stream")]
