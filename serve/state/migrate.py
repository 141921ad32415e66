"""Schema migrations with Alembic: at every start, by one process at a time."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.ext.asyncio import AsyncConnection

from serve.errors import StateUnavailable
from serve.state.database import Database

_MIGRATIONS = Path(__file__).parent / "migrations"
_LOCK = 0x617465_6C696572
"""A PostgreSQL advisory lock: "atelier" in ASCII."""


async def migrate(database: Database, revision: str = "head") -> None:
    """Up to ``revision``. Concurrent processes wait, and find it done.

    Raises StateUnavailable when the database is newer than this code, or does not answer.
    """
    if database.is_sqlite:
        Path(str(database.url.database)).parent.mkdir(parents=True, exist_ok=True)
    async with database.write() as connection:  # on SQLite the transaction itself is the lock
        await lock_schema(database, connection)
        await connection.run_sync(upgrade, revision)


async def lock_schema(database: Database, connection: AsyncConnection) -> None:
    """Prevents other schema changes until the transaction ends."""
    if not database.is_sqlite:
        await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))


def upgrade(connection: sa.Connection, revision: str) -> None:
    """As `migrate`, in the transaction of ``connection``."""
    config = alembic_config()
    current = MigrationContext.configure(connection).get_current_revision()
    if current is not None and current not in revisions():
        raise StateUnavailable(f"the database is of a newer Atelier (revision {current}); update this one")
    if revision == "head" and current == head():
        return
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def alembic_config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.set_main_option("path_separator", "os")
    return config


@cache
def revisions() -> frozenset[str]:
    """All revisions that this code knows."""
    return frozenset(found.revision for found in ScriptDirectory.from_config(alembic_config()).walk_revisions())


@cache
def head() -> str:
    """The newest revision."""
    found = ScriptDirectory.from_config(alembic_config()).get_current_head()
    assert found is not None
    return found
