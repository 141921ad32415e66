"""The durations of database and object store calls are measured by outcome."""

from __future__ import annotations

import asyncio
import shutil
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from serve.errors import DeadlineExceeded, NotFound, StateUnavailable
from serve.jobs.direct.in_flight import InFlightRequests
from serve.jobs.queue.events import EventFollower
from serve.jobs.worker.leases import Leases
from serve.observability.metrics.catalogue import DATABASE_SECONDS, STORE_SECONDS
from serve.observability.metrics.metric import Histogram
from serve.settings import DatabaseSettings, ObjectsSettings, Settings
from serve.state import State
from serve.state.database import Database, database_url
from serve.state.objects.objects import Objects
from serve.state.tables import lanes

HELD_S = 0.3
YOUNGEST = -timedelta(seconds=1)


class Since:
    """The observations of ``histogram`` since construction, by its labels."""

    def __init__(self, histogram: Histogram) -> None:
        self._histogram = histogram
        self._before = self._all()

    def _all(self) -> dict[tuple[str, ...], float]:
        return {tuple(one.labels.values()): one.value for one in self._histogram.samples() if "_count" in one.name}

    def counts(self) -> dict[tuple[str, ...], float]:
        return {key: n - self._before.get(key, 0) for key, n in self._all().items() if n != self._before.get(key, 0)}


async def test_transactions_are_measured(database: Database) -> None:
    """An error of the caller is no error of the database."""
    since = Since(DATABASE_SECONDS)
    async with database.read() as connection:
        await connection.scalar(sa.select(lanes.c.lane))
    for _ in range(2):
        with pytest.raises(NotFound):
            async with database.write():
                raise NotFound("a caller's own")
    assert since.counts() == {("read", "ok"): 1, ("write", "ok"): 2}


async def test_cancelled_transactions_have_their_own_outcome(database: Database) -> None:
    """A database that hangs is not counted as healthy when its callers time out."""
    since, begun = Since(DATABASE_SECONDS), asyncio.Event()

    async def read() -> None:
        async with database.read():
            begun.set()
            await asyncio.sleep(60)

    reading = asyncio.create_task(read())
    await begun.wait()
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    assert since.counts() == {("read", "cancelled"): 1}


async def test_wait_for_the_write_lock_is_measured(tmp_path: Path) -> None:
    url = database_url(Settings(state_dir=tmp_path))
    first, second = (Database(url, DatabaseSettings(timeout_s=20)) for _ in range(2))
    before_s, begun = DATABASE_SECONDS.sum("write", "ok"), asyncio.Event()

    async def other() -> None:
        begun.set()
        async with second.write() as connection:
            await connection.execute(sa.text("SELECT 1"))

    async with first.write():
        waiting = asyncio.create_task(other())
        await begun.wait()
        await asyncio.sleep(HELD_S)
    await waiting
    assert DATABASE_SECONDS.sum("write", "ok") - before_s > 1.8 * HELD_S, "its own time, and the other one's wait"
    await first.close()
    await second.close()


async def test_unavailable_database_is_measured_as_error(tmp_path: Path) -> None:
    gone = Database(database_url(Settings(state_dir=tmp_path / "nothing")), DatabaseSettings(timeout_s=1))
    since = Since(DATABASE_SECONDS)
    for transaction in (gone.read, gone.write):
        with pytest.raises(StateUnavailable):
            async with transaction() as connection:
                await connection.execute(sa.text("SELECT 1"))
    assert since.counts() == {("read", "error"): 1, ("write", "error"): 1}
    await gone.close()


async def test_store_calls_are_measured(tmp_path: Path, database: Database) -> None:
    objects = Objects(Settings(objects=ObjectsSettings(url=(tmp_path / "store").as_uri())), database)
    since = Since(STORE_SECONDS)
    stored = await objects.put(b"a picture", "image/png")
    assert await objects.get(stored.name) == b"a picture"
    with pytest.raises(NotFound):
        await objects.get(f"{'0' * 64}.png")
    await objects.check()
    shutil.rmtree(tmp_path / "store")
    with pytest.raises(StateUnavailable):
        await objects.put(b"another", "image/png")
    assert since.counts() == {
        ("put", "ok"): 1, ("get", "ok"): 2, ("list", "ok"): 1, ("put", "error"): 1,
    }  # fmt: skip


async def test_deletions_are_measured_separately_from_writes(tmp_path: Path, database: Database) -> None:
    """An unresponsive store is not counted as an unresponsive database."""
    folder = tmp_path / "store"
    objects = Objects(Settings(objects=ObjectsSettings(url=folder.as_uri())), database)
    await objects.put_all([(b"a picture", "image/png"), (b"another", "image/png")])
    since = Since(DATABASE_SECONDS)
    assert await objects.delete_unused(YOUNGEST, limit=1) == 1
    shutil.rmtree(folder)
    with pytest.raises(StateUnavailable):
        await objects.delete_unused(YOUNGEST)
    assert since.counts() == {("read", "ok"): 2, ("delete", "ok"): 1, ("delete", "error"): 1}


async def test_polling_is_measured_separately(state: State) -> None:
    leases, flights = Leases(state, {}), InFlightRequests(state)
    await leases.register()
    lead = await flights.join("key", "a generation")
    since = Since(DATABASE_SECONDS)
    await leases.claim("illustrate", 1)
    await leases.requested_changes()
    await flights.has_followers("key")
    await EventFollower(state)._event_counts()
    with pytest.raises(DeadlineExceeded):
        await flights.wait(lead, "key", 0.0)
    assert since.counts() == {("poll", "ok"): 5, ("write", "ok"): 1}
