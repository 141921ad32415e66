"""Classification of failures, and time limits on streams."""

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
from serve.releases.fallback.http_calls import RequestRejected

CLOCK_TOLERANCE_S = 0.05
"""Tolerance when comparing deadlines of different processes."""


async def with_time_limit(items: AsyncGenerator[StreamItem, None], limit_s: float) -> AsyncGenerator[StreamItem, None]:
    """Apply a time limit to a stream, even if its source ignores it. Raises DeadlineExceeded."""
    until = asyncio.get_running_loop().time() + limit_s
    while True:
        try:
            async with asyncio.timeout_at(until):
                item = await anext(items, None)
        except TimeoutError:
            raise timeout_error(limit_s) from None
        if item is None:
            return
        yield item


def is_engine_fault(error: AtelierError) -> bool:
    return isinstance(error, EngineUnavailable | EngineFailure | DeadlineExceeded)


def is_failure(
    error: AtelierError, is_primary: bool, options: IllustrateOptions, limit_s: float, deadline: float
) -> bool:
    """Whether the breaker counts it. Excluded: short deadlines set by the client, rejected requests, and unavailable
    moderation."""
    if isinstance(error, RequestRejected | PictureNotClassified):
        return False
    if isinstance(error, DeadlineExceeded):
        short = options.timeout_s is not None and options.timeout_s < limit_s
        return not (short and time.monotonic() >= deadline - CLOCK_TOLERANCE_S)
    return is_engine_fault(error) or (
        not is_primary and not isinstance(error, Overloaded | Cancelled | ModerationBlocked)
    )


def timeout_error(limit_s: float) -> DeadlineExceeded:
    return DeadlineExceeded(f"no answer within {limit_s:.3g} s")


def summary(error: AtelierError) -> str:
    return f"{error.label()}: {error.message[:200]}"
