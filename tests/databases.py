"""Fixtures: tests with a ``database`` or a ``state`` run on SQLite and on a real PostgreSQL server. The migrations
run once for each kind; every test has a copy of the result."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import uuid
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydantic import SecretStr

from loadtests.queue.postgresql import ACCOUNT, PostgreSQL
from serve.settings import DatabaseSettings, Settings
from serve.state import State
from serve.state.database import Database, database_url
from serve.state.migrate import migrate

KINDS = ["sqlite", "postgresql"]
TIMEOUT_S = 30.0
"""Longer than the default: on a busy machine an answer may take more than 5 s, and a cache that cannot be read in time
is a miss."""
TEMPLATE = "template"


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))  # each has a server of its own
    with PostgreSQL.started(in_memory=True, servers=workers) as server:
        yield server


@pytest.fixture(params=KINDS)
def empty_database(request: pytest.FixtureRequest, tmp_path: Path) -> DatabaseSettings:
    """An empty database, before any migration."""
    if request.param == "sqlite":
        return sqlite_at(tmp_path / "atelier.db")
    server: PostgreSQL = request.getfixturevalue("postgresql")
    return database_at(server.new_database())


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with the current tables."""
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    _migrated(sqlite_at(path))
    return path


class Console:
    """One `psql` for many statements outside of transactions: a process for each would take longer than it."""

    def __init__(self, server: PostgreSQL) -> None:
        self._server = server
        self._process: subprocess.Popen[str] | None = None

    def run(self, statement: str) -> None:
        """Once more where the server was stopped meanwhile. Raises AssertionError when it fails."""
        assert self._outcome(statement) == "00000" or self._outcome(statement) == "00000", statement

    def _outcome(self, statement: str) -> str:
        if self._process is None:
            command = [str(self._server.binaries / "psql"), "-XqAt", "-U", ACCOUNT, "-h", str(self._server.folder)]
            pipe = subprocess.PIPE
            self._process = subprocess.Popen([*command, ACCOUNT], stdin=pipe, stdout=pipe, text=True, bufsize=1)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(f"{statement};\n\\echo :SQLSTATE\n")
        outcome = self._process.stdout.readline().strip()
        if outcome != "00000":
            self.close()
        return outcome

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


@pytest.fixture(scope="session")
def console(postgresql: PostgreSQL) -> Iterator[Console]:
    opened = Console(postgresql)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def postgresql_template(postgresql: PostgreSQL) -> str:
    """Name of a database with the current tables and no connections."""
    _migrated(database_at(postgresql.new_database(TEMPLATE)))
    return TEMPLATE


@pytest.fixture
def sqlite_settings(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> DatabaseSettings:
    return sqlite_at(Path(shutil.copy(sqlite_template, tmp_path_factory.mktemp("database") / "atelier.db")))


@pytest.fixture
def postgresql_settings(
    postgresql: PostgreSQL, console: Console, postgresql_template: str
) -> Iterator[DatabaseSettings]:
    name = f"test_{uuid.uuid4().hex}"
    copying = "strategy file_copy" if int(postgresql.binaries.parent.name) >= 15 else ""  # the other way is slower
    console.run(f"create database {name} template {postgresql_template} {copying}")
    yield database_at(postgresql.url(name))
    console.run(f"drop database if exists {name} with (force)")


@pytest.fixture(params=KINDS)
def database_settings(request: pytest.FixtureRequest) -> DatabaseSettings:
    """A separate database for each test, with the current tables and no rows."""
    settings: DatabaseSettings = request.getfixturevalue(f"{request.param}_settings")
    return settings


@pytest.fixture
async def database(database_settings: DatabaseSettings) -> AsyncIterator[Database]:
    opened = Database(database_url(Settings(database=database_settings)), database_settings)
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


def sqlite_at(path: Path) -> DatabaseSettings:
    return database_at(f"sqlite:///{path}")


def database_at(url: str) -> DatabaseSettings:
    return DatabaseSettings(url=SecretStr(url), timeout_s=TIMEOUT_S)


def _migrated(settings: DatabaseSettings) -> None:
    async def do() -> None:
        opened = Database(database_url(Settings(database=settings)), settings)
        await migrate(opened)
        await opened.close()

    with ThreadPoolExecutor() as elsewhere:  # an event loop may run in this thread
        elsewhere.submit(asyncio.run, do()).result()
