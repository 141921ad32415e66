"""Work that tells of itself on the way, read as an async generator."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any


async def relay(work: Callable[[asyncio.Queue[Any]], Awaitable[Any]], most: int) -> AsyncGenerator[Any]:
    """What ``work`` puts into its queue, which holds ``most``; then what it returns, unless that is None, or its error.

    Closing the generator cancels ``work`` and waits for its end.
    """
    waiting: asyncio.Queue[Any] = asyncio.Queue(most)

    async def drive() -> Any:
        try:
            return await work(waiting)
        finally:
            await waiting.put(None)

    driving = asyncio.create_task(drive())
    try:
        while (item := await waiting.get()) is not None:
            yield item
        if (result := await driving) is not None:
            yield result
    finally:
        driving.cancel()
        while not waiting.empty():  # what is being put would wait for ever
            waiting.get_nowait()
        await asyncio.gather(driving, return_exceptions=True)
