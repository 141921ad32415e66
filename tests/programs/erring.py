"""A stand-in Illustrator whose prompts select an error, for third-party clients in separate processes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Sequence

from illustrator_standin import IllustratorStandIn

from serve.ensembles.illustrator.illustration import IllustrateOptions
from serve.ensembles.illustrator.service import NO_PROGRESS, Checkpoint, Preview, StreamItem, StreamOptions
from serve.errors import (
    AtelierError,
    Conflict,
    DeadlineExceeded,
    EngineFailure,
    EngineLost,
    Forbidden,
    InvalidRequest,
    KeyReused,
    NotFound,
    Overloaded,
    QuotaExceeded,
    TooManyAttempts,
    TooManyRequests,
    Unauthorized,
)

ERRORS: dict[str, AtelierError] = {
    "InvalidRequest": InvalidRequest("is not one", "prompt"),
    "NotFound": NotFound("there is no such model", "model"),
    "TooManyRequests": TooManyRequests("too many of them", None, 1),
    "TooManyRequestsToday": TooManyRequests("too many of them", None, 3600),
    "TooManyAttempts": TooManyAttempts("too many wrong keys", None, 1),
    **{
        kind.__name__: kind("as it was asked for")
        for kind in (
            Conflict, DeadlineExceeded, EngineFailure, EngineLost, Forbidden, KeyReused, Overloaded, QuotaExceeded,
            Unauthorized,
        )
    },
}  # fmt: skip


class Erring(IllustratorStandIn):
    """The prompt ``NAME`` raises that error, ``once NAME`` only the first time, ``late NAME`` after the previews of
    a stream; ``slow ...`` takes two seconds. ``times`` counts prompts."""

    def __init__(self) -> None:
        super().__init__()
        self.times: Counter[str] = Counter()

    async def _drawn(
        self, options: IllustrateOptions, follow: StreamOptions = NO_PROGRESS, resume: Sequence[Checkpoint] = ()
    ) -> AsyncGenerator[StreamItem]:
        self.times[options.prompt] += 1
        how, _, name = options.prompt.rpartition(" ")
        error = ERRORS.get(name)
        if error is not None and (not how or (how == "once" and self.times[options.prompt] == 1)):
            raise error
        if how == "slow":
            await asyncio.sleep(2)
        async for item in super()._drawn(options, follow, resume):
            if not isinstance(item, Preview) and how == "late" and error is not None:
                await asyncio.sleep(1.2)  # the response has started by then
                raise error
            yield item
