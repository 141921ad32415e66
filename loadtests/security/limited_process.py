"""One process of a site with a rate limit, under a steady rate of requests.

Run as ``python -m loadtests.security.limited_process`` with a `Task` on stdin.

It prints, as JSON, how many requests it let in in each window, and how long its answers took.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from serve.security.limits.addresses import rate_limit_key
from serve.security.limits.limiter import Client, Limiter
from serve.security.limits.rate_leases import window_for
from serve.settings import DatabaseSettings, RatesSettings, Settings
from serve.state.database import Database, database_url


@dataclass(frozen=True)
class Task:
    """``per_second`` requests for ``seconds`` of one user, or of one address, or of ``addresses`` in turn."""

    database_url: str
    redis_url: str | None
    rates: dict[str, Any]
    per_second: float
    seconds: float
    user_id: str | None = None
    addresses: int = 1
    begins_at: float = 0.0

    def to_json(self) -> str:
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class Measurement:
    """``let_in`` by the Unix time at which a window ends; ``taken_s`` of each request."""

    let_in: dict[int, int]
    taken_s: list[float]


async def run_task(task: Task) -> Measurement:
    rates = RatesSettings.model_validate({**task.rates, "redis_url": task.redis_url})
    settings = Settings(database=DatabaseSettings.model_validate({"url": task.database_url}), rates=rates)
    database = Database(database_url(settings), settings.database)
    limiter = Limiter.create(rates, database)
    limiter.start()
    let_in: Counter[int] = Counter()
    taken_s: list[float] = []
    waiting: set[asyncio.Task[None]] = set()

    async def one(number: int) -> None:
        client = Client(task.user_id, f"2001:db8:0:{number % task.addresses:x}::1")
        now, began = time.time(), time.perf_counter()
        standings = await limiter.take(client, "read")
        taken_s.append(time.perf_counter() - began)
        window = window_for(standings[-1].rate, task.user_id or rate_limit_key(client.address), now)
        let_in[round(window.ends_at)] += all(standing.allowed for standing in standings)

    await asyncio.sleep(max(0.0, task.begins_at - time.time()))
    began = time.monotonic()
    for number in range(round(task.per_second * task.seconds)):
        await _until(began + number / task.per_second, time.monotonic)
        asking = asyncio.create_task(one(number))
        waiting.add(asking)
        asking.add_done_callback(waiting.discard)
    await asyncio.gather(*waiting)
    await limiter.close()
    await database.close()
    return Measurement(dict(let_in), taken_s)


async def _until(due: float, clock: Callable[[], float]) -> None:
    wait_s = due - clock()
    await asyncio.sleep(max(0.0, wait_s))


if __name__ == "__main__":
    print(json.dumps(asdict(asyncio.run(run_task(Task(**json.loads(sys.stdin.read())))))))
