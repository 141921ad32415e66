"""The marker of new events: SQLite's files and newest row, PostgreSQL's notifications."""

from __future__ import annotations

import asyncio

import pytest
import sqlalchemy as sa

from serve.ensembles.illustrator.illustration import IllustrateOptions
from serve.ensembles.requests import IllustrateRequest
from serve.jobs.queue.generation_queue import GenerationQueue
from serve.jobs.queue.insertion import JobOptions
from serve.settings import DatabaseSettings, Settings
from serve.state import State, event_watch
from serve.state.database import Database, database_url
from serve.state.tables import lanes


async def submit(state: State) -> None:
    await GenerationQueue(state).add(IllustrateRequest(IllustrateOptions("a fox", seed=7)), JobOptions("ana"))


async def marker(database: Database) -> object:
    """Once it is known."""
    async with asyncio.timeout(60):
        while (found := await database.event_marker()) is None:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return found


async def changed(database: Database, before: object) -> object:
    """The marker, once it is another one."""
    async with asyncio.timeout(60):
        while (found := await marker(database)) == before:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return found


async def write_elsewhere(database: Database, lane: str) -> None:
    async with database.write() as connection:
        await connection.execute(sa.insert(lanes), {"lane": lane, "paused": False})


async def test_marker_changes_with_events_of_any_process_alone(state: State) -> None:
    other = Database(state.database.url, DatabaseSettings())
    try:
        before = await marker(other)
        await submit(state)
        after = await changed(other, before)
        for number in range(3):
            await write_elsewhere(state.database, f"lane {number}")
        assert await marker(other) == after
        await submit(state)
        assert await changed(other, after) != before
    finally:
        await other.close()


def opened(settings: DatabaseSettings) -> Database:
    return Database(database_url(Settings(database=settings)), settings)


async def test_lost_listener_is_replaced_and_polls_read_meanwhile(
    postgresql_settings: DatabaseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_watch, "RETRY_S", 0.5)
    database = opened(postgresql_settings)
    try:
        await marker(database)
        async with database.read() as connection:
            listening = "query LIKE '%atelier_events%' AND pid <> pg_backend_pid()"
            await connection.execute(
                sa.text(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {listening}")
            )
        async with asyncio.timeout(60):
            while await database.event_marker() is not None:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await marker(database)
    finally:
        await database.close()


async def test_without_notifications_there_is_no_marker(
    postgresql_settings: DatabaseSettings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As behind PgBouncer's transactions: what listens is not what is notified."""
    monkeypatch.setattr(event_watch, "TEST_TIMEOUT_S", 0.05)
    monkeypatch.setattr(event_watch.PostgresqlEvents, "_on_notification", lambda *_: None)
    database = opened(postgresql_settings)
    try:
        assert await database.event_marker() is None
        async with asyncio.timeout(60):
            while "polled" not in caplog.text:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert await database.event_marker() is None
    finally:
        await database.close()
