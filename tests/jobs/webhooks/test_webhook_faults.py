"""Webhooks while workers die, databases fail and clocks change: each is delivered, under one id."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from webhook_receiver import Receiver
from webhook_site import (
    SECRET,
    SITE,
    add_job_with_events,
    all_are,
    delivering,
    row,
    rows,
    state_with,
    until,
    update_deliveries,
    worker,
)

from serve.errors import StateUnavailable
from serve.jobs.webhooks.delivery import WebhookDelivery
from serve.jobs.worker.lease_reaper import LeaseReaper
from serve.settings import DatabaseSettings
from serve.state import State
from serve.state.database import Database
from serve.state.tables import utc_now

HOME = Path(__file__).parents[3]


DYING = """
import asyncio, os, signal, sys
from serve.settings import DatabaseSettings, Settings, WebhookSettings
from serve.state import State
from serve.jobs.worker.leases import Leases
from serve.jobs.webhooks.delivery import WebhookDelivery

async def main(database, secret):
    webhooks = WebhookSettings(secret=secret, allow_private=True)
    state = await State.open(Settings(database=DatabaseSettings(url=database), webhooks=webhooks))
    leases = Leases(state, {})
    await leases.register()
    await WebhookDelivery(state, lambda: leases.worker_id, "https://elsewhere.example").run()

asyncio.run(main(*sys.argv[1:]))
"""


async def test_delivery_of_a_killed_sender_is_repeated(
    state: State, receiver: Receiver, database_settings: DatabaseSettings
) -> None:
    async def kill() -> int:
        os.kill(sender.pid, signal.SIGKILL)
        await sender.wait()
        return 200

    receiver.answers = [kill]
    await add_job_with_events(state, receiver.url, "completed")
    assert database_settings.url is not None
    sender = await asyncio.create_subprocess_exec(
        sys.executable, "-c", DYING, database_settings.url.get_secret_value(), SECRET, cwd=HOME
    )
    await until(lambda: len(receiver.calls) == 1, 60)
    await sender.wait()
    assert (await row(state)).worker_id is not None
    other = await worker(state)
    now = 0.0
    watch = LeaseReaper(state, lambda: now)
    async with delivering(state, other.worker_id):
        await watch.reap()
        now = 2 * state.settings.jobs.lease_s
        await other.renew()
        assert len(receiver.calls) == 1  # the worker that holds it may still be alive
        assert len(await watch.reap()) == 1
        await until(all_are(state, "delivered"))
    first, again = receiver.calls
    assert first.id == again.id
    assert (await row(state)).attempts == 1


@pytest.mark.parametrize(("status", "expected"), [(200, ("delivered", 1)), (500, ("pending", 0))])
async def test_worker_declared_dead_records_only_successes(
    state: State, receiver: Receiver, status: int, expected: tuple[str, int]
) -> None:
    other = await worker(state)
    answered = asyncio.Event()

    async def taken_away() -> int:
        await update_deliveries(state, worker_id=other.worker_id)
        answered.set()
        return status

    receiver.answers = [taken_away]
    await add_job_with_events(state, receiver.url, "completed")
    leases = await worker(state)
    running = asyncio.create_task(WebhookDelivery(state, lambda: leases.worker_id, SITE).run())
    await answered.wait()
    running.cancel()
    await asyncio.wait([running], timeout=60)
    delivery = await row(state)
    assert (delivery.status, delivery.attempts) == expected
    assert delivery.worker_id == (None if status == 200 else other.worker_id)


async def test_claim_with_a_lost_confirmation_is_delivered(state: State, receiver: Receiver) -> None:
    leases = await worker(state)
    await add_job_with_events(state, receiver.url, "completed")
    await update_deliveries(state, worker_id=leases.worker_id)
    async with delivering(state, leases.worker_id):
        await until(all_are(state, "delivered"))


async def test_claim_of_an_unknown_worker_is_delivered(state: State, receiver: Receiver) -> None:
    await add_job_with_events(state, receiver.url, "completed")
    await update_deliveries(state, worker_id="it came late")
    async with delivering(state):
        await until(all_are(state, "delivered"))


async def test_unregistered_worker_claims_nothing(state: State, receiver: Receiver) -> None:
    """It was declared dead: no worker would own what it claims."""
    await add_job_with_events(state, receiver.url, "completed")
    assert await WebhookDelivery(state, lambda: "taken for dead", SITE)._claim() == []
    assert (await row(state)).worker_id is None


class UnavailableDatabase(Database):
    """A database that is unavailable while ``away`` is set."""

    def __init__(self, database: Database) -> None:
        self.__dict__ |= database.__dict__
        self.away = False
        self.uses = 0

    @contextlib.asynccontextmanager
    async def read(self) -> AsyncIterator[Any]:
        self._check()
        async with super().read() as connection:
            yield connection

    @contextlib.asynccontextmanager
    async def write(self) -> AsyncIterator[Any]:
        self._check()
        async with super().write() as connection:
            yield connection

    def _check(self) -> None:
        self.uses += 1
        if self.away:
            raise StateUnavailable("the database does not answer; try again")


async def test_delivery_resumes_after_a_database_outage(
    state: State, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    database = UnavailableDatabase(state.database)

    async def take_away() -> int:
        database.away = True
        return 200

    receiver.answers = [take_away]
    await add_job_with_events(state, receiver.url, "completed")
    async with delivering(replace(state, database=database)):
        await until(lambda: "wait for the database" in caplog.text)
        await add_job_with_events(state, receiver.url, "completed", user="ben")
        seen = database.uses
        await until(lambda: database.uses > seen + 2)
        assert (await rows(state))[0].status == "pending"
        database.away = False
        await until(all_are(state, "delivered", "delivered"))
        await until(lambda: "answers again" in caplog.text)
    assert caplog.text.count("wait for the database") == 1
    assert len(receiver.calls) == len({call.id for call in receiver.calls}) == 2


async def test_running_delivery_may_finish_on_shutdown(state: State, receiver: Receiver) -> None:
    received, release = asyncio.Event(), asyncio.Event()

    async def later() -> int:
        received.set()
        await release.wait()
        return 200

    receiver.answers = [later]
    await add_job_with_events(state, receiver.url, "completed")
    leases = await worker(state)
    running = asyncio.create_task(WebhookDelivery(state, lambda: leases.worker_id, SITE).run())
    await received.wait()
    running.cancel()
    await asyncio.sleep(0)
    release.set()
    await asyncio.wait([running], timeout=60)
    assert running.cancelled()
    assert (await row(state)).status == "delivered"


async def test_slow_delivery_is_released_on_shutdown(state: State, receiver: Receiver) -> None:
    received = asyncio.Event()

    async def never() -> int:
        received.set()
        await asyncio.Event().wait()
        return 200

    receiver.answers = [never]
    await add_job_with_events(state, receiver.url, "completed")
    leases = await worker(state)
    running = asyncio.create_task(
        WebhookDelivery(state_with(state, timeout_s=600), lambda: leases.worker_id, SITE).run()
    )
    await received.wait()
    assert (await row(state)).worker_id == leases.worker_id
    running.cancel()
    await asyncio.wait([running], timeout=60)
    assert running.cancelled()
    assert ((await row(state)).status, (await row(state)).worker_id) == ("pending", None)
    async with delivering(state):
        await until(all_are(state, "delivered"))


@pytest.mark.parametrize(("attempts", "ahead"), [(0, timedelta(minutes=30)), (3, timedelta(hours=3))])
async def test_clock_set_back_delays_no_delivery(
    state: State, receiver: Receiver, attempts: int, ahead: timedelta
) -> None:
    """A first attempt is sent at once; a retry waits at most the longest retry delay."""
    await add_job_with_events(state, receiver.url, "completed")
    await update_deliveries(state, due_at=utc_now() + ahead, attempts=attempts)
    async with delivering(state):
        await until(all_are(state, "delivered"))


async def test_retry_is_not_sent_early(state: State, receiver: Receiver) -> None:
    await add_job_with_events(state, receiver.url, "started")
    await update_deliveries(state, due_at=utc_now() + timedelta(minutes=30), attempts=3)
    await add_job_with_events(state, receiver.url, "completed", user="ben")
    async with delivering(state):
        await until(all_are(state, "pending", "delivered"))
    assert [call.document["type"] for call in receiver.calls] == ["job.completed"]


async def test_deliveries_wait_without_a_secret(state: State, receiver: Receiver) -> None:
    await add_job_with_events(state, receiver.url, "completed")
    database, leases = UnavailableDatabase(state.database), await worker(state)
    async with delivering(replace(state_with(state, secret=None), database=database), leases.worker_id):
        await asyncio.sleep(0.05)
        assert database.uses == 0, "it would look for due ones at once"
    assert (await row(state)).status == "pending"
    async with delivering(state):
        await until(all_are(state, "delivered"))
