"""The database under cancelled tasks, concurrent writers, a full disk and outages."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from loadtests.queue.postgresql import PostgreSQL
from serve.errors import InvalidRequest, OutOfSpace, StateUnavailable
from serve.settings import DatabaseSettings, Settings
from serve.state.database import Database, database_url
from serve.state.database_errors import map_database_errors
from serve.state.migrate import migrate
from serve.state.tables import lanes

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


def second_connection(database: Database, timeout_s: float = 0.5) -> Database:
    """The same database, as another process opens it."""
    return Database(database.url, DatabaseSettings(timeout_s=timeout_s))


async def write(database: Database, lane: str) -> None:
    async with database.write() as connection:
        await connection.execute(sa.delete(lanes).where(lanes.c.lane == lane))
        await connection.execute(lanes.insert().values(lane=lane, paused=False))
        await connection.execute(sa.select(lanes))


async def names(database: Database) -> list[str]:
    async with database.read() as connection:
        return list((await connection.scalars(sa.select(lanes.c.lane))).all())


async def test_cancelled_writers_release_the_lock(database: Database) -> None:
    other, rng = second_connection(database), random.Random(3)
    for n in range(60):
        task = asyncio.create_task(write(database, str(n)))
        await asyncio.sleep(rng.uniform(0, 0.004))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await write(other, "other")
    assert "other" in await names(other)
    await other.close()


@pytest.mark.parametrize("count", [0, 1, 31, 32, 33, 64, 200])
async def test_results_of_any_size_are_read(database: Database, count: int) -> None:
    """All at once, one by one and in parts: rows fetched with the statement and rows fetched later."""
    expected = [f"{n:03}" for n in range(count)]
    query = sa.select(lanes.c.lane).order_by(lanes.c.lane)
    async with database.write() as connection:
        if count:
            await connection.execute(lanes.insert(), [{"lane": lane, "paused": False} for lane in expected])
        assert (await connection.scalars(query)).all() == expected
        assert await connection.scalar(query) == next(iter(expected), None)
        parts = await connection.stream_scalars(query, execution_options={"yield_per": 10})
        assert [lane async for some in parts.partitions() for lane in some] == expected
        single = await connection.stream_scalars(query)
        assert [lane async for lane in single] == expected


async def test_empty_transactions_leave_no_lock(database: Database) -> None:
    other = second_connection(database)
    async with database.write():
        pass
    with pytest.raises(ZeroDivisionError):
        async with database.write():
            raise ZeroDivisionError
    async with database.read():
        pass
    await write(other, "other")
    await write(database, "own")
    assert set(await names(other)) == {"other", "own"}
    await other.close()


async def test_readers_release_their_snapshot(tmp_path: Path) -> None:
    """SQLite's log can be truncated: no reader still holds an old snapshot."""
    path = tmp_path / "atelier.db"
    database = Database(database_url(Settings(state_dir=tmp_path)), DatabaseSettings())
    await migrate(database)
    await write(database, "one")
    await asyncio.gather(*(names(database) for _ in range(20)))
    with contextlib.closing(sqlite3.connect(path, timeout=0)) as neighbour:
        async with asyncio.timeout(60):
            while neighbour.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:  # noqa: ASYNC110 (no event)
                await asyncio.sleep(0.01)
    await database.close()


async def test_concurrent_writers_of_several_processes(database: Database) -> None:
    others = [second_connection(database, timeout_s=10) for _ in range(4)]
    await asyncio.gather(*(write(one, f"{i}.{n}") for n in range(20) for i, one in enumerate(others)))
    assert len(await names(database)) == 80
    for one in others:
        await one.close()


async def test_locked_file_raises_state_unavailable(tmp_path: Path) -> None:
    settings = DatabaseSettings(url=SecretStr(f"sqlite:///{tmp_path}/a.db"))
    url = database_url(Settings(database=settings))
    database, impatient = Database(url, settings), Database(url, settings.model_copy(update={"timeout_s": 0.2}))
    await migrate(database)
    with sqlite3.connect(tmp_path / "a.db", isolation_level=None) as neighbour:
        neighbour.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StateUnavailable):
            await write(impatient, "x")
        neighbour.execute("ROLLBACK")
    await write(database, "x")
    await impatient.close()
    await database.close()


async def test_unavailable_server_raises_state_unavailable(postgresql: PostgreSQL) -> None:
    settings = DatabaseSettings(timeout_s=1, url=SecretStr(postgresql.new_database()))
    database = Database(database_url(Settings(database=settings)), settings)
    await migrate(database)
    postgresql.stop()
    try:
        for _ in range(3):
            with pytest.raises(StateUnavailable):
                await write(database, "x")
    finally:
        postgresql.start()
    await write(database, "x")
    postgresql.freeze()
    try:
        with pytest.raises(StateUnavailable):
            async with asyncio.timeout(60):
                await write(database, "y")
    finally:
        postgresql.thaw()
    await write(database, "z")
    await database.close()


async def test_full_disk_raises_out_of_space_and_rolls_back(tmp_path: Path) -> None:
    settings = DatabaseSettings(url=SecretStr(f"sqlite:///{tmp_path}/a.db"))
    database = Database(database_url(Settings(database=settings)), settings)
    await migrate(database)

    long = "x" * 2000

    async def fill() -> None:
        async with database.write() as connection:
            pages = await connection.scalar(sa.text("PRAGMA page_count"))
            await connection.execute(sa.text(f"PRAGMA max_page_count = {pages + 2}"))
            await connection.execute(lanes.insert(), [{"lane": f"{n} {long}", "paused": False} for n in range(99)])

    with pytest.raises(OutOfSpace) as error:
        await fill()
    assert error.value.status == 507
    assert await names(database) == []
    await database.close()


class ServerError(Exception):
    """As asyncpg raises it."""

    def __init__(self, sqlstate: str) -> None:
        super().__init__("of the server")
        self.sqlstate = sqlstate


@pytest.mark.parametrize(
    ("cause", "expected"),
    [
        (sqlite3.OperationalError("database or disk is full"), OutOfSpace),
        (sqlite3.OperationalError("disk I/O error"), StateUnavailable),
        (ServerError("53100"), OutOfSpace),
        (ServerError("53200"), StateUnavailable),
    ],
)
def test_database_errors_are_mapped(cause: Exception, expected: type[Exception]) -> None:
    """Neither an I/O error nor too little memory (53200): free space would not help those."""
    with pytest.raises(expected), map_database_errors():
        raise sa.exc.OperationalError("INSERT", None, cause)


@pytest.mark.parametrize("url", ["mysql://host/name", "sqlite://", "sqlite:///:memory:", "nonsense", "postgresql//x"])
def test_unsupported_databases_are_refused(url: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        database_url(Settings(database=DatabaseSettings(url=SecretStr(url))))
    assert refused.value.field == "database.url"


def test_password_is_masked() -> None:
    settings = Settings(database=DatabaseSettings(url=SecretStr("postgresql://a:hunter2@host/name")))
    assert "hunter2" not in settings.model_dump_json() + repr(settings)
