"""`Patience`: nobody waits for a database longer than he may, though it hangs."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from serve.errors import StateUnavailable

T = TypeVar("T")


class Patience:
    """Work on a connection that may be dead: cancelling it may take as long as it does, so what is late is left to
    itself until `close`."""

    def __init__(self) -> None:
        self._going: set[asyncio.Task[Any]] = set()

    async def within(self, limit_s: float, work: Coroutine[Any, Any, T]) -> T:
        """What ``work`` comes to; nobody is told when it is late. Raises StateUnavailable then, and what it raises."""
        task = asyncio.create_task(work)
        self._going.add(task)
        task.add_done_callback(self._ended)
        await asyncio.wait({task}, timeout=limit_s)
        if not task.done():
            raise StateUnavailable("the database does not answer in time; it is asked again")
        return task.result()

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._going.discard(task)
        if not task.cancelled():
            task.exception()  # of one that was left there is nobody to tell

    async def close(self) -> None:
        """Ends what still goes on, also what somebody stopped waiting for."""
        going = list(self._going)
        for task in going:
            task.cancel()
        await asyncio.gather(*going, return_exceptions=True)
