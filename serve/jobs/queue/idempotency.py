"""Idempotency keys: the same key with the same body stands for the same thing, however often it is sent."""

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
    connection: AsyncConnection, user_id: str, key: str, body_hash: str, target: str, keep: timedelta
) -> str | None:
    """None: the key is new, and stands for ``target`` from now on. Else what it stands for.

    Raises KeyReused when that was asked for by another body. A key is forgotten after ``keep``.
    """
    this = (keys.c.user_id == user_id, keys.c.key == key)
    await connection.execute(sa.delete(keys).where(*this, keys.c.created_at < utc_now() - keep))
    row = {"user_id": user_id, "key": key, "body_hash": body_hash, "target": target, "created_at": utc_now()}
    insert: Any = (sqlite if connection.dialect.name == "sqlite" else postgresql).insert(keys)
    added = await connection.scalar(insert.values(row).on_conflict_do_nothing().returning(keys.c.key))
    if added is not None:
        return None
    known = (await connection.execute(sa.select(keys.c.body_hash, keys.c.target).where(*this))).one()
    if known.body_hash != body_hash:
        raise KeyReused("stands for another request already; send a new one with a new request", "Idempotency-Key")
    found: str = known.target
    return found


async def renew(connection: AsyncConnection, user_id: str, key: str, target: str) -> None:
    """``key`` stands for ``target`` from now on: what it stood for was deleted."""
    this = (keys.c.user_id == user_id, keys.c.key == key)
    await connection.execute(sa.update(keys).where(*this).values(target=target, created_at=utc_now()))
