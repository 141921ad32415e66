"""`DatabaseTimeout`: bounds the wait for database work, even if the connection hangs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

from serve.errors import AtelierError, StateUnavailable

T = TypeVar("T")

LOGGER = logging.getLogger(__name__)


class DatabaseTimeout:
    """Work on a connection that may be dead: cancelling it may take as long as the work itself, so late work is left
    running until `close`. ``cancels``: it is cancelled all the same, and sends no further queries."""

    def __init__(self, *, cancels: bool) -> None:
        self._cancels = cancels
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def is_idle(self) -> bool:
        """Whether no work runs any more, late or not."""
        return not self._tasks

    async def run(self, timeout_s: float, work: Coroutine[Any, Any, T]) -> T:
        """The result of ``work``. Raises StateUnavailable when it is late, and what it raises."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await asyncio.wait({task}, timeout=timeout_s)
        if task.done():
            return task.result()
        task.add_done_callback(_log_late_failure)
        if self._cancels:
            task.cancel()
        raise StateUnavailable("the database does not answer in time; it is asked again")

    async def close(self) -> None:
        """Cancels what still runs, including late work."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _log_late_failure(task: asyncio.Task[Any]) -> None:
    """Late work has no waiter; unexpected errors still go to the log."""
    if not task.cancelled() and not isinstance(error := task.exception(), AtelierError | None):
        LOGGER.warning("late database work failed", exc_info=error)
