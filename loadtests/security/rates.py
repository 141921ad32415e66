"""Rate limits: what they cost a request, and how near to their figure they hold over several processes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from loadtests.queue.databases import SQLITE, Databases, settings_at, sqlite_in
from loadtests.security.limited_process import Measurement, Task
from loadtests.security.redis_server import RedisServer
from loadtests.vectorize.measure import ROOT
from loadtests.vectorize.table import markdown
from serve.state.database import Database, database_url
from serve.state.migrate import migrate

REDIS = "Redis"
PROCESSES = 4
PER_SECOND = 1000.0
GOAL_MS = 0.5
GOAL = 0.02
_LONG_S, _WINDOWS = 60, 4.0
"""Of limits with a shorter time, so many windows are offered requests; the first and the last are not whole."""
_MANY: dict[str, Any] = {"address_requests": 1_000_000_000, "per_user": False, "loopback": True}


@dataclass(frozen=True)
class Plan:
    seconds: float = 12.0


@dataclass(frozen=True)
class Store:
    """Where counts are: a database, and a Redis beside it if that is it."""

    name: str
    database_url: str
    redis_url: str | None = None


@dataclass(frozen=True)
class Cost:
    """Of one process that is asked ``PER_SECOND`` / ``PROCESSES`` times a second, among as many."""

    store: str
    what: str
    requests: int
    p50_ms: float
    p95_ms: float
    p99_ms: float


@dataclass(frozen=True)
class Held:
    """``let_in`` is of the window that was furthest from ``limit``."""

    store: str
    what: str
    windows: int
    offered: int
    limit: int
    let_in: int

    @property
    def off(self) -> float:
        return (self.let_in - self.limit) / self.limit


@contextlib.contextmanager
def stores(databases: Sequence[Databases], folder: Path, redis: bool) -> Iterator[list[Store]]:
    """Each empty, and with its tables."""
    with contextlib.ExitStack() as held:
        found = [Store(one.name, held.enter_context(one.fresh())) for one in databases]
        if redis:
            server = held.enter_context(RedisServer.started())
            found.append(Store(REDIS, held.enter_context(sqlite_in(folder)), server.url))
        for store in found:
            asyncio.run(_prepare(store.database_url, folder))
        yield found


async def _prepare(url: str, folder: Path) -> None:
    settings = settings_at(url, folder)
    database = Database(database_url(settings), settings.database)
    await migrate(database)
    await database.close()


_COSTS: Sequence[tuple[str, dict[str, Any], int]] = (
    ("one address, let in", _MANY, 1),
    ("one address, refused after 100", {**_MANY, "address_requests": 100}, 1),
    ("1,000 addresses in turn, 100 each in 15 minutes", {**_MANY, "address_requests": 100}, 1000),
    ("another address each time", {**_MANY, "address_requests": 100}, 65_536),
)


def costs(store: Store, plan: Plan) -> list[Cost]:
    found = []
    for number, (what, rates, addresses) in enumerate(_COSTS):
        mine = {**rates, "address_period_s": 86_400 + number}  # nobody's counts are another's
        measurements = _run_processes(store, mine, plan.seconds, None, addresses)
        taken = np.array([taken_s for one in measurements for taken_s in one.taken_s]) * 1e3
        p50, p95, p99 = (float(value) for value in np.quantile(taken, [0.5, 0.95, 0.99]))
        found.append(Cost(store.name, what, len(taken), p50, p95, p99))
    return found


_LIMITS: Sequence[tuple[str, dict[str, Any], int, int]] = (
    ("100 of one address in 15 minutes", {"per_user": False, "address_requests": 100}, 100, 900),
    ("1,000 of one user in a day", {"per_address": False, "user_requests": 1000}, 1000, 86_400),
    ("2,000 of one user in 4 seconds", {"per_address": False, "user_requests": 2000, "user_period_s": 4}, 2000, 4),
)


def holding(store: Store, plan: Plan) -> list[Held]:
    found = []
    for what, rates, limit, period_s in _LIMITS:
        seconds = max(plan.seconds, _WINDOWS * period_s) if period_s < _LONG_S else plan.seconds
        user_id = None if rates.get("per_user") is False else f"user of {time.time()}"
        measurements = _run_processes(store, rates, seconds, user_id, 1)
        windows: Counter[int] = Counter()
        for one in measurements:
            for ends_at, let_in in one.let_in.items():
                windows[ends_at] += let_in
        whole = [windows[end] for end in sorted(windows)][1:-1] if period_s < seconds else [sum(windows.values())]
        worst = max(whole, key=lambda let_in: abs(let_in - limit))
        found.append(Held(store.name, what, len(whole), round(PER_SECOND * seconds), limit, worst))
    return found


def _run_processes(
    store: Store, rates: dict[str, Any], seconds: float, user_id: str | None, addresses: int
) -> list[Measurement]:
    """By ``PROCESSES`` at once."""
    task = Task(
        store.database_url,
        store.redis_url,
        rates,
        PER_SECOND / PROCESSES,
        seconds,
        user_id,
        addresses,
        begins_at=time.time() + 3.0,
    )
    command = [sys.executable, "-m", "loadtests.security.limited_process"]
    running = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True)
        for _ in range(PROCESSES)
    ]
    found = []
    for process in running:
        assert process.stdin is not None
        process.stdin.write(task.to_json())
        process.stdin.close()
    for process in running:
        assert process.stdout is not None
        output = process.stdout.read()
        assert process.wait() == 0, "a process that was asked has failed"
        found.append(_parse(output))
    return found


def _parse(output: str) -> Measurement:
    document = json.loads(output)
    return Measurement({int(ends_at): count for ends_at, count in document["let_in"].items()}, document["taken_s"])


def cost_table(rows: Sequence[Cost]) -> str:
    header = ["what limits add to a request", "counts in", "requests", "p50 ms", "p95 ms", "p99 ms", "p50 < 0.5 ms"]
    cells = [
        [one.what, one.store, f"{one.requests:,}", f"{one.p50_ms:.3f}", f"{one.p95_ms:.2f}", f"{one.p99_ms:.2f}",
         "yes" if one.p50_ms < GOAL_MS else "no"]
        for one in sorted(rows, key=lambda one: [what for what, _, _ in _COSTS].index(one.what))
    ]  # fmt: skip
    return markdown(header, cells)


def held_table(rows: Sequence[Held]) -> str:
    header = [
        "limits at 1,000 requests/s over 4 processes",
        "counts in",
        "windows",
        "offered",
        "let in",
        "off",
        "within 2 %",
    ]
    cells = [
        [one.what, one.store, f"{one.windows}", f"{one.offered:,}", f"{one.let_in:,}", f"{100 * one.off:+.1f} %",
         "yes" if abs(one.off) <= GOAL else "no"]
        for one in sorted(rows, key=lambda one: [what for what, *_ in _LIMITS].index(one.what))
    ]  # fmt: skip
    return markdown(header, cells)


__all__ = ["SQLITE", "Plan", "cost_table", "costs", "held_table", "holding", "stores"]
