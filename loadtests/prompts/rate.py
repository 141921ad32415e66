"""Requests per second of `POST /api/nlp/analyze` through the whole HTTP application, in one process without a network.

Each prompt is another one, so no analysis comes from the cache. With a rate, requests come when they are due (an open
loop), and a time is from then to the answer.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx

from loadtests.prompts.evaluate import read
from serve.api.app import create_app
from serve.settings import Settings

CLIENTS = 8
REQUESTS = 2000


class _Unused:
    """In place of the Vectorizer, which no request here needs."""

    async def versions(self) -> dict[str, str]:
        return {}


async def measure(rate: float | None = None, requests: int = REQUESTS) -> tuple[float, float, float, float]:
    """(requests per second, processor ms per request, p50 in ms, p95 in ms); with the client's own work. ``rate``: how
    many a second come; else each of CLIENTS sends the next when it has its answer."""
    service: Any = _Unused()
    transport = httpx.ASGITransport(create_app(service, Settings()))
    texts = [one.prompt for one in read()]
    taken: list[float] = []
    numbers = iter(range(requests))
    async with httpx.AsyncClient(transport=transport, base_url="http://atelier") as client:
        await client.post("/api/nlp/analyze", json={"prompt": "a fox", "save": False})

        async def one(number: int, due: float) -> None:
            body = {"prompt": f"{texts[number % len(texts)]}, number {number}", "save": False}
            answer = await client.post("/api/nlp/analyze", json=body)
            taken.append(1000 * (time.perf_counter() - due))
            assert answer.status_code == 200, answer.text

        async def in_turn() -> None:
            for number in numbers:
                await one(number, time.perf_counter())

        async def when_due(number: int, due: float) -> None:
            await asyncio.sleep(due - time.perf_counter())
            await one(number, due)

        started, used = time.perf_counter(), time.process_time()
        if rate is None:
            await asyncio.gather(*(in_turn() for _ in range(CLIENTS)))
        else:
            await asyncio.gather(*(when_due(number, started + number / rate) for number in numbers))
        seconds, used = time.perf_counter() - started, time.process_time() - used
    taken.sort()
    return requests / seconds, 1000 * used / requests, taken[len(taken) // 2], taken[int(0.95 * len(taken))]
