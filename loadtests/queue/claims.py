"""Claims in a second, beside a bare ``UPDATE ... RETURNING`` that does the same without events and without history.

Both empty the same queue in turns of half a second, so the machine is the same for both.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import sqlalchemy as sa

from loadtests.queue.backlog import fill_queue
from loadtests.queue.databases import analyze, settings_at
from loadtests.queue.report import verdict
from loadtests.vectorize.measure import ROOT
from loadtests.vectorize.table import markdown, percent
from serve.ensembles.requests import ILLUSTRATE
from serve.jobs.worker.leases import Leases
from serve.settings import Settings
from serve.state import State
from serve.state.database import Database
from serve.state.job_states import PENDING, PROCESSING
from serve.state.tables import jobs

GOAL_PER_S = 300.0
SOON_S = 0.5
"""From when all are ready to the first claim."""

Claim = Callable[[], Awaitable[int]]


@dataclass(frozen=True)
class Plan:
    users: int = 100
    each: int = 100
    turns: int = 8
    turn_s: float = 0.5
    ways: Sequence[tuple[int, int, int]] = ((1, 1, 1), (1, 1, 4), (1, 4, 1), (1, 4, 4), (4, 1, 1), (4, 1, 4))
    """(processes, tasks of each, jobs at a time)"""


@dataclass(frozen=True)
class Turns:
    """What one process does: ``tasks`` claim, ours first, then bare, ours again."""

    tasks: int
    at_a_time: int
    turns: int
    turn_s: float


@dataclass(frozen=True)
class Claims:
    """``ours`` and ``bare`` in a second, by all processes."""

    database: str
    processes: int
    tasks: int
    at_a_time: int
    ours: float
    bare: float


async def measure(database: str, url: str, folder: Path, plan: Plan, way: tuple[int, int, int]) -> Claims:
    """On an empty database at ``url``."""
    processes, tasks, at_a_time = way
    settings = settings_at(url, folder)
    state = await State.open(settings)
    try:
        await fill_queue(state, plan.users, plan.each)
        await analyze(state.database)
    finally:
        await state.close()
    turns = Turns(tasks, at_a_time, plan.turns, plan.turn_s)
    if processes == 1:
        found = [await interleave_claims(settings, turns, _soon)]
    else:
        found = await _in_processes(processes, url, folder, turns)
    ours, bare = np.sum(found, axis=0)
    return Claims(database, processes, tasks, at_a_time, float(ours), float(bare))


async def interleave_claims(
    settings: Settings, turns: Turns, ready: Callable[[], Awaitable[float]]
) -> tuple[float, float]:
    """Claims in a second, ours and bare, of this process. ``ready`` says when it begins, by ``time.time``."""
    state = await State.open(settings)
    leases = Leases(state, {ILLUSTRATE: turns.at_a_time})
    await leases.register()

    async def ours() -> int:
        return len(await leases.claim(ILLUSTRATE, turns.at_a_time))

    async def bare() -> int:
        return await claim_bare(state.database, leases.worker_id, turns.at_a_time)

    claimed, seconds = [0, 0], [0.0, 0.0]
    try:
        start_at = await ready()
        for turn in range(turns.turns):
            until = start_at + (turn + 1) * turns.turn_s
            await asyncio.sleep(max(0.0, until - turns.turn_s - time.time()))
            side = (ours, bare)[turn % 2]
            began = time.perf_counter()
            claimed[turn % 2] += sum(await asyncio.gather(*(_often(side, until) for _ in range(turns.tasks))))
            seconds[turn % 2] += time.perf_counter() - began
    finally:
        await state.close()
    return claimed[0] / seconds[0], claimed[1] / seconds[1]


async def _often(claim: Claim, until: float) -> int:
    """Once at least: a busy machine may be late by a whole turn."""
    claimed = 0
    while found := await claim():
        claimed += found
        if time.time() >= until:
            break
    return claimed


async def claim_bare(database: Database, worker_id: str, most: int) -> int:
    """The first jobs of the lane get a worker and an attempt, in one statement, and that is all."""
    first = sa.select(jobs.c.generation_id).where(jobs.c.lane == ILLUSTRATE, jobs.c.status == PENDING)
    first = first.order_by(jobs.c.rank, jobs.c.round, jobs.c.seq).limit(most).with_for_update(skip_locked=True)
    claim = sa.update(jobs).where(jobs.c.generation_id.in_(first.scalar_subquery())).returning(jobs)
    async with database.write() as connection:
        values = {"status": PROCESSING, "worker_id": worker_id, "attempt": jobs.c.attempt + 1}
        return len((await connection.execute(claim.values(**values))).all())


def table(claims: Sequence[Claims]) -> str:
    rows = [
        [
            f"{one.processes} x {one.tasks}, {one.at_a_time} at a time", one.database, f"{one.ours:.0f}",
            f"{one.bare:.0f}", percent(one.ours / one.bare), f"{GOAL_PER_S:.0f}", verdict(one.ours >= GOAL_PER_S),
        ]
        for one in sorted(claims, key=lambda one: (one.processes, one.tasks, one.at_a_time))
    ]  # fmt: skip
    header = ["processes x tasks that claim", "database", "claims/s", "bare UPDATE, claims/s", "ours of the bare one's"]
    return markdown([*header, "goal", "met"], rows)


async def _soon() -> float:
    return time.time() + SOON_S


async def _in_processes(count: int, url: str, folder: Path, turns: Turns) -> list[tuple[float, float]]:
    """They begin together, once all of them are ready."""
    parameters = json.dumps({"url": url, "folder": str(folder), "turns": asdict(turns)})
    command = [sys.executable, "-m", "loadtests.queue.claims", parameters]
    pipe = asyncio.subprocess.PIPE
    started = [await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, cwd=ROOT) for _ in range(count)]
    pipes = [(process.stdin, process.stdout) for process in started]
    for _, output in pipes:
        assert output is not None
        await output.readline()
    start_at = f"{await _soon()}\n".encode()
    answers = [await process.communicate(start_at) for process in started]
    return [tuple(json.loads(output)) for output, _ in answers]


async def _asked() -> float:
    print("ready", flush=True)
    return float(await asyncio.to_thread(sys.stdin.readline))


def main() -> None:
    """One of several processes: says when it is ready, is told when to begin, says claims in a second, as JSON."""
    parameters = json.loads(sys.argv[1])
    settings = settings_at(parameters["url"], Path(parameters["folder"]))
    print(json.dumps(asyncio.run(interleave_claims(settings, Turns(**parameters["turns"]), _asked))))


if __name__ == "__main__":
    main()
