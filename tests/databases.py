"""Fixtures: what asks for a ``database`` or a ``state`` runs on SQLite and on a real PostgreSQL server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from loadtests.queue.postgresql import PostgreSQL
from serve.settings import DatabaseSettings, Settings
from serve.state import State
from serve.state.database import Database, database_url
from serve.state.migrate import migrate


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    with PostgreSQL.started() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database_settings(request: pytest.FixtureRequest, tmp_path: Path) -> DatabaseSettings:
    """An empty database of its own for each test."""
    if request.param == "sqlite":
        return DatabaseSettings(url=SecretStr(f"sqlite:///{tmp_path}/atelier.db"))
    server: PostgreSQL = request.getfixturevalue("postgresql")
    return DatabaseSettings(url=SecretStr(server.new_database()))


@pytest.fixture
async def database(database_settings: DatabaseSettings) -> AsyncIterator[Database]:
    url = database_url(Settings(database=database_settings))
    opened = Database(url, database_settings)
    await migrate(opened)
    yield opened
    await opened.close()


@pytest.fixture
def settings(database_settings: DatabaseSettings, tmp_path: Path) -> Settings:
    return Settings(database=database_settings, state_dir=tmp_path / "state")


@pytest.fixture
async def state(settings: Settings) -> AsyncIterator[State]:
    opened = await State.open(settings)
    yield opened
    await opened.close()
