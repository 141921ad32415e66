"""The schema: made by migrations, by one process at a time, and equal to the tables that the code uses."""

from __future__ import annotations

import asyncio

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from serve.errors import StateUnavailable
from serve.settings import DatabaseSettings, Settings
from serve.state.database import Database, database_url
from serve.state.migrate import head, migrate
from serve.state.tables import audit, lanes, metadata


async def test_migrations_make_the_tables_that_the_code_uses(database: Database) -> None:
    def differences(connection: sa.Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection), metadata))

    async with database.read() as connection:
        assert await connection.run_sync(differences) == []


async def test_several_processes_may_start_at_once(empty_database: DatabaseSettings) -> None:
    url = database_url(Settings(database=empty_database))
    opened = [Database(url, empty_database) for _ in range(4)]
    await asyncio.gather(*(migrate(one) for one in opened))
    async with opened[0].read() as connection:
        assert (await connection.execute(sa.text("SELECT version_num FROM alembic_version"))).scalars().all() == [
            head()
        ]
    for one in opened:
        await one.close()


async def test_what_was_there_stays(empty_database: DatabaseSettings) -> None:
    """A database as the first release made it, with something in what changed since."""
    opened = Database(database_url(Settings(database=empty_database)), empty_database)
    await migrate(opened, "0001")
    async with opened.write() as connection:
        old = "INSERT INTO audit (action, subject, created_at) VALUES ('test.done', 'x', '2026-03-01 12:00:00+00:00')"
        await connection.execute(sa.text(old))
    await migrate(opened)
    async with opened.read() as connection:
        (row,) = (await connection.execute(sa.select(audit))).all()
    assert (row.action, row.subject, row.key_id) == ("test.done", "x", None)
    await opened.close()


async def test_a_newer_database_is_left_alone(database: Database) -> None:
    async with database.write() as connection:
        await connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StateUnavailable, match="newer Atelier"):
        await migrate(database)


async def test_a_transaction_that_raises_is_undone(database: Database) -> None:
    async def fail() -> None:
        async with database.write() as connection:
            await connection.execute(lanes.insert().values(lane="x", paused=True))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    async with database.read() as connection:
        assert (await connection.execute(sa.select(lanes))).all() == []
