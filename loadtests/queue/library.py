"""Enqueue and status at the library, without HTTP: what the database and our bookkeeping take.

Their peers are the smallest things that a database does: one row written and kept, one row read by its key.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field

import sqlalchemy as sa

from loadtests.queue.backlog import fill_queue, request
from loadtests.queue.callers import OPEN_LOOP, Pace, Send, interleave
from loadtests.queue.databases import analyze
from loadtests.queue.report import Line, line
from serve.jobs.queue.generation_queue import GenerationQueue
from serve.jobs.queue.insertion import JobOptions
from serve.jobs.queue.views import JobViews
from serve.settings import Settings
from serve.state import State
from serve.state.database import Database
from serve.state.job_states import new_id
from serve.state.tables import jobs, measurements, utc_now

ENQUEUE_GOAL_MS, STATUS_GOAL_MS = 20.0, 10.0
ENQUEUE, STATUS, WRITE, READ = "enqueue", "status", "one row written", "one row read"
GOALS_MS = {ENQUEUE: ENQUEUE_GOAL_MS, STATUS: STATUS_GOAL_MS}
PEERS = {ENQUEUE: WRITE, STATUS: READ}


@dataclass(frozen=True)
class Plan:
    """``users`` times ``each`` jobs wait already."""

    users: int = 100
    each: int = 100
    pace: Pace = field(default_factory=Pace)


async def measure(database: str, settings: Settings, plan: Plan) -> list[Line]:
    """``database`` is its name in the table."""
    state = await State.open(settings)
    try:
        waiting = await fill_queue(state, plan.users, plan.each)
        await analyze(state.database)
        found = await interleave(_asks(state, waiting), plan.pace)
    finally:
        await state.close()
    lines = []
    for (name, way), samples in found.items():
        goal = {"goal_ms": GOALS_MS[name]} if way == OPEN_LOOP and name in GOALS_MS else {}
        peer = PEERS.get(name, "")
        lines.append(line(database, f"{name}, {way}", samples, **goal, peer=peer and f"{peer}, {way}"))
    return lines


def _asks(state: State, waiting: list[str]) -> dict[str, Send]:
    queue, views = GenerationQueue(state), JobViews(state.database)
    pick = random.Random(0)

    async def enqueue(caller: int) -> None:
        await queue.add(request(f"fox {time.perf_counter()}"), JobOptions(f"caller{caller}"))

    async def status(_: int) -> None:
        assert (await views.status_of(pick.choice(waiting))).position is not None

    async def write(_: int) -> None:
        await _write_one(state.database)

    async def read(_: int) -> None:
        async with state.database.read() as connection:
            one = sa.select(jobs).where(jobs.c.generation_id == pick.choice(waiting))
            assert (await connection.execute(one)).one_or_none() is not None

    return {WRITE: write, ENQUEUE: enqueue, READ: read, STATUS: status}


async def _write_one(database: Database) -> None:
    row = {
        "generation_id": new_id(), "user_id": "ada", "kind": "illustrate", "generation_time_s": 1.0, "success": True,
        "created_at": utc_now(),
    }  # fmt: skip
    async with database.write() as connection:
        await connection.execute(measurements.insert(), row)
