"""An event loop in a thread, for commands that run an ensemble in this process."""

from __future__ import annotations

import asyncio
import contextlib
import queue
from collections.abc import AsyncGenerator, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


class EventLoopThread:
    """Runs coroutines for a thread without an event loop. Close it: its thread keeps the process alive."""

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(1, name)
        self._loop = asyncio.new_event_loop()
        self._thread.submit(self._loop.run_forever)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def iterate(self, items: AsyncGenerator[T]) -> Iterator[T]:
        """Iterate over ``items``; closing the iterator closes it."""
        ready: queue.SimpleQueue[T | None] = queue.SimpleQueue()

        async def pump() -> None:
            async with contextlib.aclosing(items):
                async for item in items:
                    ready.put(item)

        pumping = asyncio.run_coroutine_threadsafe(pump(), self._loop)
        pumping.add_done_callback(lambda _: ready.put(None))
        try:
            while (item := ready.get()) is not None:
                yield item
            pumping.result()  # raises its error
        finally:
            pumping.cancel()

    def close(self) -> None:
        self.run(self._loop.shutdown_default_executor())  # otherwise its threads end on their own
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.shutdown()
        self._loop.close()
