"""Counters in SQLite, in PostgreSQL and in Redis: tests that use ``site`` run on each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from limited_site import Clock, Site
from pydantic import SecretStr

from loadtests.security.redis_server import RedisServer
from serve.settings import RatesSettings, Settings
from serve.state.database import Database, database_url


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def one_redis() -> Iterator[RedisServer]:
    with RedisServer.started() as server:
        yield server


@pytest.fixture
def redis_server(one_redis: RedisServer) -> RedisServer:
    """A Redis server without keys."""
    one_redis.stop()
    one_redis.start()
    return one_redis


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param("postgresql", marks=pytest.mark.postgresql),
        pytest.param("redis", marks=pytest.mark.redis),
    ]
)
async def site(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Site]:
    server, rates, database = None, RatesSettings(), "sqlite_settings"
    if request.param == "postgresql":
        server, database = request.getfixturevalue("postgresql"), "postgresql_settings"
    elif request.param == "redis":
        server = request.getfixturevalue("redis_server")
        rates = RatesSettings(redis_url=SecretStr(server.url))
    settings = Settings(database=request.getfixturevalue(database), rates=rates, state_dir=tmp_path / "state")
    opened = Database(database_url(settings), settings.database)
    yield Site(settings, opened, server)
    await opened.close()
