"""Batches of writes: all or nothing each, and on SQLite one transaction for those of the same moment."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from serve.errors import StateUnavailable
from serve.settings import DatabaseSettings, Settings
from serve.state import State
from serve.state.database import Database, database_url
from serve.state.tables import cache, cached_objects, inputs, objects, utc_now
from serve.state.write_batches import Write

INSERT = sa.insert(objects)
TOUCH = sa.update(objects).where(objects.c.name == sa.bindparam("of")).values(bytes=sa.bindparam("size"))


def row(name: str) -> dict[str, object]:
    return {"name": name, "bytes": 1, "media_type": "image/png", "touched_at": utc_now()}


async def names(state: State) -> set[str]:
    async with state.database.read() as connection:
        return set(await connection.scalars(sa.select(objects.c.name)))


async def test_batch_is_written(state: State) -> None:
    writes = [Write(INSERT, [row("a"), row("b")]), Write(TOUCH, [{"of": "a", "size": 7}], required=True)]
    assert await state.database.write_batch(writes)
    async with state.database.read() as connection:
        found = (await connection.execute(sa.select(objects).order_by(objects.c.name))).all()
    assert [(one.name, one.bytes) for one in found] == [("a", 7), ("b", 1)]
    assert abs((utc_now() - found[0].touched_at).total_seconds()) < 60


async def test_columns_keep_their_types(state: State) -> None:
    now = utc_now()
    values = {"kind": "k", "bytes": 1, "created_at": now, "expires_at": now, "used_at": now}
    await state.database.write_batch([Write(sa.insert(cache), [{"key": "a", "answer": {"é": [1, None]}, **values}])])
    async with state.database.read() as connection:
        found = (await connection.execute(sa.select(cache))).one()
    assert found.answer == {"é": [1, None]}
    assert found.created_at == now


async def test_required_write_without_a_row_undoes_the_batch(state: State) -> None:
    missing = Write(TOUCH, [{"of": "missing", "size": 7}], required=True)
    assert not await state.database.write_batch([Write(INSERT, [row("a")]), missing])
    assert await names(state) == set()


async def test_failed_batch_undoes_no_other(state: State) -> None:
    """Also one whose foreign key does not exist."""
    bad = [Write(INSERT, [row("b")]), Write(sa.insert(cached_objects), [{"key": "no such key", "object": "b"}])]
    worse = [Write(sa.insert(inputs), [{"generation_id": None, "object": None}])]
    batches = [[Write(INSERT, [row("a")])], bad, worse, [Write(INSERT, [row("c")])]]
    found = await asyncio.gather(*map(state.database.write_batch, batches), return_exceptions=True)
    assert [found[0], found[3]] == [True, True]
    assert isinstance(found[1], Exception)
    assert isinstance(found[2], Exception)
    assert await names(state) == {"a", "c"}
    assert await state.database.write_batch([Write(INSERT, [row("d")])])


async def test_concurrent_batches_are_all_written(state: State) -> None:
    async with asyncio.timeout(60):
        await asyncio.gather(*(state.database.write_batch([Write(INSERT, [row(f"{n:03}")])]) for n in range(100)))
    assert len(await names(state)) == 100


@pytest.fixture
async def impatient(tmp_path: Path) -> AsyncIterator[State]:
    state = await State.open(Settings(state_dir=tmp_path, database=DatabaseSettings(timeout_s=1.5)))
    yield state
    await state.close()


async def test_locked_database_is_unavailable_and_answers_again(impatient: State, tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "atelier.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StateUnavailable):
        await impatient.database.write_batch([Write(INSERT, [row("a")])])
    other.execute("ROLLBACK")
    other.close()
    assert await impatient.database.write_batch([Write(INSERT, [row("b")])])
    assert await names(impatient) == {"b"}


async def test_cancelled_callers_do_not_stop_the_others(state: State) -> None:
    tasks = [asyncio.create_task(state.database.write_batch([Write(INSERT, [row(str(n))])])) for n in range(4)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert found[1:] == [True] * 3
    assert await names(state) >= {"1", "2", "3"}


async def test_batches_are_written_again_after_the_server_ended_their_connections(
    postgresql_settings: DatabaseSettings,
) -> None:
    database = Database(database_url(Settings(database=postgresql_settings)), postgresql_settings)
    try:
        await asyncio.gather(*(database.write_batch([Write(INSERT, [row(f"before {n}")])]) for n in range(4)))
        async with database.read() as connection:
            others = "datname = current_database() AND pid <> pg_backend_pid()"
            await connection.execute(sa.text(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}"))
        with contextlib.suppress(StateUnavailable):  # raised once, and not by each connection
            await database.write_batch([Write(INSERT, [row("lost")])])
        for number in range(4):
            assert await database.write_batch([Write(INSERT, [row(f"after {number}")])])
    finally:
        await database.close()


async def test_cancelled_batch_is_undone(postgresql_settings: DatabaseSettings) -> None:
    database = Database(database_url(Settings(database=postgresql_settings)), postgresql_settings)
    try:
        async with database.write() as connection:
            await connection.execute(INSERT, row("locked"))
            waiting = asyncio.create_task(
                database.write_batch([Write(INSERT, [row("first")]), Write(INSERT, [row("locked")])])
            )
            await asyncio.sleep(0.1)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        async with database.read() as connection:
            assert set(await connection.scalars(sa.select(objects.c.name))) == {"locked"}
        assert await database.write_batch([Write(INSERT, [row("first")])])
    finally:
        await database.close()
