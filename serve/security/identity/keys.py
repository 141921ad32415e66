"""API keys: creation, listing, revocation and authentication.

A key is shown once, on creation. Its hash is stored, keyed with the site's secret.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from serve.errors import Conflict, InvalidRequest, NotFound
from serve.security.identity.audit import Actor, record
from serve.security.identity.key_cache import KeyCache, hash_key
from serve.security.identity.key_format import new_key, parse_id_prefix
from serve.security.identity.roles import Principal, scopes_of
from serve.security.identity.users import User, fetch_user, insert_user, validate_name
from serve.security.signing.secret_store import keys_of
from serve.state import State
from serve.state.cursors import Page, check_limit, fetch_page, from_row
from serve.state.database import Database
from serve.state.tables import keys, users, utc_now

MAX_PAGE_SIZE = 200
MAX_KEYS_PER_USER = 100
"""Usable keys of one user."""
MAX_LIFETIME = timedelta(days=3660)
ACTIVE, EXPIRED, REVOKED = "active", "expired", "revoked"

_k = keys.c


@dataclass(frozen=True)
class Key:
    """``used_at`` has a resolution of a minute."""

    id: str
    user_id: str
    name: str
    scopes: Sequence[str]
    created_at: datetime
    expires_at: datetime | None
    used_at: datetime | None
    revoked_at: datetime | None

    @property
    def status(self) -> str:
        if self.revoked_at is not None:
            return REVOKED
        return EXPIRED if self.expires_at is not None and self.expires_at <= utc_now() else ACTIVE


@dataclass(frozen=True)
class CreatedKey:
    """``secret`` is the whole key, which cannot be shown again."""

    key: Key
    role: str
    secret: str = field(repr=False)


class Keys:
    """For one event loop; close it. Every method raises StateUnavailable, and OutOfSpace where it writes."""

    def __init__(self, state: State, site_keys: Sequence[bytes], clock: Callable[[], float] = time.monotonic) -> None:
        """``site_keys``: the newest first; ``clock`` is in seconds, and monotonic."""
        self._database: Database = state.database
        self._newest = site_keys[0]
        self._key_cache = KeyCache(state.database, state.settings.access, site_keys, clock)

    @classmethod
    async def open(cls, state: State) -> Keys:
        """With the site's secret, which is created if there is none. Raises StateUnavailable."""
        return cls(state, await asyncio.to_thread(keys_of, state.settings, "api-keys"))

    async def close(self) -> None:
        await self._key_cache.close()

    async def authenticate(self, secret: str, address: str | None = None) -> Principal:
        """As `KeyCache.authenticate`."""
        return await self._key_cache.authenticate(secret, address)

    async def create(
        self,
        user_id: str,
        by: Actor,
        *,
        role: str | None = None,
        scopes: Collection[str] | None = None,
        name: str = "",
        expires_in: timedelta | None = None,
    ) -> CreatedKey:
        """With a ``role``, a missing user is created; ``scopes``: all of the role, if None.

        Raises InvalidRequest, NotFound for a missing user, Conflict for one that has another role, is disabled, or has
        too many keys.
        """
        if expires_in is not None and not timedelta(0) < expires_in <= MAX_LIFETIME:
            raise InvalidRequest(f"must be more than nothing and at most {MAX_LIFETIME.days} days", "expires_in")
        new, now = new_key(), utc_now()
        async with self._database.write() as connection:
            user = await self._user(connection, user_id, role, by)
            key = Key(
                id=new.id,
                user_id=user_id,
                name=validate_name(name),
                scopes=scopes_of(user.role, scopes),
                created_at=now,
                expires_at=None if expires_in is None else now + expires_in,
                used_at=None,
                revoked_at=None,
            )
            row = {**vars(key), "secret_hash": hash_key(self._newest, new.secret)}
            await connection.execute(keys.insert().values(row))
            details = {"user_id": user_id, "scopes": key.scopes, "expires_at": str(key.expires_at), "name": key.name}
            await record(connection, by, "key.create", key.id, details)
        return CreatedKey(key, user.role, new.secret)

    async def page(
        self, user_id: str | None = None, cursor: str | None = None, limit: int = 50, *, active: bool = False
    ) -> Page[Key]:
        """All keys, or those of a user, the newest first; with ``active``, only usable ones.

        ``cursor`` is the ``next_cursor`` of the page before. Raises InvalidRequest.
        """
        check_limit(limit, MAX_PAGE_SIZE)
        query = sa.select(keys).order_by(_k.created_at.desc(), _k.id.desc())
        if user_id is not None:
            query = query.where(_k.user_id == user_id)
        if active:
            query = query.where(_is_usable())
        async with self._database.read() as connection:
            if cursor is not None:
                query = query.where(await _after(connection, cursor))
            return await fetch_page(connection, query, limit, lambda row: from_row(Key, row), lambda row: str(row.id))

    async def revoke(self, key: str, by: Actor, user_id: str | None = None) -> Key:
        """``key``: its id, the key itself, or the first part of either; with ``user_id``, only that user's.

        A revoked key stays as it is. Raises InvalidRequest, NotFound, Conflict for an ambiguous prefix.
        """
        query = sa.select(_k.id).where(_k.id.startswith(parse_id_prefix(key))).limit(2)
        if user_id is not None:
            query = query.where(_k.user_id == user_id)
        async with self._database.write() as connection:
            found = (await connection.scalars(query)).all()
            if len(found) > 1:
                raise Conflict("more than one key begins like that; give more of it", "key")
            if not found:
                raise NotFound("there is no such key", "key")
            selected = _k.id == found[0]
            done = await connection.execute(
                sa.update(keys).where(selected, _k.revoked_at.is_(None)).values(revoked_at=utc_now())
            )
            if done.rowcount:
                await record(connection, by, "key.revoke", found[0])
            row = (await connection.execute(sa.select(keys).where(selected))).one()
        self._key_cache.forget(row.id)
        return from_row(Key, row)

    async def _user(self, connection: AsyncConnection, user_id: str, role: str | None, by: Actor) -> User:
        if role is not None:
            await insert_user(self._database, connection, user_id, role, by)
        user = await fetch_user(connection, user_id, for_update=True)
        if role is not None and user.role != role:
            raise Conflict(f"{user_id} has the role {user.role}; change it first, or leave it out", "role")
        if user.disabled_at is not None:
            raise Conflict(f"{user_id} is disabled", "user_id")
        selected = sa.select(sa.func.count()).select_from(keys).where(_k.user_id == user_id, _is_usable())
        if (await connection.scalar(selected) or 0) >= MAX_KEYS_PER_USER:
            raise Conflict(f"{user_id} has {MAX_KEYS_PER_USER} keys already; revoke some first", "user_id")
        return user


async def has_usable_key(database: Database) -> bool:
    """Whether any user can authenticate. Raises StateUnavailable."""
    query = sa.select(_k.id).join(users, users.c.id == _k.user_id).where(_is_usable(), users.c.disabled_at.is_(None))
    async with database.read() as connection:
        return (await connection.scalar(query.limit(1))) is not None


def _is_usable() -> sa.ColumnElement[bool]:
    return sa.and_(_k.revoked_at.is_(None), sa.or_(_k.expires_at.is_(None), _k.expires_at > utc_now()))


async def _after(connection: AsyncConnection, cursor: str) -> sa.ColumnElement[bool]:
    known = cursor.isascii() and cursor.isalnum()  # the database rejects some characters
    created_at = await connection.scalar(sa.select(_k.created_at).where(_k.id == cursor)) if known else None
    if created_at is None:
        raise InvalidRequest("is not one that a page told", "cursor")
    return sa.or_(_k.created_at < created_at, sa.and_(_k.created_at == created_at, _k.id < cursor))
