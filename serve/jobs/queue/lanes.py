"""Lanes that start nothing for a while, as who runs the site says."""

from __future__ import annotations

from typing import Any

from sqlalchemy.dialects import postgresql, sqlite

from serve.security.identity.audit import SITE, Actor, record
from serve.state.database import Database
from serve.state.tables import lanes


async def set_paused(database: Database, lane: str, paused: bool, by: Actor = SITE) -> None:
    """While it is, nothing of ``lane`` starts; what workers have goes on. Raises StateUnavailable, OutOfSpace."""
    insert: Any = (sqlite if database.is_sqlite else postgresql).insert(lanes)
    row = insert.values(lane=lane, paused=paused)
    async with database.write() as connection:
        await connection.execute(row.on_conflict_do_update(index_elements=["lane"], set_={"paused": paused}))
        await record(connection, by, "lane.pause" if paused else "lane.resume", lane)
