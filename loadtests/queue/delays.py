"""From an event that is written to its arrival at who follows the job by server-sent events, through the whole stack.

A worker of the measurement's own has the jobs and tells of their progress; nothing is drawn, so nothing else is waited
for. An event's time is taken before its transaction is kept: keeping it is part of the delay.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import aiohttp
import numpy as np

from loadtests.queue.backlog import request
from loadtests.queue.callers import Samples
from loadtests.queue.endpoints import read, session
from loadtests.queue.report import Line, line
from serve.ensembles.requests import ILLUSTRATE
from serve.errors import Cancelled
from serve.jobs.queue.generation_queue import GenerationQueue, set_lane_paused
from serve.jobs.queue.insertion import JobOptions
from serve.jobs.worker.claims import ClaimedJob
from serve.jobs.worker.leases import Leases
from serve.settings import Settings
from serve.state import State
from serve.state.job_states import PROCESSING, transition
from serve.state.tables import jobs

GOAL_MS = 100.0
BEAT_S = 1.0


@dataclass(frozen=True)
class Plan:
    """``jobs``, each with one who follows it, and an event every ``every_s`` of each on average."""

    jobs: Sequence[int] = (1, 50)
    every_s: float = 0.4
    seconds: float = 20.0


async def measure(database: str, url: str, settings: Settings, plan: Plan) -> list[Line]:
    """At the stack at ``url``, whose database is that of ``settings``."""
    state = await State.open(settings)
    await set_lane_paused(state.database, ILLUSTRATE, True)
    leases = Leases(state, {ILLUSTRATE: max(plan.jobs)})
    await leases.register()
    lines = []
    try:
        async with session(url, max(plan.jobs)) as client:
            for count in plan.jobs:
                samples = await _followed(client, state, leases, count, plan)
                who = "1 client follows 1 job" if count == 1 else f"{count} clients follow {count} jobs"
                lines.append(line(database, who, samples, GOAL_MS))
    finally:
        await leases.unregister()
        await state.close()
    return lines


async def _followed(client: aiohttp.ClientSession, state: State, leases: Leases, count: int, plan: Plan) -> Samples:
    taken = await _take(state, leases, count)
    samples, began = Samples(), time.perf_counter()
    async with _alive(leases):
        listening = [asyncio.Event() for _ in taken]
        async with asyncio.TaskGroup() as group:
            for job, heard in zip(taken, listening, strict=True):
                group.create_task(_follow(client, job.id, heard, samples))
            for heard in listening:
                await heard.wait()
            for number, job in enumerate(taken):
                group.create_task(_tell(GenerationQueue(state), leases, job, number, plan))
    samples.seconds = time.perf_counter() - began
    return samples


async def _take(state: State, leases: Leases, count: int) -> list[ClaimedJob]:
    """Jobs of this worker's, although their lane is paused."""
    samples = [request(f"fox {number}", seed=number) for number in range(count)]
    added = await GenerationQueue(state).add_batch(samples, JobOptions("follower"))
    mine = {"status": PROCESSING, "worker_id": leases.worker_id, "attempt": 1}
    async with state.database.write() as connection:
        await transition(connection, [jobs.c.generation_id.in_(added.ids)], "started", None, None, **mine)
    return [ClaimedJob(job_id, "follower", one, 1, None) for job_id, one in zip(added.ids, samples, strict=True)]


@contextlib.asynccontextmanager
async def _alive(leases: Leases) -> AsyncIterator[None]:
    """No other worker takes the jobs meanwhile."""

    async def beat() -> None:
        while True:
            await leases.renew()
            await asyncio.sleep(BEAT_S)

    beating = asyncio.create_task(beat())
    try:
        yield
    finally:
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)


async def _tell(queue: GenerationQueue, leases: Leases, job: ClaimedJob, seed: int, plan: Plan) -> None:
    """Progress, at random times, then the end."""
    due_s = np.cumsum(np.random.default_rng(seed).exponential(plan.every_s, round(2 * plan.seconds / plan.every_s)))
    began = time.perf_counter()
    for number, due in enumerate(due_s[due_s < plan.seconds]):
        await asyncio.sleep(max(0.0, began + float(due) - time.perf_counter()))
        stage = {"step": number, "steps": len(due_s)}
        await leases.report(job, "progress", stage, number / len(due_s), {})
    await leases.fail(job, Cancelled("its time is over"), 0.0)


async def _follow(client: aiohttp.ClientSession, job_id: str, heard: asyncio.Event, samples: Samples) -> None:
    """What is told from now on."""
    stream = {"Accept": "text/event-stream"}
    unlimited = aiohttp.ClientTimeout(total=None, sock_read=60)
    async with client.get(f"/v1/jobs/{job_id}/events", headers=stream, timeout=unlimited) as answer:
        if answer.status != 200:
            heard.set()
            samples.errors.append((await read(answer, 200)).decode())
        async for chunk in answer.content:
            arrived = time.time()
            if not chunk.startswith(b"data:"):
                continue
            at = datetime.fromisoformat(json.loads(chunk[5:])["at"]).timestamp()
            if heard.is_set():
                samples.taken_s.append(arrived - at)
            if json.loads(chunk[5:])["status"] == PROCESSING:
                heard.set()
