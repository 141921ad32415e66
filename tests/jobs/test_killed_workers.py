"""Workers are killed at random steps, many times: no job is lost or done twice, and no picture differs."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import random
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from PIL import Image
from programs.long_form import length

from serve.ensembles.illustrator.illustration import IllustrateOptions
from serve.ensembles.illustrator.illustrator import Illustrator
from serve.ensembles.requests import IllustrateRequest
from serve.jobs.queue.generation_queue import GenerationQueue
from serve.jobs.queue.insertion import JobOptions
from serve.settings import DatabaseSettings, IllustratorSettings, JobsSettings, Settings
from serve.state import State
from serve.state.tables import checkpoints, events, jobs, results
from tests.ensembles.drawn_family import engines, write_family

KILLS = length(30, 100)
WORKERS = 4
STEPS = 40
SAMPLERS = ("ddim", "euler_a", "heun", "dpmpp_2m", "unipc")
JOBS = {
    "slots": {"illustrate": 2}, "poll_s": 0.01, "beat_s": 0.05, "lease_s": 0.4, "progress_s": 0.0,
    "checkpoint_every": 1, "max_failures": 100, "previews": 0,
}  # fmt: skip


@dataclass
class WorkerProcesses:
    """Starts worker processes and kills them; ``pids`` are the running ones."""

    process: asyncio.subprocess.Process
    pids: list[int] = field(default_factory=list)

    async def fork(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(b"fork\n")
        self.pids.append(int(await self.process.stdout.readline()))

    def kill(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        self.pids.remove(pid)


@pytest.fixture
async def killable(database_settings: DatabaseSettings, tmp_path: Path) -> AsyncIterator[tuple[State, WorkerProcesses]]:
    settings = Settings(database=database_settings, state_dir=tmp_path / "state", jobs=JobsSettings(**JOBS))  # type: ignore[arg-type]
    state = await State.open(settings)
    order = {
        "database": database_settings.url.get_secret_value() if database_settings.url else "",
        "folder": str(settings.state_dir),
        "repository": str(write_family(tmp_path / "repository")),
        "jobs": JOBS,
    }
    script = Path(__file__).parent / "worker_fork_server.py"
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, str(script), stdin=pipe, stdout=pipe)
    assert process.stdin is not None
    process.stdin.write(json.dumps(order).encode() + b"\n")
    processes = WorkerProcesses(process)
    yield state, processes
    for pid in list(processes.pids):
        processes.kill(pid)
    process.kill()
    await process.wait()
    await state.close()


async def add(state: State, n: int) -> dict[str, IllustrateOptions]:
    """Jobs of three users, by their ids."""
    jobs_by_id = {}
    for i in range(n):
        options = IllustrateOptions(
            "red apple", seed=i, num_inference_steps=STEPS, sampler=SAMPLERS[i % len(SAMPLERS)], n=1 + i % 2
        )
        added = await GenerationQueue(state).add(IllustrateRequest(options), JobOptions(f"user {i % 3}"))
        jobs_by_id[added.ids[0]] = options
    return jobs_by_id


async def starts(state: State) -> int:
    """The number of attempts started: the next kill waits for one, on a slow machine too."""
    async with state.database.read() as connection:
        query = sa.select(sa.func.count()).select_from(events).where(events.c.kind == "started")
        return await connection.scalar(query) or 0


async def statuses(state: State) -> dict[str, str]:
    async with state.database.read() as connection:
        rows = await connection.execute(sa.select(jobs.c.generation_id, jobs.c.status))
        return {row.generation_id: row.status for row in rows}


@pytest.mark.slow
async def test_kills_lose_no_job(killable: tuple[State, WorkerProcesses], tmp_path: Path) -> None:
    state, processes = killable
    rng = random.Random(7)
    expected = await add(state, 12)
    for _ in range(WORKERS):
        await processes.fork()
    for _ in range(KILLS):
        await asyncio.sleep(rng.uniform(0.02, 0.15))
        attempts = await starts(state)
        processes.kill(rng.choice(processes.pids))
        await processes.fork()
        open_jobs = sum(status != "completed" for status in (await statuses(state)).values())
        if open_jobs < 8:
            expected |= {job: replaced for job, replaced in (await add_more(state, len(expected))).items()}
        with contextlib.suppress(TimeoutError):  # the killed worker may have had no job, and all jobs may be running
            async with asyncio.timeout(2):
                while await starts(state) == attempts:  # noqa: ASYNC110 (other processes begin them)
                    await asyncio.sleep(0.01)
    async with asyncio.timeout(240):
        while set((found := await statuses(state)).values()) != {"completed"}:
            assert "failed" not in found.values(), found
            await asyncio.sleep(0.1)
    assert found.keys() == expected.keys()
    await check_events(state, expected)
    await check_pictures(state, expected, tmp_path / "repository")


async def add_more(state: State, start: int) -> dict[str, IllustrateOptions]:
    options = IllustrateOptions(
        "green pear", seed=start, num_inference_steps=STEPS, sampler=SAMPLERS[start % len(SAMPLERS)]
    )
    added = await GenerationQueue(state).add(IllustrateRequest(options), JobOptions("user more"))
    return {added.ids[0]: options}


async def check_events(state: State, expected: dict[str, IllustrateOptions]) -> None:
    """Events are numbered without gaps and end once per job; steps are not all repeated after each kill."""
    async with state.database.read() as connection:
        rows = (await connection.execute(sa.select(events).order_by(events.c.generation_id, events.c.n))).all()
        assert (await connection.execute(sa.select(checkpoints))).all() == []
    events_of: dict[str, list[sa.Row[tuple[object, ...]]]] = {}
    for row in rows:
        events_of.setdefault(row.generation_id, []).append(row)
    interrupted = 0
    for job in expected:
        assert [row.n for row in events_of[job]] == list(range(1, len(events_of[job]) + 1))
        kinds = [row.kind for row in events_of[job]]
        assert kinds.count("completed") == 1
        interrupted += kinds.count("retrying")
    assert interrupted > KILLS / 10  # the other kills hit a worker without a job


async def check_pictures(state: State, expected: dict[str, IllustrateOptions], repository: Path) -> None:
    """Each equals the picture of an undisturbed run, bit for bit."""
    undisturbed = Illustrator(IllustratorSettings(model_repository=repository), engines=engines())  # type: ignore[arg-type]
    async with state.database.read() as connection:
        rows = (await connection.execute(sa.select(results))).all()
    stored = {(row.generation_id, row.place): row.object for row in rows}
    assert len(stored) == len(rows) == sum(options.n for options in expected.values())
    for job, options in expected.items():
        for place, picture in enumerate((await undisturbed.draw(options)).pictures):
            data = await state.objects.get(stored[job, place])
            assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), picture.pixels)
