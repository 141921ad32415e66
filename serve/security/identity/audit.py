"""Who did what: written in the transaction that does it, so that neither is without the other (B-083).

What comes from outside is written with its control characters escaped and cut to a length: no row, printed, becomes
two. Chores delete what is too old, or too much (`access.keep_audit_days`, `access.max_audit_rows`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from serve.errors import InvalidRequest
from serve.observability.logs.escaping import printable
from serve.security.identity.roles import Principal
from serve.state.cursors import cursor_of_seq, seq_of
from serve.state.database import Database
from serve.state.tables import audit, utc_now

MOST_ITEMS = 200
MAX_TEXT = 256
"""Characters of each text."""
_MOST_DETAILS = 20

_a = audit.c
_INSERT = audit.insert()


@dataclass(frozen=True)
class Actor:
    """Who does it, with which key, from where. All None: the site itself."""

    user_id: str | None = None
    key_id: str | None = None
    address: str | None = None

    @classmethod
    def of(cls, principal: Principal, address: str | None) -> Actor:
        return cls(principal.user_id, principal.key_id, address)


SITE = Actor()


@dataclass(frozen=True)
class Entry:
    seq: int
    user_id: str | None
    key_id: str | None
    action: str
    subject: str | None
    details: Any
    address: str | None
    created_at: datetime


@dataclass(frozen=True)
class Filters:
    """What a page is of; None is anything. ``since`` belongs to the time, ``until`` does not."""

    user_id: str | None = None
    key_id: str | None = None
    action: str | None = None
    subject: str | None = None
    address: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def conditions(self) -> list[sa.ColumnElement[bool]]:
        names = ("user_id", "key_id", "action", "subject", "address")
        asked = {name: value for name in names if (value := getattr(self, name)) is not None}
        # Written as it is kept; so nothing reaches the database that it would refuse.
        found = [_a[name] == printable(value, MAX_TEXT) for name, value in asked.items()]
        if self.since is not None:
            found.append(_a.created_at >= self.since)
        if self.until is not None:
            found.append(_a.created_at < self.until)
        return found


@dataclass(frozen=True)
class Page:
    """The newest first. ``next_cursor`` is None at the end."""

    items: Sequence[Entry]
    next_cursor: str | None


async def record(
    connection: AsyncConnection,
    actor: Actor,
    action: str,
    subject: str | None = None,
    details: Mapping[str, Any] | None = None,
) -> None:
    """In the transaction of ``connection``. ``action`` is such as ``key.revoke``; ``subject`` is an id of what it was
    done to; ``details`` have plain values, and lists of them.
    """
    texts = {"user_id": actor.user_id, "key_id": actor.key_id, "subject": subject, "address": actor.address}
    row = {name: None if value is None else printable(value, MAX_TEXT) for name, value in texts.items()}
    told = None if details is None else {name: _plain(value) for name, value in list(details.items())[:_MOST_DETAILS]}
    await connection.execute(_INSERT, {**row, "action": action, "details": told, "created_at": utc_now()})


async def record_now(database: Database, actor: Actor, action: str, subject: str | None = None, **details: Any) -> None:
    """In a transaction of its own, for what changes no rows. Raises StateUnavailable, OutOfSpace."""
    async with database.write() as connection:
        await record(connection, actor, action, subject, details or None)


async def page(database: Database, filters: Filters, cursor: str | None = None, limit: int = 50) -> Page:
    """From the newest, or from where the page with ``cursor`` as its ``next_cursor`` ended.

    Raises InvalidRequest naming ``cursor`` or ``limit``, StateUnavailable.
    """
    if not 1 <= limit <= MOST_ITEMS:
        raise InvalidRequest(f"must be from 1 to {MOST_ITEMS}", "limit")
    query = sa.select(audit).where(*filters.conditions())
    if cursor is not None:
        query = query.where(_a.seq < seq_of(cursor))
    async with database.read() as connection:
        rows = (await connection.execute(query.order_by(_a.seq.desc()).limit(limit + 1))).all()
    more = len(rows) > limit
    return Page([_entry(row) for row in rows[:limit]], cursor_of_seq(rows[limit - 1].seq) if more else None)


_FIELDS = [field.name for field in fields(Entry)]


def _entry(row: sa.Row[Any]) -> Entry:
    return Entry(**{name: getattr(row, name) for name in _FIELDS})


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value[:_MOST_DETAILS]]
    return printable(str(value), MAX_TEXT)
