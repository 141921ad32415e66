"""Webhook receivers that are slow, huge, gone or redirecting: none delays another one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from email.utils import format_datetime

import pytest
import sqlalchemy as sa
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from webhook_receiver import Receiver, drip, raw
from webhook_site import (
    add_job_with_events,
    all_are,
    delivering,
    row,
    rows,
    state_with,
    tried,
    until,
    waits_s,
)

from serve.jobs.webhooks.client import MAX_RETRY_AFTER_S, _retry_after_s
from serve.jobs.webhooks.delivery import MAX_CONCURRENT_PER_HOST
from serve.state import State
from serve.state.tables import deliveries, utc_now


def in_ten_minutes() -> str:
    return format_datetime(utc_now() + timedelta(seconds=600), usegmt=True)


@pytest.mark.parametrize(
    ("retry_after", "least_s", "most_s"),
    [
        (lambda: "600", 590, 600),
        (in_ten_minutes, 580, 600),
        (lambda: "9" * 400, MAX_RETRY_AFTER_S - 10, MAX_RETRY_AFTER_S),
        (lambda: "-5", 50, 90),
        (lambda: "soon", 50, 90),
        (lambda: "Wed, 21 Oct 2015 07:28:00 GMT", 50, 90),
    ],
)
async def test_retry_after_of_a_receiver_is_respected(
    state: State, receiver: Receiver, retry_after: Callable[[], str], least_s: float, most_s: float
) -> None:
    receiver.answers = [web.Response(status=503, headers={"Retry-After": retry_after()})]
    await add_job_with_events(state, receiver.url, "completed")
    async with delivering(state_with(state, retry_s=60)):
        await until(tried(state))
    assert least_s < waits_s(await row(state)) <= most_s


@given(st.text(max_size=40) | st.from_regex(r"[A-Z][a-z]{2}, \d{1,3} [A-Z][a-z]{2} \d{1,9} \d+:\d+:\d+ .{0,8}"))
def test_any_retry_after_is_a_bounded_number(text: str) -> None:
    assert 0 <= _retry_after_s({"Retry-After": text}) <= MAX_RETRY_AFTER_S


async def test_410_ends_deliveries_of_the_job(state: State, receiver: Receiver) -> None:
    receiver.answers = [410]
    await add_job_with_events(state, receiver.url, "started", "progress", "completed")
    async with delivering(state):
        await until(all_are(state, "failed", "failed", "failed"))
        other_job = await add_job_with_events(state, receiver.url, "completed", user="ben")
        await until(all_are(state, "failed", "failed", "failed", "delivered"))
    assert len(receiver.calls) == 2
    assert {delivery.answer for delivery in await rows(state) if delivery.generation_id != other_job} == {410}


async def test_slow_receiver_delays_no_other(state: State, receiver: Receiver) -> None:
    async def never() -> int:
        await asyncio.Event().wait()
        return 200

    async with Receiver(always=never).listening() as slow:
        for n in range(40):  # more than are sent concurrently
            await add_job_with_events(state, slow.url, "completed", user=f"user{n}")
        await add_job_with_events(state, receiver.url, "completed")
        async with delivering(state_with(state, timeout_s=600)):
            await until(lambda: len(receiver.calls) == 1)
            await until(lambda: slow.most == MAX_CONCURRENT_PER_HOST)
            to_slow = sa.select(sa.func.count()).where(
                deliveries.c.worker_id.is_not(None), deliveries.c.url == slow.url
            )
            async with state.database.read() as connection:
                assert await connection.scalar(to_slow) == MAX_CONCURRENT_PER_HOST
    assert slow.most == MAX_CONCURRENT_PER_HOST


async def test_slow_response_head_times_out(state: State) -> None:
    async def drip_head(writer: asyncio.StreamWriter) -> None:
        await drip(writer, b"HTTP/1.1 200 OK\r\nX-Long: ", b"x", 0.05)

    async with raw(drip_head) as (url, ends):
        await add_job_with_events(state, url, "completed")
        async with delivering(state_with(state, timeout_s=0.4, max_attempts=1)):
            await until(all_are(state, "failed"))
        await until(lambda: ends == ["cut"])
    assert (await row(state)).answer is None


async def test_slow_response_body_counts_as_delivered(state: State) -> None:
    async def drip_body(writer: asyncio.StreamWriter) -> None:
        await drip(writer, b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b"x", 0.05)

    async with raw(drip_body) as (url, ends):
        await add_job_with_events(state, url, "completed")
        async with delivering(state_with(state, timeout_s=0.4)):
            await until(all_are(state, "delivered"))
        await until(lambda: ends == ["cut"])


async def test_huge_response_body_is_not_read(state: State) -> None:
    sent = 0

    async def send_endlessly(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1000000000\r\n\r\n")
        while True:
            writer.write(b"\x1f\x8b" + b"x" * 65536)
            await writer.drain()
            sent += 65536

    async with raw(send_endlessly) as (url, ends):
        await add_job_with_events(state, url, "completed")
        async with delivering(state):
            await until(all_are(state, "delivered"))
        await until(lambda: ends == ["cut"])
    assert sent < 20_000_000  # the kernel's buffers


async def test_endless_response_head_is_refused(state: State) -> None:
    async def send_endless_head(writer: asyncio.StreamWriter) -> None:
        await drip(writer, b"HTTP/1.1 200 OK\r\n", b"X-More: and more\r\n" * 100, 0)

    async with raw(send_endless_head) as (url, ends):
        await add_job_with_events(state, url, "completed")
        async with delivering(state_with(state, timeout_s=600, max_attempts=1)):
            await until(all_are(state, "failed"))
        await until(lambda: ends == ["cut"])


async def test_invalid_http_response_counts_as_an_attempt(state: State, caplog: pytest.LogCaptureFixture) -> None:
    async def nonsense(writer: asyncio.StreamWriter) -> None:
        writer.write(b"\0\xff what?\r\n\r\n")
        await writer.drain()

    async with raw(nonsense) as (url, ends):
        await add_job_with_events(state, url, "completed")
        async with delivering(state_with(state, max_attempts=2)):
            await until(all_are(state, "failed"))
    assert len(ends) == 2
    assert "failed after 2 attempts" in caplog.text
    assert url not in caplog.text


async def test_redirects_are_not_followed(state: State, receiver: Receiver) -> None:
    async with Receiver().listening() as inner:
        receiver.always = web.Response(status=307, headers={"Location": inner.url})
        await add_job_with_events(state, receiver.url, "completed")
        async with delivering(state_with(state, max_attempts=1)):
            await until(all_are(state, "failed"))
    assert inner.calls == []
    assert (await row(state)).answer == 307


async def test_address_no_longer_allowed_fails(state: State, receiver: Receiver) -> None:
    await add_job_with_events(state, receiver.url, "completed")
    async with delivering(state_with(state, allow_private=False)):
        await until(all_are(state, "failed"))
    assert receiver.calls == []
    assert (await row(state)).attempts == 1
