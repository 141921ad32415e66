"""``Turns``: a bounded queue before bounded work."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from serve.errors import Overloaded


class Turns:
    """At most ``at_once`` work, in the order in which they came; at most ``waiting`` wait. For one event loop."""

    def __init__(self, at_once: int, waiting: int) -> None:
        self._free = asyncio.Semaphore(at_once)
        self._most = at_once + waiting
        self._here = 0

    @property
    def here(self) -> int:
        """How many work or wait."""
        return self._here

    @contextlib.asynccontextmanager
    async def taken(self) -> AsyncIterator[None]:
        """Raises Overloaded at once when no more may wait. Whoever is cancelled leaves the queue."""
        if self._here >= self._most:
            raise Overloaded("too many requests are waiting; try again later")
        self._here += 1
        try:
            async with self._free:
                yield
        finally:
            self._here -= 1
