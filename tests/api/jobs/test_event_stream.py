"""Server-sent events of slow work, without a socket."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator

import pytest
from waiting import until

from serve.api.http.event_stream import WAITING_EVENTS, EventRelay


async def test_slow_reader_blocks_the_event_source() -> None:
    made = []

    async def source() -> AsyncGenerator[str]:
        for i in range(100):
            made.append(i)
            yield str(i)
            await asyncio.sleep(0)

    relay = EventRelay(source())
    await until(lambda: len(made) > WAITING_EVENTS)
    await asyncio.sleep(0.05)
    assert len(made) == WAITING_EVENTS + 1
    assert [await relay.next(60) for _ in range(101)] == [*map(str, range(100)), None]


async def test_stopping_closes_a_blocked_source() -> None:
    closed = asyncio.Event()

    async def source() -> AsyncGenerator[str]:
        try:
            while True:
                yield "event"
        finally:
            closed.set()

    relay = EventRelay(source())
    await asyncio.sleep(0.05)
    relay.stop()
    async with asyncio.timeout(60):
        await closed.wait()


async def test_error_follows_the_events_before_it() -> None:
    """Includes TimeoutError, which asyncio raises itself: it must not be taken for silence."""

    async def source() -> AsyncGenerator[str]:
        for _ in range(WAITING_EVENTS):
            yield "event"
        raise TimeoutError("of the work")

    relay = EventRelay(source())
    await asyncio.sleep(0.05)
    assert [await relay.next(60) for _ in range(WAITING_EVENTS)] == ["event"] * WAITING_EVENTS
    with pytest.raises(TimeoutError, match="of the work"):
        await relay.next(60)


async def test_events_at_the_heartbeat_timeout_are_not_lost() -> None:
    """On a busy loop the work and the timeout end in the same iteration."""

    async def source() -> AsyncGenerator[str]:
        await asyncio.sleep(0.01)
        yield "event"

    relay = EventRelay(source())
    waiting = asyncio.create_task(relay.next(0.02))
    for _ in range(3):
        await asyncio.sleep(0)  # both are due by now
    time.sleep(0.05)  # noqa: ASYNC251  # that is what is tested
    assert [await waiting, await relay.next(60)] == ["event", None]
