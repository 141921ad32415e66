"""What chaos counts: each request once, by the worst that its client saw; and when a fault was over."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import grpc
import httpx
import numpy as np
import pytest

from loadtests.chaos import client, report
from loadtests.chaos.client import Seen, insist, of_grpc, of_http
from loadtests.chaos.drive import BETWEEN, Outcome, Pace, Span, _recovered, outcomes
from loadtests.chaos.faults import FAULTS
from loadtests.chaos.jobs import Jobs
from loadtests.chaos.known import ROUNDING, GrpcDoor, Known
from loadtests.chaos.ledger import VERDICTS, Attempt, Entry, Ledger, Saw, summary
from loadtests.chaos.load import Load
from loadtests.load.stack import free_ports


def entry(*saw: Saw, begin: float = 0.0) -> Entry:
    attempts = [Attempt(begin + number, begin + number + 0.5, one) for number, one in enumerate(saw)]
    return Entry("HTTP", begin, attempts, ended=begin + len(saw))


@pytest.mark.parametrize(
    ("saw", "verdict"),
    [
        ([Saw.RIGHT], "right"),
        ([Saw.DEGRADED], "degraded"),
        ([Saw.CLEAR, Saw.CLEAR, Saw.RIGHT], "clear"),
        ([Saw.CLEAR, Saw.BROKEN, Saw.RIGHT], "broken"),
        ([Saw.UNCLEAR, Saw.BROKEN, Saw.RIGHT], "unclear"),
        ([Saw.CLEAR], "lost"),
        ([Saw.REFUSED], "lost"),
        ([], "lost"),
        ([Saw.CLEAR, Saw.WRONG], "wrong"),
    ],
)
def test_a_request_counts_once(saw: Sequence[Saw], verdict: str) -> None:
    assert entry(*saw).verdict == verdict
    assert verdict in VERDICTS


def answer(status: int, **headers: str) -> Seen | None:
    return of_http(httpx.Response(status, headers={name.replace("_", "-"): value for name, value in headers.items()}))


def test_what_is_clear_says_when_to_come_again() -> None:
    assert answer(200) is None
    assert answer(503, retry_after="2") == Seen(Saw.CLEAR, "503 ''", 2.0)
    assert [answer(status, retry_after="1").saw for status in (429, 504, 507)] == [Saw.CLEAR] * 3  # type: ignore[union-attr]
    assert [answer(status).saw for status in (500, 502, 503)] == [Saw.UNCLEAR] * 3  # type: ignore[union-attr]
    assert [answer(status).saw for status in (404, 422)] == [Saw.REFUSED] * 2  # type: ignore[union-attr]


ANSWERED = {"x-request-id": "a"}
"""What a gateway tells with every answer."""
AGAIN = {**ANSWERED, "retry-after": "2"}
GrpcCode = grpc.StatusCode


@pytest.mark.parametrize(
    ("code", "details", "metadata", "saw"),
    [
        (GrpcCode.UNAVAILABLE, "the Vectorizer is restarting; try again", AGAIN, Saw.CLEAR),
        (GrpcCode.RESOURCE_EXHAUSTED, "too many requests", AGAIN, Saw.CLEAR),
        (GrpcCode.DEADLINE_EXCEEDED, "no answer within 45 s", AGAIN, Saw.CLEAR),
        (GrpcCode.UNAVAILABLE, "an engine said: Socket closed", AGAIN, Saw.CLEAR),
        (GrpcCode.UNAVAILABLE, "the Vectorizer is restarting; try again", ANSWERED, Saw.UNCLEAR),
        (GrpcCode.UNAVAILABLE, "an engine said: Socket closed", ANSWERED, Saw.UNCLEAR),
        (GrpcCode.UNAVAILABLE, "later", {**ANSWERED, "retry-after": "soon"}, Saw.UNCLEAR),
        (GrpcCode.UNAVAILABLE, "failed to connect to all addresses", {}, Saw.BROKEN),
        (GrpcCode.UNAVAILABLE, "Received http2 header with status: 503", {}, Saw.BROKEN),
        (GrpcCode.UNAVAILABLE, "Cancelling all calls", {}, Saw.BROKEN),
        (GrpcCode.CANCELLED, "Stream removed (RST_STREAM (Received RST_STREAM with error code 8))", {}, Saw.BROKEN),
        (GrpcCode.RESOURCE_EXHAUSTED, "Request dropped due to backpressure", {}, Saw.UNCLEAR),
        (GrpcCode.DEADLINE_EXCEEDED, "Request timed out.", {}, Saw.UNCLEAR),
        (GrpcCode.UNKNOWN, "Received http2 header with status: 500", {}, Saw.UNCLEAR),
        (GrpcCode.INTERNAL, "an internal error", ANSWERED, Saw.UNCLEAR),
        (GrpcCode.INVALID_ARGUMENT, "image: no pixels", ANSWERED, Saw.REFUSED),
        (GrpcCode.INTERNAL, "an internal error", AGAIN, Saw.UNCLEAR),
    ],
)
def test_grpc_says_it_by_its_codes_and_when_to_come_again_in_the_metadata(
    code: grpc.StatusCode, details: str, metadata: dict[str, str], saw: Saw
) -> None:
    found = of_grpc(grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(*metadata.items()), details))
    assert found.saw is saw
    assert found.wait_s == (2.0 if saw is Saw.CLEAR else None)


async def test_what_grpc_s_library_says_of_nobody_is_a_broken_connection() -> None:
    (port,) = free_ports(1)
    door = GrpcDoor(f"127.0.0.1:{port}")
    found = await client.attempt(partial(door.illustrate, Known(), 0))
    await door.close()
    assert (found.saw, found.told.split()[0]) == (Saw.BROKEN, "UNAVAILABLE")


async def test_a_client_asks_again_and_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(client, "PATIENCE_S", 0.5)
    ledger = Ledger()
    answers = iter([Seen(Saw.CLEAR, wait_s=0.01), httpx.ConnectError("refused"), Seen(Saw.RIGHT)])

    async def flaky() -> Seen:
        told = next(answers)
        if isinstance(told, Exception):
            raise told
        return told

    async def dead() -> Seen:
        return Seen(Saw.CLEAR, wait_s=0.2)

    assert await insist(ledger, "HTTP", flaky)
    assert not await insist(ledger, "HTTP", dead)
    assert [one.verdict for one in ledger.entries] == ["broken", "lost"]
    assert [attempt.saw for attempt in ledger.entries[0].attempts] == [Saw.CLEAR, Saw.BROKEN, Saw.RIGHT]


def test_answers_are_compared_with_the_first() -> None:
    known = Known()
    pixels = np.full((4, 4, 3), 100, np.uint8)
    assert known.judge_picture(1, pixels).saw is Saw.RIGHT
    assert known.judge_picture(1, pixels + ROUNDING).saw is Saw.RIGHT
    assert known.judge_picture(1, pixels + ROUNDING + 1).saw is Saw.WRONG
    assert known.judge_svg("a", "<svg></svg>", True).saw is Saw.DEGRADED, "is not what is right from now on"
    assert known.judge_svg("a", "<svg/>", False).saw is Saw.RIGHT
    assert known.judge_svg("a", "<svg></svg>", True).saw is Saw.DEGRADED
    assert known.judge_svg("a", "<svg></svg>", False).saw is Saw.WRONG


async def test_an_answer_that_cannot_be_read_is_wrong_and_ends_no_caller() -> None:
    ledger = Ledger()

    async def nonsense() -> Seen:
        raise json.JSONDecodeError("no", "<html>", 0)

    assert not await insist(ledger, "HTTP", nonsense)
    transport = httpx.MockTransport(lambda request: httpx.Response(200, text="<html>"))
    async with httpx.AsyncClient(transport=transport, base_url="http://site") as http:
        await Jobs(http, Known(), ledger).one(0)
    assert [one.verdict for one in ledger.entries] == ["wrong", "wrong"]
    assert all(one.ended is not None for one in ledger.entries)


async def test_a_job_without_its_result_is_wrong() -> None:
    ledger = Ledger()
    answer = {"id": "a", "status": "completed", "results": [], "events": [{"id": 1, "event": "completed"}]}
    transport = httpx.MockTransport(lambda request: httpx.Response(200, json=answer))
    async with httpx.AsyncClient(transport=transport, base_url="http://site") as http:
        await Jobs(http, Known(), ledger).one(0)
    assert [one.verdict for one in ledger.entries] == ["wrong"]


async def test_a_site_that_is_not_well_at_the_beginning_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger()
    load = Load("http://site", "127.0.0.1:1", ledger, Known())

    async def degraded(number: int) -> Seen:
        return Seen(Saw.DEGRADED, "an engine was missing")

    async def job(number: int) -> None:
        ledger.entries.append(entry(Saw.RIGHT))

    monkeypatch.setattr(load, "_doors", lambda: {"HTTP": degraded})
    monkeypatch.setattr(load.jobs, "one", job)
    with pytest.raises(RuntimeError, match="not well before anything happened: HTTP: degraded"):
        await load.warm()
    await load.stop()


def test_what_hangs_is_a_sign_before_it_fails() -> None:
    ledger = Ledger()
    ledger.slow_s["HTTP"] = 1.0
    now = time.monotonic()
    waiting = ledger.open("HTTP")
    waiting.attempt_began = now - 0.5
    assert ledger.quiet_since(now - 10) == now - 10
    waiting.attempt_began = now - 5
    assert ledger.quiet_since(now - 10) >= now
    waiting.attempts.append(Attempt(now - 5, now - 2, Saw.RIGHT))
    waiting.attempt_began, waiting.ended = None, now - 2
    assert ledger.quiet_since(now - 10) == now - 2


async def test_recovery_is_the_last_sign_before_it_was_quiet() -> None:
    ledger, pace = Ledger(), Pace(quiet_s=0.5, least_s=0.6, most_s=5)
    since = time.monotonic()

    async def fail_at(seconds: float) -> None:
        await asyncio.sleep(seconds)
        now = time.monotonic()
        ledger.entries.append(Entry("HTTP", now, [Attempt(now, now, Saw.CLEAR)], ended=now))

    (found, *_) = await asyncio.gather(_recovered(ledger, since, pace), fail_at(0.1), fail_at(0.4))
    assert found == pytest.approx(0.4, abs=0.15)
    never = replace(pace, most_s=0.3)
    assert await _recovered(ledger, time.monotonic(), never) is None


def outcome(*entries: Entry, recovery_s: float | None = 1.0, well_before: bool = True) -> Outcome:
    return Outcome("HAProxy SIGKILL", "pid 1", summary(entries, recovery_s), well_before=well_before)


def test_the_table_tells_what_misses_the_goal() -> None:
    fine = outcome(entry(Saw.RIGHT), entry(Saw.BROKEN, Saw.RIGHT), recovery_s=1.5)
    assert report.amiss(fine) == []
    assert report.amiss(outcome(entry(Saw.RIGHT), recovery_s=12.0)) == ["recovery after 12.0 s, goal 10 s"]
    assert report.amiss(outcome(entry(Saw.RIGHT), recovery_s=12.0), goal_s=20) == []
    assert report.amiss(outcome(entry(Saw.RIGHT), recovery_s=None)) == ["no recovery"]
    assert report.amiss(outcome(entry(Saw.CLEAR))) == ["1 lost"]
    assert report.amiss(outcome(entry(Saw.UNCLEAR, Saw.RIGHT), entry(Saw.CLEAR, Saw.RIGHT))) == [
        "1 after an error that does not say when to come again"
    ]
    assert report.amiss(outcome()) == ["no request was sent"]
    assert report.amiss(outcome(entry(Saw.RIGHT), well_before=False)) == ["the site was not well before it"]
    row = report.table([fine]).splitlines()[-1]
    assert row == "| HAProxy SIGKILL | 2 | 1 | 0 | 0 | 1 | 0 | 0 | 0 | 0.5 | 1.5 | yes |"


def test_what_is_lost_or_wrong_between_two_faults_counts() -> None:
    ledger = Ledger()
    ledger.entries += [entry(Saw.RIGHT, begin=at) for at in (90.0, 104.0, 130.0)]
    first, second = (
        Span(FAULTS[name], "pid 1", begin, end, 1.0, True)
        for name, begin, end in (("HAProxy SIGKILL", 100.0, 116.0), ("worker SIGKILL", 125.0, 140.0))
    )
    assert [report.amiss(one) for one in outcomes(ledger, [first, second])] == [[], [], []]
    ledger.entries.append(Entry("job", 110.0, [Attempt(117.0, 118.0, Saw.WRONG)], ended=118.0))
    ledger.entries.append(Entry("HTTP", 141.0, [Attempt(141.0, 145.0, Saw.CLEAR)], ended=145.0))
    found = outcomes(ledger, [first, second])
    assert [one.name for one in found] == ["HAProxy SIGKILL", "worker SIGKILL", BETWEEN]
    assert [report.amiss(one) for one in found] == [[], [], ["1 lost", "1 wrong"]]
    assert sum(one.summary.sent for one in found) == len(ledger.entries)
    assert report.table(found).splitlines()[-1] == "| between faults | 3 | 1 | 0 | 0 | 0 | 0 | 1 | 1 | 4.0 | – | no |"


def test_how_long_it_took_is_told_and_whether_that_is_too_long() -> None:
    assert report.took(301.4) == report.took(301.4, 400) == "all of it took 301 s"
    assert report.took(301.4, 300) == "all of it took 301 s, longer than the 300 s that it is meant to take"
