"""Enqueue and status through the whole stack: HAProxy, the gateway, the database.

Their peer is ``GET /health/live`` of the same stack, which does nothing.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field

import aiohttp

from loadtests.queue.backlog import fill_queue
from loadtests.queue.callers import OPEN_LOOP, Pace, Send, interleave
from loadtests.queue.databases import analyze
from loadtests.queue.library import ENQUEUE_GOAL_MS, STATUS_GOAL_MS
from loadtests.queue.report import Line, line
from serve.ensembles.requests import ILLUSTRATE
from serve.jobs.queue.generation_queue import set_lane_paused
from serve.settings import Settings
from serve.state import State

LIVE, ENQUEUE, STATUS = "GET /health/live", "POST /v1/jobs", "GET /v1/jobs/{id}/status"
GOALS_MS = {ENQUEUE: ENQUEUE_GOAL_MS, STATUS: STATUS_GOAL_MS}
TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Plan:
    """``users`` times ``each`` jobs wait already, and nothing starts."""

    users: int = 100
    each: int = 100
    pace: Pace = field(default_factory=Pace)


async def measure(database: str, url: str, settings: Settings, plan: Plan) -> list[Line]:
    """At the stack at ``url``, whose database is that of ``settings``."""
    state = await State.open(settings)
    try:
        await set_lane_paused(state.database, ILLUSTRATE, True)
        waiting = await fill_queue(state, plan.users, plan.each)
        await analyze(state.database)
        async with session(url, plan.pace.callers) as client:
            found = await interleave(_asks(client, waiting), plan.pace)
    finally:
        await state.close()
    lines = []
    for (name, way), samples in found.items():
        goal = {"goal_ms": GOALS_MS[name]} if way == OPEN_LOOP and name in GOALS_MS else {}
        lines.append(line(database, f"{name}, {way}", samples, **goal, peer="" if name == LIVE else f"{LIVE}, {way}"))
    return lines


def session(url: str, connections: int) -> aiohttp.ClientSession:
    limits = aiohttp.ClientTimeout(total=TIMEOUT_S)
    return aiohttp.ClientSession(url, timeout=limits, connector=aiohttp.TCPConnector(limit=connections))


def live_of(client: aiohttp.ClientSession) -> Send:
    async def live(_: int) -> None:
        async with client.get("/health/live") as answer:
            await read(answer, 200)

    return live


async def read(answer: aiohttp.ClientResponse, status: int) -> bytes:
    """The body. Raises ValueError for another ``status``."""
    body = await answer.read()
    if answer.status != status:
        raise ValueError(f"{answer.status}: {body[:200].decode(errors='replace')}")
    return body


def _asks(client: aiohttp.ClientSession, waiting: list[str]) -> dict[str, Send]:
    pick = random.Random(0)

    async def enqueue(caller: int) -> None:
        wanted = {"kind": ILLUSTRATE, "input": {"prompt": f"fox {time.perf_counter()}"}, "user_id": f"caller{caller}"}
        async with client.post("/v1/jobs", json=wanted) as answer:
            await read(answer, 202)

    async def status(_: int) -> None:
        async with client.get(f"/v1/jobs/{pick.choice(waiting)}/status") as answer:
            await read(answer, 200)

    return {LIVE: live_of(client), ENQUEUE: enqueue, STATUS: status}
