"""The progress stream's outbox: ordered and bounded; of a replaceable item only the newest is kept."""

from __future__ import annotations

import asyncio

import pytest

from serve.ensembles.progress_stream import ProgressOutbox, stream_progress


async def test_replaced_item_keeps_its_place_and_takes_no_capacity() -> None:
    outbox = ProgressOutbox(1)
    outbox.put_latest("a", 1)
    await outbox.put("between")
    for value in range(1000):
        outbox.put_latest("b", value)
    outbox.put_latest("a", 2)
    assert [await outbox.get() for _ in range(3)] == [2, "between", 999]
    outbox.put_latest("a", 3)
    assert await outbox.get() == 3


async def test_full_outbox_delays_required_items_and_drops_offered_ones() -> None:
    outbox = ProgressOutbox(2)
    await outbox.put(1)
    await outbox.put(2)
    await outbox.offer("left out", 0.01)
    third = asyncio.create_task(outbox.put(3))
    await asyncio.sleep(0)
    assert not third.done()
    assert await outbox.get() == 1
    await third
    assert [await outbox.get() for _ in range(2)] == [2, 3]


async def test_queued_items_precede_the_result_or_the_error() -> None:
    async def work(outbox: ProgressOutbox) -> str:
        outbox.put_latest("newest", "first")
        await outbox.put("second")
        return "result"

    async def failing(outbox: ProgressOutbox) -> None:
        await work(outbox)
        raise ValueError("third")

    assert [item async for item in stream_progress(work, 4)] == ["first", "second", "result"]
    items = stream_progress(failing, 4)
    assert [await anext(items) for _ in range(2)] == ["first", "second"]
    with pytest.raises(ValueError, match="third"):
        await anext(items)


async def test_closing_ends_work_that_waits_for_capacity() -> None:
    ended = asyncio.Event()

    async def work(outbox: ProgressOutbox) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(10):
                    group.create_task(outbox.put(number))
        finally:
            ended.set()

    items = stream_progress(work, 2)
    assert await anext(items) == 0
    await asyncio.wait_for(items.aclose(), 60)
    assert ended.is_set()
