"""Work that tells of itself on the way, read as an async generator."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

PREVIEW_PATIENCE_S = 1.0
"""How long a preview waits for a slow reader before it is left out: no drawing waits for its reader."""

_END = "end"


class ProgressOutbox:
    """What waits for its one reader, in order: ``most`` items, and beside them the newest of each renewed kind.

    So a slow reader costs bounded memory, and holds nobody up who renews or offers.
    """

    def __init__(self, most: int) -> None:
        self._places = asyncio.Semaphore(most)
        self._numbers = itertools.count()
        self._waiting: dict[int | str, Any] = {}
        """By number what took one of the places, by name what is renewed."""
        self._filled = asyncio.Event()

    async def put(self, item: Any) -> None:
        """Waits for a place."""
        await self._places.acquire()
        self._lay(next(self._numbers), item)

    async def offer(self, item: Any, patience_s: float) -> None:
        """``item`` is left out when there is no place for it within ``patience_s``."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await self.put(item)

    def renew(self, kind: str, item: Any) -> None:
        """Takes the place of an unread item of its ``kind``, so that one that is always renewed is read, too."""
        self._lay(kind, item)

    async def get(self) -> Any:
        while not self._waiting:
            self._filled.clear()
            await self._filled.wait()
        key = next(iter(self._waiting))
        if isinstance(key, int):
            self._places.release()
        return self._waiting.pop(key)

    def _lay(self, key: int | str, item: Any) -> None:
        self._waiting[key] = item
        self._filled.set()


async def relay(work: Callable[[ProgressOutbox], Awaitable[Any]], most: int) -> AsyncGenerator[Any]:
    """What ``work`` lays into its outbox of ``most`` places; then what it returns, unless that is None, or its error.

    Closing the generator cancels ``work`` and waits for its end.
    """
    outbox = ProgressOutbox(most)

    async def drive() -> Any:
        try:
            return await work(outbox)
        finally:
            outbox.renew(_END, None)

    driving = asyncio.create_task(drive())
    try:
        while (item := await outbox.get()) is not None:
            yield item
        if (result := await driving) is not None:
            yield result
    finally:
        driving.cancel()
        await asyncio.gather(driving, return_exceptions=True)
