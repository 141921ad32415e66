"""Bounded work behind a bounded queue."""

from __future__ import annotations

import asyncio

import pytest

from serve.errors import Overloaded
from serve.turns import Turns


async def test_work_takes_turns_and_who_comes_too_late_is_refused() -> None:
    turns, order = Turns(at_once=1, waiting=1), []
    end = asyncio.Event()

    async def work(name: str) -> None:
        async with turns.taken():
            order.append(name)
            await end.wait()

    first, second = asyncio.create_task(work("first")), asyncio.create_task(work("second"))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await work("third")
    assert order == ["first"]
    end.set()
    await asyncio.gather(first, second)
    assert order == ["first", "second"]


async def test_who_is_cancelled_leaves_the_queue() -> None:
    turns = Turns(at_once=1, waiting=1)
    async with turns.taken():
        waiting = asyncio.create_task(turns.taken().__aenter__())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        waiting = asyncio.create_task(turns.taken().__aenter__())  # there is room again
        await asyncio.sleep(0)
    await asyncio.wait_for(waiting, 1)
