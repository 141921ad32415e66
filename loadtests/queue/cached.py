"""Answers that are given again, through the whole stack; their peer is ``GET /health/live`` of the same stack.

Each caller has a request of its own, so that none waits for another's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import aiohttp

from loadtests.load.drawings import DRAWINGS, SIZES_PX, encoded
from loadtests.queue.callers import OPEN_LOOP, Pace, Send, interleave
from loadtests.queue.endpoints import LIVE, live_of, read, session
from loadtests.queue.report import Line, line

GOAL_MS = 15.0
ILLUSTRATED, VECTORIZED = "POST /v1/images/generations", "POST /api/convert-ai"
WORD = "X-Atelier-Cache"
PICTURES = [(name, size) for size in SIZES_PX for name in DRAWINGS]


@dataclass(frozen=True)
class Plan:
    paces: Sequence[Pace] = (Pace(callers=1, again_s=0.0, at_once_s=8.0), Pace(callers=10, again_s=16.0, at_once_s=8.0))
    """At most as many callers as there are ``PICTURES``."""


async def measure(database: str, url: str, plan: Plan) -> list[Line]:
    """At the stack at ``url``."""
    callers = max(pace.callers for pace in plan.paces)
    async with session(url, callers) as client:
        for caller in range(callers):
            await _illustrate(client, caller)
            await _vectorize(client, caller)
        return [found for pace in plan.paces for found in await _at(database, client, pace)]


async def _at(database: str, client: aiohttp.ClientSession, pace: Pace) -> list[Line]:
    """The goal is for one caller who asks again at once, and for several who come again."""

    async def illustrate(caller: int) -> None:
        _check(await _illustrate(client, caller))

    async def vectorize(caller: int) -> None:
        _check(await _vectorize(client, caller))

    senders: dict[str, Send] = {LIVE: live_of(client), ILLUSTRATED: illustrate, VECTORIZED: vectorize}
    lines = []
    for (name, way), samples in (await interleave(senders, pace)).items():
        who = f"{pace.callers} caller{'s' * (pace.callers > 1)}, {way}"
        goal = {"goal_ms": GOAL_MS} if name != LIVE and (pace.callers == 1 or way == OPEN_LOOP) else {}
        lines.append(line(database, f"{name}, {who}", samples, **goal, peer="" if name == LIVE else f"{LIVE}, {who}"))
    return lines


def _check(word: str) -> None:
    if word != "hit":
        raise ValueError(f"was answered with a {word}")


async def _illustrate(client: aiohttp.ClientSession, caller: int) -> str:
    """What the cache had to do with the answer."""
    wanted = {"model": "mini", "prompt": "red apple, flat", "seed": caller}
    async with client.post("/v1/images/generations", json=wanted) as answer:
        await read(answer, 200)
        return answer.headers[WORD]


async def _vectorize(client: aiohttp.ClientSession, caller: int) -> str:
    form = aiohttp.FormData()
    form.add_field("image", encoded(*PICTURES[caller]), filename="picture.png")
    async with client.post("/api/convert-ai", data=form) as answer:
        await read(answer, 200)
        return answer.headers[WORD]
