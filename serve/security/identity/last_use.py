"""When keys were last used, to the minute: written behind the requests, which never wait for it."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime, timedelta

import sqlalchemy as sa

from serve.errors import AtelierError
from serve.state.database import Database
from serve.state.tables import UtcTime, keys, utc_now

LOGGER = logging.getLogger(__name__)
EVERY = timedelta(minutes=1)

_k = keys.c
_NOW, _BEFORE = sa.bindparam("now", type_=UtcTime()), sa.bindparam("before", type_=UtcTime())
_TOUCH = (
    sa.update(keys)
    .where(_k.id == sa.bindparam("of"), sa.or_(_k.used_at.is_(None), _k.used_at < _BEFORE, _k.used_at > _NOW))
    .values(used_at=_NOW)
)


class LastUse:
    """For one event loop. What cannot be written is told in the log, and tried again with a later use."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._used: dict[str, datetime] = {}
        self._writing: asyncio.Task[None] | None = None

    def note(self, key_id: str) -> None:
        self._used[key_id] = utc_now()
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())

    async def close(self) -> None:
        """Once all is written."""
        if self._writing is not None:
            await self._writing

    async def _write(self) -> None:
        while self._used:
            used, self._used = self._used, {}
            rows = [{"of": key_id, "now": now, "before": now - EVERY} for key_id, now in sorted(used.items())]
            try:
                async with self._database.write() as connection:
                    await connection.execute(_TOUCH, rows)
            except AtelierError as error:
                LOGGER.warning("the last use of %d keys was not written: %s", len(rows), error)
