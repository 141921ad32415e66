"""The schema: created by migrations, by one process at a time, and equal to the tables in the code."""

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


async def test_migrations_create_the_tables_of_the_code(database: Database) -> None:
    def differences(connection: sa.Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection), metadata))

    async with database.read() as connection:
        assert await connection.run_sync(differences) == []


async def test_concurrent_migrations_are_safe(empty_database: DatabaseSettings) -> None:
    url = database_url(Settings(database=empty_database))
    databases = [Database(url, empty_database) for _ in range(4)]
    await asyncio.gather(*(migrate(one) for one in databases))
    async with databases[0].read() as connection:
        assert (await connection.execute(sa.text("SELECT version_num FROM alembic_version"))).scalars().all() == [
            head()
        ]
    for one in databases:
        await one.close()


async def test_migrations_keep_existing_rows(empty_database: DatabaseSettings) -> None:
    """A database as the first release created it, with a row in a table that has changed since."""
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


async def test_newer_database_is_refused(database: Database) -> None:
    async with database.write() as connection:
        await connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StateUnavailable, match="newer Atelier"):
        await migrate(database)


async def test_raising_transaction_is_rolled_back(database: Database) -> None:
    async def fail() -> None:
        async with database.write() as connection:
            await connection.execute(lanes.insert().values(lane="x", paused=True))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    async with database.read() as connection:
        assert (await connection.execute(sa.select(lanes))).all() == []
