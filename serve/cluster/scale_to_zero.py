"""``IdleState``: whether an ensemble that may have no replica has none."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Callable

from serve.errors import EngineUnavailable

LOOK_EVERY_S = 1.0


class IdleState:
    """Asks ``look``, which may block and may raise EngineUnavailable, once in a while, in a thread.

    While that does not answer, things are as they were. For one event loop.
    """

    def __init__(self, look: Callable[[], bool]) -> None:
        self._look = look
        self._asleep = False
        self._looked = -math.inf
        self._looking: asyncio.Future[bool] | None = None

    async def now(self, fresh: bool = False) -> bool:
        """``fresh``: as of this moment, and not of a while ago."""
        if fresh:
            self._looked = -math.inf
        if self._looking is None and time.monotonic() - self._looked > LOOK_EVERY_S:
            self._looking = asyncio.ensure_future(asyncio.to_thread(self._look))
        if self._looking is not None:
            await asyncio.wait({self._looking}, timeout=LOOK_EVERY_S)
            self._heed()
        return self._asleep

    def _heed(self) -> None:
        if self._looking is not None and self._looking.done():
            looked, self._looking, self._looked = self._looking, None, time.monotonic()  # whatever it raises: once
            with contextlib.suppress(EngineUnavailable):
                self._asleep = looked.result()
