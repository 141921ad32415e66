"""Jobs with events, and the delivery of their webhooks."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from pydantic import SecretStr

from serve.jobs.queue.generation_queue import GenerationQueue
from serve.jobs.queue.insertion import JobOptions
from serve.jobs.webhooks.delivery import WebhookDelivery
from serve.jobs.worker.leases import Leases
from serve.settings import Settings, WebhookSettings
from serve.state import State
from serve.state.job_states import transition
from serve.state.tables import deliveries, jobs, utc_now
from tests.jobs.test_queue import request

SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
SITE = "https://atelier.example"


def with_webhooks(settings: Settings, **values: Any) -> Settings:
    usual = {"secret": SecretStr(SECRET), "allow_private": True, "retry_s": 0.02, "timeout_s": 30.0}
    return settings.model_copy(update={"webhooks": WebhookSettings(**usual).model_copy(update=values)})


def state_with(state: State, **values: Any) -> State:
    return replace(state, settings=with_webhooks(state.settings, **values))


async def worker(state: State) -> Leases:
    leases = Leases(state, {"illustrate": 2})
    await leases.register()
    return leases


@contextlib.asynccontextmanager
async def delivering(state: State, worker_id: str | None = None) -> AsyncIterator[None]:
    """Runs a delivery loop for a new worker, or for ``worker_id``."""
    own_id = worker_id or (await worker(state)).worker_id
    running = asyncio.create_task(WebhookDelivery(state, lambda: own_id, SITE).run())
    try:
        yield
        assert not running.done()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def add_job_with_events(state: State, url: str, *kinds: str, user: str = "ana") -> str:
    """Adds a job with these events, whose webhook subscribes to each."""
    order = JobOptions(user, webhook_url=url, webhook_events=tuple(set(kinds)))
    (job_id,) = (await GenerationQueue(state).add(request(), order)).ids
    for kind in kinds:
        async with state.database.write() as connection:
            await transition(connection, [jobs.c.generation_id == job_id], kind, {"about": kind})
    return job_id


async def rows(state: State) -> list[Any]:
    async with state.database.read() as connection:
        return list((await connection.execute(sa.select(deliveries).order_by(deliveries.c.created_at))).all())


async def row(state: State) -> Any:
    (delivery,) = await rows(state)
    return delivery


async def update_deliveries(state: State, **values: Any) -> None:
    """Updates every delivery."""
    async with state.database.write() as connection:
        await connection.execute(sa.update(deliveries).values(**values))


async def until(holds: Callable[[], Awaitable[bool]] | Callable[[], bool], most_s: float = 60.0) -> None:
    async with asyncio.timeout(most_s):
        while True:
            outcome = holds()
            if outcome if isinstance(outcome, bool) else await outcome:
                return
            await asyncio.sleep(0.02)


def all_are(state: State, *statuses: str) -> Callable[[], Awaitable[bool]]:
    async def holds() -> bool:
        return sorted(delivery.status for delivery in await rows(state)) == sorted(statuses)

    return holds


def tried(state: State, attempts: int = 1) -> Callable[[], Awaitable[bool]]:
    async def holds() -> bool:
        return all(delivery.attempts >= attempts for delivery in await rows(state))

    return holds


def waits_s(delivery: Any) -> float:
    """Seconds until a delivery is due."""
    wait_s: float = (delivery.due_at - utc_now()).total_seconds()
    return wait_s
