"""What is stored of a user's preferences: how models are chosen for the user, and when the taste was last deleted."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from serve.personalisation.bandits import Algorithm
from serve.state.database import Database
from serve.state.tables import insert_into, preferences, utc_now

_p = preferences.c


@dataclass(frozen=True)
class OwnSettings:
    """What a user has set; None: as the site has it. ``forgotten_at``: what was drawn before is not learned from."""

    epsilon: float | None = None
    algorithm: Algorithm | None = None
    forgotten_at: datetime | None = None


async def read_own_settings(connection: AsyncConnection, user_id: str) -> OwnSettings:
    document = await connection.scalar(sa.select(_p.document).where(_p.user_id == user_id)) or {}
    forgotten_at = document.get("forgotten_at")
    return OwnSettings(
        document.get("epsilon"), document.get("algorithm"), forgotten_at and datetime.fromisoformat(forgotten_at)
    )


async def write_own_settings(connection: AsyncConnection, user_id: str, own: OwnSettings) -> None:
    document = {name: value for name, value in vars(own).items() if value is not None}
    if own.forgotten_at is not None:
        document["forgotten_at"] = own.forgotten_at.isoformat()
    values = {"document": document, "updated_at": utc_now()}
    insert = insert_into(preferences, connection.dialect.name == "sqlite").values(user_id=user_id, **values)
    await connection.execute(insert.on_conflict_do_update(index_elements=["user_id"], set_=values))


async def forgotten_since(database: Database, since: datetime) -> set[str]:
    """The users who deleted their taste after ``since``."""
    query = sa.select(_p.user_id, _p.document).where(_p.updated_at > since)
    async with database.read() as connection:
        rows = (await connection.execute(query)).all()
    times = {row.user_id: row.document.get("forgotten_at") for row in rows}
    return {user_id for user_id, text in times.items() if text is not None and datetime.fromisoformat(text) > since}
