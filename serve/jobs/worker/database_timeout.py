"""`DatabaseTimeout`: nobody waits for a database longer than he may, though it hangs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

from serve.errors import AtelierError, StateUnavailable

T = TypeVar("T")

LOGGER = logging.getLogger(__name__)


class DatabaseTimeout:
    """Work on a connection that may be dead: ending it may take as long as it does, so nobody waits for what is late
    before `close`. ``cancels``: it is asked to end all the same, and asks the database nothing more."""

    def __init__(self, *, cancels: bool) -> None:
        self._cancels = cancels
        self._going: set[asyncio.Task[Any]] = set()

    @property
    def is_idle(self) -> bool:
        """Whether nothing goes on any more, late or not."""
        return not self._going

    async def within(self, limit_s: float, work: Coroutine[Any, Any, T]) -> T:
        """What ``work`` comes to. Raises StateUnavailable when it is late, and what it raises."""
        task = asyncio.create_task(work)
        self._going.add(task)
        task.add_done_callback(self._going.discard)
        await asyncio.wait({task}, timeout=limit_s)
        if task.done():
            return task.result()
        task.add_done_callback(_told)
        if self._cancels:
            task.cancel()
        raise StateUnavailable("the database does not answer in time; it is asked again")

    async def close(self) -> None:
        """Ends what still goes on, also what somebody stopped waiting for."""
        going = list(self._going)
        for task in going:
            task.cancel()
        await asyncio.gather(*going, return_exceptions=True)


def _told(late: asyncio.Task[Any]) -> None:
    """Nobody waits for it, and what nobody foresaw is no less wrong."""
    if not late.cancelled() and not isinstance(error := late.exception(), AtelierError | None):
        LOGGER.warning("what nobody waited for any more failed", exc_info=error)
