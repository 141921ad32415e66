"""Polling for conditions without an event."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


async def until(holds: Callable[[], bool], most_s: float = 60.0) -> None:
    """Waits until ``holds()`` is true. Raises TimeoutError after ``most_s``."""
    async with asyncio.timeout(most_s):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
