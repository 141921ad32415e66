"""Persistent state: a database (SQLite or PostgreSQL) and an object store; `State` is both, opened. May import
observability, settings and errors; knows nothing of requests. Begin with `database`, `tables` and `objects`."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from serve.errors import StateUnavailable
from serve.settings import Settings
from serve.state.database import Database, database_url
from serve.state.migrate import migrate
from serve.state.objects.objects import Objects

__all__ = ["State"]


@dataclass(frozen=True)
class State:
    """For one event loop. Processes share nothing else: what they know of each other is in here."""

    database: Database
    objects: Objects
    settings: Settings

    @classmethod
    async def open(cls, settings: Settings) -> State:
        """Migrates the schema. Raises StateUnavailable, or InvalidRequest naming the setting at fault."""
        database = Database(database_url(settings), settings.database)
        try:
            await migrate(database)
            return cls(database, Objects(settings, database), settings)
        except BaseException:
            await database.close()
            raise

    @classmethod
    async def open_with_retry(cls, settings: Settings, timeout_s: float = 60.0) -> State:
        """As `open`, but retries for ``timeout_s`` while the database does not answer."""
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                return await cls.open(settings)
            except StateUnavailable:
                if time.monotonic() >= deadline:
                    raise
                await asyncio.sleep(1.0)

    async def close(self) -> None:
        await self.database.close()
