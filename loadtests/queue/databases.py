"""Empty databases to measure on: SQLite in a folder, PostgreSQL on a server of our own or on one that is given."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import sqlalchemy as sa
from pydantic import SecretStr
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from loadtests.queue.postgresql import PostgreSQL
from serve.settings import DatabaseSettings, Settings, load
from serve.state.database import Database, database_url

SQLITE, POSTGRESQL = "SQLite", "PostgreSQL"
KINDS = {"sqlite": SQLITE, "postgresql": POSTGRESQL}
URL_VARIABLE = "ATELIER_DATABASE__URL"


@dataclass(frozen=True)
class Databases:
    """Of one kind. ``fresh`` gives the URL of an empty one, which is gone after the block."""

    name: str
    fresh: Callable[[], AbstractContextManager[str]]


@contextlib.contextmanager
def all_of(kinds: list[str], folder: Path, given: str | None) -> Iterator[list[Databases]]:
    """``kinds`` of ``KINDS``; ``given`` is the URL of a PostgreSQL server where databases may be made."""
    with contextlib.ExitStack() as held:
        found = []
        for kind in kinds:
            if KINDS[kind] == SQLITE:
                found.append(Databases(SQLITE, partial(sqlite_in, folder)))
                continue
            url = given
            if url is None:
                server = held.enter_context(PostgreSQL.started(fsync=True))
                url = server.url("postgres")
            found.append(Databases(POSTGRESQL, partial(postgresql_at, url)))
        yield found


@contextlib.contextmanager
def sqlite_in(folder: Path) -> Iterator[str]:
    path = folder / f"{secrets.token_hex(8)}.db"
    try:
        yield f"sqlite:///{path}"
    finally:
        for left in folder.glob(f"{path.name}*"):
            left.unlink()


@contextlib.contextmanager
def postgresql_at(server: str) -> Iterator[str]:
    """Beside the database that the URL names, which stays as it is."""
    name = f"atelier_bench_{secrets.token_hex(8)}"
    asyncio.run(_execute(server, f"CREATE DATABASE {name}"))
    try:
        yield make_url(server).set(database=name).render_as_string(hide_password=False)
    finally:
        asyncio.run(_execute(server, f"DROP DATABASE {name} WITH (FORCE)"))


def settings_at(url: str, folder: Path) -> Settings:
    return load(database=DatabaseSettings(url=SecretStr(url)), state_dir=folder)


@contextlib.contextmanager
def told_by_environment(url: str) -> Iterator[None]:
    """A stack that is started meanwhile uses the database ``url``."""
    before = os.environ.get(URL_VARIABLE)
    os.environ[URL_VARIABLE] = url
    try:
        yield
    finally:
        del os.environ[URL_VARIABLE]
        if before is not None:
            os.environ[URL_VARIABLE] = before


async def analyze(database: Database) -> None:
    """What PostgreSQL does by itself a minute after many rows came in; SQLite never does."""
    if not database.is_sqlite:
        async with database.write() as connection:
            await connection.execute(sa.text("ANALYZE"))


async def _execute(server: str, statement: str) -> None:
    url = database_url(Settings(database=DatabaseSettings(url=SecretStr(server))))
    engine = create_async_engine(url, isolation_level="AUTOCOMMIT")
    try:
        async with engine.connect() as connection:
            await connection.execute(sa.text(statement))
    finally:
        await engine.dispose()
