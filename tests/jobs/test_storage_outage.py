"""Outages of the database or the object store: 503 with Retry-After, and full recovery afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest
from illustrator_standin import IllustratorStandIn
from programs.long_form import length
from pydantic import SecretStr
from standin import StandIn

from loadtests.chaos.s3_server import S3Server
from loadtests.queue.postgresql import PostgreSQL
from serve.api.app import create_app
from serve.jobs.direct.service import DirectService
from serve.jobs.worker.execution import JobExecutor
from serve.jobs.worker.worker import Worker
from serve.settings import DatabaseSettings, JobsSettings, Settings
from serve.state import State

JOBS = JobsSettings(poll_s=0.02, beat_s=0.1, lease_s=2.0, progress_s=0.0, checkpoint_every=1)
DATABASE = DatabaseSettings(timeout_s=1.0)
PATIENT = JOBS.model_copy(update={"lease_s": 10.0})
"""A restarted server is slow at first: no worker may be declared dead meanwhile."""
OUTAGE_S = length(12, 30)
"""For a stopped PostgreSQL: longer than a lease, or the longest outage that a site has to survive."""
SHORT_S = length(4, 6)


class Site:
    """A gateway's application and a worker on stand-ins, in this process."""

    def __init__(self, state: State, illustrator: IllustratorStandIn, door: httpx.AsyncClient) -> None:
        self.state = state
        self.illustrator = illustrator
        self.door = door

    async def add(self, steps: int) -> str:
        job_input = {"prompt": "a fox", "seed": 7, "num_inference_steps": steps}
        answer = await self.door.post("/v1/jobs", json={"kind": "illustrate", "input": job_input})
        assert answer.status_code == 202, answer.text
        job_id: str = answer.json()["id"]
        return job_id

    async def status(self, job_id: str) -> str:
        answer = await self.door.get(f"/v1/jobs/{job_id}")
        return str(answer.json()["status"]) if answer.status_code == 200 else str(answer.status_code)

    async def until(self, job_id: str, expected: str, limit_s: float = 60.0) -> None:
        async with asyncio.timeout(limit_s):
            while await self.status(job_id) != expected:  # noqa: ASYNC110 (a database has no event)
                await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def site(settings: Settings) -> AsyncIterator[Site]:
    state = await State.open(settings)
    illustrator, vectorizer = IllustratorStandIn(), StandIn()
    worker = Worker(state, JobExecutor(state, vectorizer, illustrator))
    direct = DirectService(state, illustrator, vectorizer, settings)
    await worker.start()
    await direct.start()
    app = create_app(vectorizer, settings, illustrator=illustrator, state=state, direct=direct)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://atelier", timeout=60) as door:
        yield Site(state, illustrator, door)
    await direct.close()
    await worker.close()
    await state.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stop", "start", "seconds"),
    [(PostgreSQL.stop, PostgreSQL.start, OUTAGE_S), (PostgreSQL.freeze, PostgreSQL.thaw, SHORT_S)],
    ids=["stopped", "frozen"],
)
async def test_postgresql_outage(
    postgresql: PostgreSQL,
    tmp_path: Path,
    stop: Callable[[PostgreSQL], None],
    start: Callable[[PostgreSQL], None],
    seconds: float,
) -> None:
    """One job runs and another waits; requests meanwhile get 503; both jobs complete afterwards."""
    own = DATABASE.model_copy(update={"url": SecretStr(postgresql.new_database())})
    async with site(Settings(database=own, state_dir=tmp_path, jobs=PATIENT)) as running_site:
        running_site.illustrator.step_s = 0.05
        running_job, waiting_job = await running_site.add(200), await running_site.add(3)
        await running_site.until(running_job, "processing")
        await asyncio.to_thread(stop, postgresql)
        try:
            await check_requests_get_503(running_site, running_job, time.monotonic() + seconds)
        finally:
            await asyncio.to_thread(start, postgresql)
        await running_site.until(running_job, "completed", 60)
        await running_site.until(waiting_job, "completed")
        assert len(running_site.illustrator.steps) <= 200 + 3 + 10  # it was not started again
        answer = await running_site.door.post("/v1/images/generations", json={"prompt": "a fox", "seed": 9})
        assert answer.status_code == 200


async def check_requests_get_503(running_site: Site, running: str, until: float) -> None:
    while time.monotonic() < until:
        for answer in (
            await running_site.door.get(f"/v1/jobs/{running}"),
            await running_site.door.post("/v1/jobs", json={"kind": "illustrate", "input": {"prompt": "a cat"}}),
            await running_site.door.post("/v1/images/generations", json={"prompt": "a fox", "seed": 9}),
        ):
            assert answer.status_code == 503, answer.text
            assert int(answer.headers["retry-after"]) > 0
        await asyncio.sleep(0.1)


@pytest.mark.slow
async def test_locked_sqlite_file(tmp_path: Path) -> None:
    async with site(Settings(database=DATABASE, state_dir=tmp_path, jobs=JOBS)) as running_site:
        running_site.illustrator.step_s = 0.05
        running = await running_site.add(100)
        await running_site.until(running, "processing")
        with contextlib.closing(sqlite3.connect(tmp_path / "atelier.db", isolation_level=None)) as neighbour:
            await locked(neighbour)
            answer = await running_site.door.post("/v1/jobs", json={"kind": "illustrate", "input": {"prompt": "a cat"}})
            assert answer.status_code == 503
            await asyncio.sleep(SHORT_S)  # longer than a lease: no worker may be declared dead
        await running_site.until(running, "completed", 60)
        assert len(running_site.illustrator.steps) <= 100 + 5


async def locked(neighbour: sqlite3.Connection) -> None:
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(sqlite3.OperationalError):
                neighbour.execute("BEGIN IMMEDIATE")
                return
            await asyncio.sleep(0.001)


@pytest.mark.slow
async def test_object_store_outage(tmp_path: Path) -> None:
    with S3Server.started() as server:
        own = server.new_store().model_copy(update={"timeout_s": 1.0})
        async with site(Settings(database=DATABASE, objects=own, state_dir=tmp_path, jobs=JOBS)) as running_site:
            running_site.illustrator.step_s = 0.02
            running = await running_site.add(50)
            await running_site.until(running, "processing")
            server.freeze()
            try:
                await asyncio.sleep(SHORT_S)
                assert await running_site.status(running) == "processing"  # it is drawn, and waits to be stored
                answer = await running_site.door.post("/v1/images/generations", json={"prompt": "a fox", "seed": 9})
                assert (answer.status_code, "retry-after" in answer.headers) == (503, True)
            finally:
                server.thaw()
            await running_site.until(running, "completed")
            assert len(running_site.illustrator.steps) <= 50 + 20
            answer = await running_site.door.post("/v1/images/generations", json={"prompt": "a fox", "seed": 9})
            assert answer.status_code == 200
