"""`EngineCalls`: inferences of one picture, within its deadline and repeated while engines restart."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import numpy.typing as npt

from serve.engines.client import EngineClient
from serve.errors import DeadlineExceeded, EngineUnavailable
from serve.observability import tracing

RESTART_TIMEOUT_S, RETRY_S = 20.0, 0.25
"""How long a picture waits for restarting engines, and the retry interval."""


class EngineCalls:
    """``engine_timeout_s`` limits each inference."""

    def __init__(self, engines: EngineClient, engine_timeout_s: float) -> None:
        self._engines = engines
        self._engine_timeout_s = engine_timeout_s

    async def infer(
        self, engine: str, inputs: Mapping[str, npt.NDArray[Any]], deadline: float, versions: Mapping[str, str]
    ) -> dict[str, Any]:
        """One inference. While engines restart, it is retried for RESTART_TIMEOUT_S. Raises DeadlineExceeded."""
        retry_until = time.monotonic() + RESTART_TIMEOUT_S
        while True:
            remaining_s = deadline - time.monotonic()
            if remaining_s <= 0:
                raise DeadlineExceeded("there was not enough time to finish")
            try:
                limit_s = min(remaining_s, self._engine_timeout_s)
                return await self._engines.infer(engine, inputs, timeout_s=limit_s, version=versions.get(engine, ""))
            except EngineUnavailable:
                if time.monotonic() >= retry_until:
                    raise
                tracing.event("asked again", atelier__engine=engine)
                await asyncio.sleep(min(RETRY_S, remaining_s))
