"""Users and their roles, and which characters names may have. All gateways see a change within `access.cache_s`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from serve.errors import Conflict, InvalidRequest, NotFound
from serve.security.identity.audit import Actor, record
from serve.security.identity.roles import LOCAL, check_role
from serve.state.cursors import Page, check_limit, fetch_page, from_row
from serve.state.database import Database
from serve.state.tables import insert_into, users, utc_now

MAX_NAME = 100
USER_ID = "[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}"
_USER_ID = re.compile(USER_ID, re.ASCII)


def validate_user_id(text: str) -> str:
    """Returns ``text``. Raises InvalidRequest for an invalid user id."""
    if not _USER_ID.fullmatch(text):
        raise InvalidRequest("must be 1 to 64 letters, digits or . _ @ + -, the first a letter or digit", "user_id")
    return text


def validate_name(text: str) -> str:
    """Returns ``text``. Raises InvalidRequest for control characters, including those that change the direction of
    writing."""
    if len(text) > MAX_NAME or not text.isprintable():
        raise InvalidRequest(f"must be at most {MAX_NAME} characters that can be printed", "name")
    return text


MAX_PAGE_SIZE = 200
_u = users.c


@dataclass(frozen=True)
class User:
    id: str
    name: str
    role: str
    created_at: datetime
    disabled_at: datetime | None


async def create_user(database: Database, user_id: str, role: str, by: Actor, name: str = "") -> User:
    """Raises InvalidRequest, Conflict for an existing one, StateUnavailable, OutOfSpace."""
    async with database.write() as connection:
        if not await insert_user(database, connection, user_id, role, by, name):
            raise Conflict("there is such a user already", "user_id")
        return await fetch_user(connection, user_id)


async def insert_user(
    database: Database, connection: AsyncConnection, user_id: str, role: str, by: Actor, name: str = ""
) -> bool:
    """False for an existing one. Raises InvalidRequest, also for the name of anonymous users."""
    if user_id == LOCAL.user_id:
        raise InvalidRequest(f"{user_id} is everybody who came without a key; take another", "user_id")
    row = {
        "id": validate_user_id(user_id),
        "role": check_role(role),
        "name": validate_name(name),
        "created_at": utc_now(),
    }
    insert = insert_into(users, database.is_sqlite)
    result = await connection.execute(insert.on_conflict_do_nothing(), row)
    if result.rowcount != 1:
        return False
    await record(connection, by, "user.create", user_id, {"role": role})
    return True


async def page_of_users(database: Database, cursor: str | None = None, limit: int = 50) -> Page[User]:
    """Ordered by id. ``cursor`` is the ``next_cursor`` of the page before. Raises InvalidRequest, StateUnavailable."""
    check_limit(limit, MAX_PAGE_SIZE)
    query = sa.select(users).order_by(_u.id)
    if cursor is not None:
        query = query.where(_u.id > validate_user_id(cursor))
    async with database.read() as connection:
        return await fetch_page(connection, query, limit, lambda row: from_row(User, row), lambda row: str(row.id))


async def set_role(database: Database, user_id: str, role: str, by: Actor) -> User:
    """Keys lose scopes that the new role lacks, and gain none.

    Raises InvalidRequest, NotFound, StateUnavailable, OutOfSpace.
    """
    check_role(role)
    async with database.write() as connection:
        previous = await fetch_user(connection, user_id, for_update=True)
        await connection.execute(sa.update(users).where(_u.id == user_id).values(role=role))
        await record(connection, by, "user.role", user_id, {"from": previous.role, "to": role})
        return await fetch_user(connection, user_id)


async def set_disabled(database: Database, user_id: str, disabled: bool, by: Actor) -> User:
    """Keys of a disabled user are not accepted. Raises NotFound, StateUnavailable, OutOfSpace."""
    async with database.write() as connection:
        previous = await fetch_user(connection, user_id, for_update=True)
        if (previous.disabled_at is not None) != disabled:
            disabled_at = utc_now() if disabled else None
            await connection.execute(sa.update(users).where(_u.id == user_id).values(disabled_at=disabled_at))
            await record(connection, by, "user.disable" if disabled else "user.enable", user_id)
        return await fetch_user(connection, user_id)


async def fetch_user(connection: AsyncConnection, user_id: str, *, for_update: bool = False) -> User:
    """With ``for_update``, the row is locked until the transaction ends. Raises InvalidRequest, NotFound."""
    query = sa.select(users).where(_u.id == validate_user_id(user_id))
    row = (await connection.execute(query.with_for_update() if for_update else query)).one_or_none()
    if row is None:
        raise NotFound(f"there is no user {user_id}", "user_id")
    return from_row(User, row)
