"""What counts as a failure of who draws, and waits that end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator

from serve.ensembles.illustrator.illustration import IllustrateOptions, StreamItem
from serve.errors import (
    AtelierError,
    Cancelled,
    DeadlineExceeded,
    EngineFailure,
    EngineUnavailable,
    ModerationBlocked,
    Overloaded,
    PictureNotClassified,
)
from serve.releases.fallback.http_calls import NotForThis

ABOUT_S = 0.05
"""Clocks of different processes end a wait at about the same time."""


async def within(items: AsyncGenerator[StreamItem, None], limit_s: float) -> AsyncGenerator[StreamItem, None]:
    """Also where who yields them does not look at the time. Raises DeadlineExceeded."""
    until = asyncio.get_running_loop().time() + limit_s
    while True:
        try:
            async with asyncio.timeout_at(until):
                item = await anext(items, None)
        except TimeoutError:
            raise late(limit_s) from None
        if item is None:
            return
        yield item


def is_ours(error: AtelierError) -> bool:
    return isinstance(error, EngineUnavailable | EngineFailure | DeadlineExceeded)


def is_failure(
    error: AtelierError, is_primary: bool, options: IllustrateOptions, limit_s: float, deadline: float
) -> bool:
    """Whether the breaker counts it: not what came of too little time that the client gave, of what was asked, or of
    a judge who is away."""
    if isinstance(error, NotForThis | PictureNotClassified):
        return False
    if isinstance(error, DeadlineExceeded):
        short = options.timeout_s is not None and options.timeout_s < limit_s
        return not (short and time.monotonic() >= deadline - ABOUT_S)
    return is_ours(error) or (not is_primary and not isinstance(error, Overloaded | Cancelled | ModerationBlocked))


def late(limit_s: float) -> DeadlineExceeded:
    return DeadlineExceeded(f"no answer within {limit_s:.3g} s")


def brief(error: AtelierError) -> str:
    return f"{type(error).__name__}: {error.message[:200]}"
