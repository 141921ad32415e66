"""Progress of asynchronous work as an async generator."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

PREVIEW_TIMEOUT_S = 1.0
"""How long a preview waits for a slow reader before it is dropped."""

_END = "end"


class ProgressOutbox:
    """Items for one reader, in order: at most ``most`` queued items, plus the newest item of each replaceable kind.

    Memory is bounded with a slow reader, and `offer` and `put_latest` do not block on it.
    """

    def __init__(self, most: int) -> None:
        self._slots = asyncio.Semaphore(most)
        self._numbers = itertools.count()
        self._waiting: dict[int | str, Any] = {}
        """Queued items by number, replaceable ones by kind."""
        self._filled = asyncio.Event()

    async def put(self, item: Any) -> None:
        """Append ``item``; waits for a free slot."""
        await self._slots.acquire()
        self._store(next(self._numbers), item)

    async def offer(self, item: Any, timeout_s: float) -> None:
        """Append ``item``, or drop it if no slot is free within ``timeout_s``."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self.put(item)

    def put_latest(self, kind: str, item: Any) -> None:
        """Replace the unread item of ``kind`` in its position, or append."""
        self._store(kind, item)

    async def get(self) -> Any:
        while not self._waiting:
            self._filled.clear()
            await self._filled.wait()
        key = next(iter(self._waiting))
        if isinstance(key, int):
            self._slots.release()
        return self._waiting.pop(key)

    def _store(self, key: int | str, item: Any) -> None:
        self._waiting[key] = item
        self._filled.set()


async def stream_progress(work: Callable[[ProgressOutbox], Awaitable[Any]], most: int) -> AsyncGenerator[Any]:
    """Items that ``work`` puts into its outbox (``most`` slots), then its result, unless None, or its error.

    Closing the generator cancels ``work`` and waits for it.
    """
    outbox = ProgressOutbox(most)

    async def drive() -> Any:
        try:
            return await work(outbox)
        finally:
            outbox.put_latest(_END, None)

    driving = asyncio.create_task(drive())
    try:
        while (item := await outbox.get()) is not None:
            yield item
        if (result := await driving) is not None:
            yield result
    finally:
        driving.cancel()
        await asyncio.gather(driving, return_exceptions=True)
