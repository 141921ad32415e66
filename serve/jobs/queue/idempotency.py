"""Idempotency keys: the same key with the same body refers to the same generation or batch."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from serve.errors import KeyReused
from serve.state.tables import idempotency_keys as keys
from serve.state.tables import utc_now

MAX_KEY = 255
"""Characters."""


async def claim(
    connection: AsyncConnection, user_id: str, key: str, body_hash: str, target: str, retention: timedelta
) -> str | None:
    """None if the key is new; it now refers to ``target``. Otherwise the existing target.

    Raises KeyReused when the key was used with another body. Keys expire after ``retention``.
    """
    same_key = (keys.c.user_id == user_id, keys.c.key == key)
    await connection.execute(sa.delete(keys).where(*same_key, keys.c.created_at < utc_now() - retention))
    row = {"user_id": user_id, "key": key, "body_hash": body_hash, "target": target, "created_at": utc_now()}
    insert: Any = (sqlite if connection.dialect.name == "sqlite" else postgresql).insert(keys)
    inserted = await connection.scalar(insert.values(row).on_conflict_do_nothing().returning(keys.c.key))
    if inserted is not None:
        return None
    existing = (await connection.execute(sa.select(keys.c.body_hash, keys.c.target).where(*same_key))).one()
    if existing.body_hash != body_hash:
        raise KeyReused("stands for another request already; send a new one with a new request", "Idempotency-Key")
    existing_target: str = existing.target
    return existing_target


async def renew(connection: AsyncConnection, user_id: str, key: str, target: str) -> None:
    """Points ``key`` to a new ``target``, since the old one was deleted."""
    same_key = (keys.c.user_id == user_id, keys.c.key == key)
    await connection.execute(sa.update(keys).where(*same_key).values(target=target, created_at=utc_now()))
