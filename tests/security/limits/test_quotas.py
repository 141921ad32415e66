"""Quotas per user: stored bytes and concurrent work. Anonymous users have none (A-120)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pictures import drawn, encode
from standin import StandIn
from waiting import until

from serve.api.library.reference_store import SubjectReferenceManager
from serve.ensembles.illustrator.illustration import IllustrateOptions
from serve.ensembles.requests import File, IllustrateRequest, Outcome
from serve.ensembles.vectorizer.vectorization import VectorizeOptions
from serve.errors import QuotaExceeded, TooManyJobs
from serve.jobs.direct.direct_request import ANONYMOUS, Caller
from serve.jobs.direct.service import DirectService
from serve.jobs.queue.generation_queue import GenerationQueue
from serve.jobs.queue.insertion import JobOptions
from serve.jobs.records import completion_columns, insert_results, object_store_items
from serve.jobs.worker.leases import Leases
from serve.security.limits.quotas import Quotas
from serve.settings import DatabaseSettings, QuotasSettings, Settings
from serve.state import State
from serve.state.tables import generations, utc_now

REQUEST = IllustrateRequest(IllustrateOptions("a fox", seed=7))


@pytest.fixture
def quotas() -> QuotasSettings:
    return QuotasSettings(max_stored_bytes=1000, max_running=2)


@pytest.fixture
async def state(database_settings: DatabaseSettings, quotas: QuotasSettings, tmp_path: Path) -> AsyncIterator[State]:
    opened = await State.open(Settings(database=database_settings, quotas=quotas, state_dir=tmp_path / "state"))
    yield opened
    await opened.close()


async def store_result(state: State, user_id: str, bytes_: int) -> None:
    outcome = Outcome([File(bytes(bytes_), "image/png")], {}, "mini", 0.5)
    stored = await state.objects.put_all(object_store_items(outcome.files))
    row = {
        "id": f"of {user_id}", "user_id": user_id, "kind": "illustrate", "prompt": "", "parameters": {},
        "status": "completed", "created_at": utc_now(), **completion_columns(outcome),
    }  # fmt: skip
    async with state.database.write() as connection:
        await connection.execute(generations.insert().values(**row))
        await insert_results(connection, f"of {user_id}", outcome, stored)


async def test_stored_bytes_of_results_and_references_add_up(state: State, quotas: QuotasSettings) -> None:
    user_quotas = Quotas(state.database, quotas)
    assert await user_quotas.stored_bytes("ada") == 0
    await store_result(state, "ada", 900)
    await store_result(state, "ben", 1)
    assert await user_quotas.stored_bytes("ada") == 0, "as it was a moment ago"
    user_quotas = Quotas(state.database, quotas)
    assert await user_quotas.stored_bytes("ada") == 900
    await user_quotas.check_storage("ada", 100)
    with pytest.raises(QuotaExceeded, match="900 bytes") as caught:
        await user_quotas.check_storage("ada", 101)
    assert (caught.value.status, caught.value.retry_after_s) == (507, None)
    await user_quotas.check_storage("ben", 999)


async def test_full_storage_quota_refuses_new_work(state: State) -> None:
    for user_id in ("ada", ANONYMOUS):
        await store_result(state, user_id, 1000)
    queue, service = GenerationQueue(state), StandIn()
    direct = DirectService(state, None, service, state.settings)
    picture = encode(drawn(size=64))
    with pytest.raises(QuotaExceeded):
        await queue.add(REQUEST, JobOptions("ada"))
    with pytest.raises(QuotaExceeded):
        await direct.vectorize(picture, VectorizeOptions(), Caller("ada"))
    with pytest.raises(QuotaExceeded):
        await SubjectReferenceManager(state).store_subject_reference("ada", "fox", picture)
    await queue.add(REQUEST, JobOptions(ANONYMOUS))
    await direct.vectorize(picture, VectorizeOptions(), Caller())
    await direct.close()


async def test_running_jobs_per_user_are_limited(state: State) -> None:
    queue, first, second = GenerationQueue(state), Leases(state, {}), Leases(state, {})
    for worker in (first, second):
        await worker.register()
    for user_id, jobs in (("ada", 5), ("ben", 1), (ANONYMOUS, 3)):
        for _ in range(jobs):
            await queue.add(REQUEST, JobOptions(user_id))
    workers = (first, second, first)
    claims = await asyncio.gather(first.claim("illustrate", 4), second.claim("illustrate", 4))
    claims.append(await first.claim("illustrate", 10))
    claimed_jobs = [(worker, job) for worker, claimed in zip(workers, claims, strict=True) for job in claimed]
    assert sorted(job.user_id for _, job in claimed_jobs) == ["ada", "ada", *[ANONYMOUS] * 3, "ben"]
    assert await second.claim("illustrate", 10) == []
    worker, done = next((worker, job) for worker, job in claimed_jobs if job.user_id == "ada")
    await worker.complete(done, Outcome([], {}, "mini", 0.1), [])
    assert [job.user_id for job in await second.claim("illustrate", 10)] == ["ada"]


async def test_direct_requests_and_jobs_share_the_quota(state: State, quotas: QuotasSettings) -> None:
    user_quotas, queue, worker = Quotas(state.database, quotas), GenerationQueue(state), Leases(state, {})
    await worker.register()
    await user_quotas.check_running("ada")
    await queue.add(REQUEST, JobOptions("ada"))
    assert len(await worker.claim("illustrate", 1)) == 1
    async with user_quotas.running_request("ada"):
        with pytest.raises(TooManyJobs, match="2 requests"):
            await user_quotas.check_running("ada")
        await user_quotas.check_running("ben")
    await user_quotas.check_running("ada")
    for _ in range(3):
        await user_quotas.check_running(ANONYMOUS)


async def test_concurrent_direct_requests_stay_within_the_quota(state: State) -> None:
    """All pass the check of running requests; the count is taken before the next check."""
    user_quotas = Quotas(state.database, QuotasSettings(max_running=2))
    started, over = 0, asyncio.Event()

    async def run_request() -> None:
        nonlocal started
        await user_quotas.check_running("ada")
        async with user_quotas.running_request("ada"):
            started += 1
            await over.wait()

    requests = [asyncio.create_task(run_request()) for _ in range(8)]
    await until(lambda: started + sum(one.done() for one in requests) == 8)
    over.set()
    outcomes = await asyncio.gather(*requests, return_exceptions=True)
    refused = sum(isinstance(run_request, TooManyJobs) for run_request in outcomes)
    assert started <= 2
    assert started + refused == 8
    await user_quotas.check_running("ada")
