"""Memories that users keep for their illustrations (A-071): a title, a text, a date."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from serve.errors import InvalidRequest, NotFound
from serve.state.cursors import from_row
from serve.state.database import Database
from serve.state.tables import memories, utc_now

MAX_MEMORIES = 200
"""Of one user."""
_m = memories.c


@dataclass(frozen=True)
class Memory:
    id: str
    user_id: str
    title: str
    content: str
    date: str | None
    created_at: datetime


async def add(database: Database, user_id: str, title: str, content: str, date: str | None) -> Memory:
    """Raises InvalidRequest beyond `MAX_MEMORIES`, StateUnavailable, OutOfSpace."""
    memory = Memory(uuid.uuid4().hex, user_id, title, content, date, utc_now())
    async with database.write() as connection:
        if connection.dialect.name == "postgresql":  # SQLite has one writer anyway
            key = sa.func.hashtextextended(f"memories of {user_id}", 0)
            await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(key)))
        kept = sa.select(sa.func.count()).select_from(memories).where(_m.user_id == user_id)
        if (await connection.scalar(kept) or 0) >= MAX_MEMORIES:
            raise InvalidRequest(f"a user keeps at most {MAX_MEMORIES} memories; delete one first", "content")
        await connection.execute(memories.insert().values(**vars(memory)))
    return memory


async def all_of(database: Database, user_id: str) -> Sequence[Memory]:
    """The newest first."""
    query = sa.select(memories).where(_m.user_id == user_id).order_by(_m.created_at.desc(), _m.id)
    async with database.read() as connection:
        return [from_row(Memory, row) for row in await connection.execute(query.limit(MAX_MEMORIES))]


async def get(database: Database, memory_id: str, user_id: str, field: str = "id") -> Memory:
    """Raises NotFound naming ``field``, also for another user's."""
    async with database.read() as connection:
        query = sa.select(memories).where(_m.id == memory_id, _m.user_id == user_id)
        row = (await connection.execute(query)).one_or_none()
    if row is None:
        raise _unknown(field)
    return from_row(Memory, row)


async def delete(database: Database, memory_id: str, user_id: str) -> None:
    """Raises NotFound, also for another user's."""
    async with database.write() as connection:
        done = await connection.execute(sa.delete(memories).where(_m.id == memory_id, _m.user_id == user_id))
    if done.rowcount == 0:
        raise _unknown("id")


def _unknown(field: str) -> NotFound:
    return NotFound("there is no such memory", field)
