"""What survives: a database and an object store. `State` is both, opened."""

from __future__ import annotations

from dataclasses import dataclass

from serve.settings import Settings
from serve.state.database import Database, database_url
from serve.state.migrate import migrate
from serve.state.objects import Objects

__all__ = ["State"]


@dataclass(frozen=True)
class State:
    """For one event loop. Processes share nothing else: whatever they know of each other is in here."""

    database: Database
    objects: Objects
    settings: Settings

    @classmethod
    async def open(cls, settings: Settings) -> State:
        """The schema is brought up to date. Raises StateUnavailable, or InvalidRequest naming the setting at fault."""
        database = Database(database_url(settings), settings.database)
        try:
            await migrate(database)
            return cls(database, Objects(settings, database), settings)
        except BaseException:
            await database.close()
            raise

    async def close(self) -> None:
        await self.database.close()
