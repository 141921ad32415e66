"""Closed-loop callers of ``POST /api/convert-ai``: each sends its next picture when the last answer is there."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import httpx

TIMEOUT_S = 120.0
WARM_UP_S = 2.0
PAUSE_S = 1.0
"""After a failure, so that a stack that refuses is not flooded."""
ANEW = {"Cache-Control": "no-cache"}
"""Load is work: no answer is to come from the cache, nor from a request that is under way."""


@dataclass(frozen=True)
class Call:
    """``latency_s`` as the caller saw it; ``processing_s`` and its stages ``timings_s`` as the answer says.

    ``status`` 0: no answer.
    """

    status: int
    latency_s: float
    processing_s: float = 0.0
    timings_s: Mapping[str, float] = field(default_factory=dict)
    error: str = ""

    @property
    def ok(self) -> bool:
        return self.status == 200


@dataclass(frozen=True)
class Load:
    """What ``callers`` did in ``seconds``."""

    callers: int
    seconds: float
    calls: Sequence[Call]

    @property
    def per_second(self) -> float:
        return sum(c.ok for c in self.calls) / self.seconds

    @property
    def errors(self) -> int:
        return sum(not c.ok for c in self.calls)


async def call(client: httpx.AsyncClient, picture: bytes, form: Mapping[str, str]) -> Call:
    """One conversion."""
    start = time.perf_counter()
    try:
        answer = await client.post(
            "/api/convert-ai", files={"image": ("picture", picture)}, data=dict(form), headers=ANEW
        )
    except httpx.HTTPError as error:
        return Call(0, time.perf_counter() - start, error=type(error).__name__)
    latency_s = time.perf_counter() - start
    if answer.status_code != 200:
        return Call(answer.status_code, latency_s, error=answer.text[:200])
    metadata = answer.json()["ai_metadata"]
    return Call(200, latency_s, metadata["processing_time"], metadata["timings_s"])


async def _caller(
    client: httpx.AsyncClient, pictures: Iterator[bytes], form: Mapping[str, str], until: float, calls: list[Call]
) -> None:
    while time.perf_counter() < until:
        calls.append(await call(client, next(pictures), form))
        if not calls[-1].ok:
            await asyncio.sleep(PAUSE_S)


async def drive(
    url: str, callers: int, seconds: float, pictures: Sequence[bytes], form: Mapping[str, str] | None = None
) -> Load:
    """``callers`` at once for ``seconds`` after a short warm-up; calls under way at the end are waited for."""
    limits = httpx.Limits(max_connections=callers, max_keepalive_connections=callers)
    async with httpx.AsyncClient(base_url=url, timeout=TIMEOUT_S, limits=limits) as client:
        turns = itertools.cycle(pictures)
        await _all(client, callers, turns, form or {}, WARM_UP_S)
        start = time.perf_counter()
        calls = await _all(client, callers, turns, form or {}, seconds)
        return Load(callers, time.perf_counter() - start, calls)


async def _all(
    client: httpx.AsyncClient, callers: int, turns: Iterator[bytes], form: Mapping[str, str], seconds: float
) -> list[Call]:
    calls: list[Call] = []
    until = time.perf_counter() + seconds
    await asyncio.gather(*(_caller(client, turns, form, until, calls) for _ in range(callers)))
    return calls
