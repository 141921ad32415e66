"""The chaos log: each request counts once, by its worst attempt; and the time of recovery."""

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
from loadtests.chaos.attempts_log import VERDICTS, Attempt, AttemptLog, AttemptResult, Entry, summary
from loadtests.chaos.client import AttemptOutcome, of_grpc, of_http, send_with_retries
from loadtests.chaos.expected_answers import ROUNDING, ExpectedAnswers, GrpcClient
from loadtests.chaos.faults import FAULTS
from loadtests.chaos.jobs import Jobs
from loadtests.chaos.load import Load
from loadtests.chaos.runner import BETWEEN, Outcome, Pace, Span, _recovered, outcomes
from loadtests.load.stack import free_ports


def entry(*result: AttemptResult, begin: float = 0.0) -> Entry:
    attempts = [Attempt(begin + number, begin + number + 0.5, one) for number, one in enumerate(result)]
    return Entry("HTTP", begin, attempts, ended=begin + len(result))


@pytest.mark.parametrize(
    ("result", "verdict"),
    [
        ([AttemptResult.RIGHT], "right"),
        ([AttemptResult.DEGRADED], "degraded"),
        ([AttemptResult.CLEAR, AttemptResult.CLEAR, AttemptResult.RIGHT], "clear"),
        ([AttemptResult.CLEAR, AttemptResult.BROKEN, AttemptResult.RIGHT], "broken"),
        ([AttemptResult.UNCLEAR, AttemptResult.BROKEN, AttemptResult.RIGHT], "unclear"),
        ([AttemptResult.CLEAR], "lost"),
        ([AttemptResult.REFUSED], "lost"),
        ([], "lost"),
        ([AttemptResult.CLEAR, AttemptResult.WRONG], "wrong"),
    ],
)
def test_request_counts_once(result: Sequence[AttemptResult], verdict: str) -> None:
    assert entry(*result).verdict == verdict
    assert verdict in VERDICTS


def answer(status: int, **headers: str) -> AttemptOutcome | None:
    return of_http(httpx.Response(status, headers={name.replace("_", "-"): value for name, value in headers.items()}))


def test_clear_error_has_retry_after() -> None:
    assert answer(200) is None
    assert answer(503, retry_after="2") == AttemptOutcome(AttemptResult.CLEAR, "503 ''", 2.0)
    assert [answer(status, retry_after="1").result for status in (429, 504, 507)] == [AttemptResult.CLEAR] * 3  # type: ignore[union-attr]
    assert [answer(status).result for status in (500, 502, 503)] == [AttemptResult.UNCLEAR] * 3  # type: ignore[union-attr]
    assert [answer(status).result for status in (404, 422)] == [AttemptResult.REFUSED] * 2  # type: ignore[union-attr]


ANSWERED = {"x-request-id": "a"}
"""Metadata that a gateway sends with every response."""
AGAIN = {**ANSWERED, "retry-after": "2"}
GrpcCode = grpc.StatusCode


@pytest.mark.parametrize(
    ("code", "details", "metadata", "result"),
    [
        (GrpcCode.UNAVAILABLE, "the Vectorizer is restarting; try again", AGAIN, AttemptResult.CLEAR),
        (GrpcCode.RESOURCE_EXHAUSTED, "too many requests", AGAIN, AttemptResult.CLEAR),
        (GrpcCode.DEADLINE_EXCEEDED, "no answer within 45 s", AGAIN, AttemptResult.CLEAR),
        (GrpcCode.UNAVAILABLE, "an engine said: Socket closed", AGAIN, AttemptResult.CLEAR),
        (GrpcCode.UNAVAILABLE, "the Vectorizer is restarting; try again", ANSWERED, AttemptResult.UNCLEAR),
        (GrpcCode.UNAVAILABLE, "an engine said: Socket closed", ANSWERED, AttemptResult.UNCLEAR),
        (GrpcCode.UNAVAILABLE, "later", {**ANSWERED, "retry-after": "soon"}, AttemptResult.UNCLEAR),
        (GrpcCode.UNAVAILABLE, "failed to connect to all addresses", {}, AttemptResult.BROKEN),
        (GrpcCode.UNAVAILABLE, "Received http2 header with status: 503", {}, AttemptResult.BROKEN),
        (GrpcCode.UNAVAILABLE, "Cancelling all calls", {}, AttemptResult.BROKEN),
        (
            GrpcCode.CANCELLED,
            "Stream removed (RST_STREAM (Received RST_STREAM with error code 8))",
            {},
            AttemptResult.BROKEN,
        ),
        (GrpcCode.RESOURCE_EXHAUSTED, "Request dropped due to backpressure", {}, AttemptResult.UNCLEAR),
        (GrpcCode.DEADLINE_EXCEEDED, "Request timed out.", {}, AttemptResult.UNCLEAR),
        (GrpcCode.UNKNOWN, "Received http2 header with status: 500", {}, AttemptResult.UNCLEAR),
        (GrpcCode.INTERNAL, "an internal error", ANSWERED, AttemptResult.UNCLEAR),
        (GrpcCode.INVALID_ARGUMENT, "image: no pixels", ANSWERED, AttemptResult.REFUSED),
        (GrpcCode.INTERNAL, "an internal error", AGAIN, AttemptResult.UNCLEAR),
    ],
)
def test_grpc_errors_are_classified_by_code_and_metadata(
    code: grpc.StatusCode, details: str, metadata: dict[str, str], result: AttemptResult
) -> None:
    found = of_grpc(grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(*metadata.items()), details))
    assert found.result is result
    assert found.wait_s == (2.0 if result is AttemptResult.CLEAR else None)


async def test_error_of_the_grpc_library_is_a_broken_connection() -> None:
    (port,) = free_ports(1)
    door = GrpcClient(f"127.0.0.1:{port}")
    found = await client.attempt(partial(door.illustrate, ExpectedAnswers(), 0))
    await door.close()
    assert (found.result, found.details.split()[0]) == (AttemptResult.BROKEN, "UNAVAILABLE")


async def test_client_retries_and_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(client, "PATIENCE_S", 0.5)
    attempts_log = AttemptLog()
    answers = iter(
        [
            AttemptOutcome(AttemptResult.CLEAR, wait_s=0.01),
            httpx.ConnectError("refused"),
            AttemptOutcome(AttemptResult.RIGHT),
        ]
    )

    async def flaky() -> AttemptOutcome:
        details = next(answers)
        if isinstance(details, Exception):
            raise details
        return details

    async def dead() -> AttemptOutcome:
        return AttemptOutcome(AttemptResult.CLEAR, wait_s=0.2)

    assert await send_with_retries(attempts_log, "HTTP", flaky)
    assert not await send_with_retries(attempts_log, "HTTP", dead)
    assert [one.verdict for one in attempts_log.entries] == ["broken", "lost"]
    assert [attempt.result for attempt in attempts_log.entries[0].attempts] == [
        AttemptResult.CLEAR,
        AttemptResult.BROKEN,
        AttemptResult.RIGHT,
    ]


def test_responses_are_compared_with_the_first() -> None:
    known = ExpectedAnswers()
    pixels = np.full((4, 4, 3), 100, np.uint8)
    assert known.judge_picture(1, pixels).result is AttemptResult.RIGHT
    assert known.judge_picture(1, pixels + ROUNDING).result is AttemptResult.RIGHT
    assert known.judge_picture(1, pixels + ROUNDING + 1).result is AttemptResult.WRONG
    assert known.judge_svg("a", "<svg></svg>", True).result is AttemptResult.DEGRADED, (
        "is not what is right from now on"
    )
    assert known.judge_svg("a", "<svg/>", False).result is AttemptResult.RIGHT
    assert known.judge_svg("a", "<svg></svg>", True).result is AttemptResult.DEGRADED
    assert known.judge_svg("a", "<svg></svg>", False).result is AttemptResult.WRONG


async def test_unreadable_response_is_wrong_and_ends_no_caller() -> None:
    attempts_log = AttemptLog()

    async def nonsense() -> AttemptOutcome:
        raise json.JSONDecodeError("no", "<html>", 0)

    assert not await send_with_retries(attempts_log, "HTTP", nonsense)
    transport = httpx.MockTransport(lambda request: httpx.Response(200, text="<html>"))
    async with httpx.AsyncClient(transport=transport, base_url="http://site") as http:
        await Jobs(http, ExpectedAnswers(), attempts_log).one(0)
    assert [one.verdict for one in attempts_log.entries] == ["wrong", "wrong"]
    assert all(one.ended is not None for one in attempts_log.entries)


async def test_job_without_its_result_is_wrong() -> None:
    attempts_log = AttemptLog()
    answer = {"id": "a", "status": "completed", "results": [], "events": [{"id": 1, "event": "completed"}]}
    transport = httpx.MockTransport(lambda request: httpx.Response(200, json=answer))
    async with httpx.AsyncClient(transport=transport, base_url="http://site") as http:
        await Jobs(http, ExpectedAnswers(), attempts_log).one(0)
    assert [one.verdict for one in attempts_log.entries] == ["wrong"]


async def test_site_that_is_degraded_at_the_start_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts_log = AttemptLog()
    load = Load("http://site", "127.0.0.1:1", attempts_log, ExpectedAnswers())

    async def degraded(number: int) -> AttemptOutcome:
        return AttemptOutcome(AttemptResult.DEGRADED, "an engine was missing")

    async def job(number: int) -> None:
        attempts_log.entries.append(entry(AttemptResult.RIGHT))

    monkeypatch.setattr(load, "_doors", lambda: {"HTTP": degraded})
    monkeypatch.setattr(load.jobs, "one", job)
    with pytest.raises(RuntimeError, match="not well before anything happened: HTTP: degraded"):
        await load.warm()
    await load.stop()


def test_hanging_request_is_a_sign_before_it_fails() -> None:
    attempts_log = AttemptLog()
    attempts_log.slow_s["HTTP"] = 1.0
    now = time.monotonic()
    waiting = attempts_log.open("HTTP")
    waiting.attempt_began = now - 0.5
    assert attempts_log.quiet_since(now - 10) == now - 10
    waiting.attempt_began = now - 5
    assert attempts_log.quiet_since(now - 10) >= now
    waiting.attempts.append(Attempt(now - 5, now - 2, AttemptResult.RIGHT))
    waiting.attempt_began, waiting.ended = None, now - 2
    assert attempts_log.quiet_since(now - 10) == now - 2


async def test_recovery_ends_at_the_last_sign_before_quiet() -> None:
    attempts_log, pace = AttemptLog(), Pace(quiet_s=0.5, least_s=0.6, most_s=5)
    since = time.monotonic()

    async def fail_at(seconds: float) -> None:
        await asyncio.sleep(seconds)
        now = time.monotonic()
        attempts_log.entries.append(Entry("HTTP", now, [Attempt(now, now, AttemptResult.CLEAR)], ended=now))

    (found, *_) = await asyncio.gather(_recovered(attempts_log, since, pace), fail_at(0.1), fail_at(0.4))
    assert found == pytest.approx(0.4, abs=0.15)
    never = replace(pace, most_s=0.3)
    assert await _recovered(attempts_log, time.monotonic(), never) is None


def outcome(*entries: Entry, recovery_s: float | None = 1.0, well_before: bool = True) -> Outcome:
    return Outcome("HAProxy SIGKILL", "pid 1", summary(entries, recovery_s), well_before=well_before)


def test_table_marks_missed_goals() -> None:
    fine = outcome(entry(AttemptResult.RIGHT), entry(AttemptResult.BROKEN, AttemptResult.RIGHT), recovery_s=1.5)
    assert report.mismatch(fine) == []
    assert report.mismatch(outcome(entry(AttemptResult.RIGHT), recovery_s=12.0)) == ["recovery after 12.0 s, goal 10 s"]
    assert report.mismatch(outcome(entry(AttemptResult.RIGHT), recovery_s=12.0), goal_s=20) == []
    assert report.mismatch(outcome(entry(AttemptResult.RIGHT), recovery_s=None)) == ["no recovery"]
    assert report.mismatch(outcome(entry(AttemptResult.CLEAR))) == ["1 lost"]
    assert report.mismatch(
        outcome(entry(AttemptResult.UNCLEAR, AttemptResult.RIGHT), entry(AttemptResult.CLEAR, AttemptResult.RIGHT))
    ) == ["1 after an error that does not say when to come again"]
    assert report.mismatch(outcome()) == ["no request was sent"]
    assert report.mismatch(outcome(entry(AttemptResult.RIGHT), well_before=False)) == [
        "the site was not well before it"
    ]
    row = report.table([fine]).splitlines()[-1]
    assert row == "| HAProxy SIGKILL | 2 | 1 | 0 | 0 | 1 | 0 | 0 | 0 | 0.5 | 1.5 | yes |"


def test_lost_and_wrong_requests_between_faults_count() -> None:
    attempts_log = AttemptLog()
    attempts_log.entries += [entry(AttemptResult.RIGHT, begin=at) for at in (90.0, 104.0, 130.0)]
    first, second = (
        Span(FAULTS[name], "pid 1", begin, end, 1.0, True)
        for name, begin, end in (("HAProxy SIGKILL", 100.0, 116.0), ("worker SIGKILL", 125.0, 140.0))
    )
    assert [report.mismatch(one) for one in outcomes(attempts_log, [first, second])] == [[], [], []]
    attempts_log.entries.append(Entry("job", 110.0, [Attempt(117.0, 118.0, AttemptResult.WRONG)], ended=118.0))
    attempts_log.entries.append(Entry("HTTP", 141.0, [Attempt(141.0, 145.0, AttemptResult.CLEAR)], ended=145.0))
    found = outcomes(attempts_log, [first, second])
    assert [one.name for one in found] == ["HAProxy SIGKILL", "worker SIGKILL", BETWEEN]
    assert [report.mismatch(one) for one in found] == [[], [], ["1 lost", "1 wrong"]]
    assert sum(one.summary.sent for one in found) == len(attempts_log.entries)
    assert report.table(found).splitlines()[-1] == "| between faults | 3 | 1 | 0 | 0 | 0 | 0 | 1 | 1 | 4.0 | – | no |"


def test_recovery_time_is_shown_and_judged() -> None:
    assert report.took(301.4) == report.took(301.4, 400) == "all of it took 301 s"
    assert report.took(301.4, 300) == "all of it took 301 s, longer than the 300 s that it is meant to take"
