"""``IdleState``: whether an ensemble is scaled to zero."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Callable

from serve.errors import EngineUnavailable

CACHE_S = 1.0


class IdleState:
    """Caches ``look`` (blocking, may raise EngineUnavailable), called in a thread at most once per second.

    Until it returns, the last state is kept. For one event loop.
    """

    def __init__(self, look: Callable[[], bool]) -> None:
        self._check = look
        self._is_idle = False
        self._updated_at = -math.inf
        self._lookup: asyncio.Future[bool] | None = None

    async def now(self, fresh: bool = False) -> bool:
        """``fresh``: do not use a cached state."""
        if fresh:
            self._updated_at = -math.inf
        if self._lookup is None and time.monotonic() - self._updated_at > CACHE_S:
            self._lookup = asyncio.ensure_future(asyncio.to_thread(self._check))
        if self._lookup is not None:
            await asyncio.wait({self._lookup}, timeout=CACHE_S)
            self._update()
        return self._is_idle

    def _update(self) -> None:
        if self._lookup is not None and self._lookup.done():
            lookup, self._lookup, self._updated_at = (
                self._lookup,
                None,
                time.monotonic(),
            )  # an error is not retried at once
            with contextlib.suppress(EngineUnavailable):
                self._is_idle = lookup.result()
