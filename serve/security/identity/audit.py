"""The audit log: who did what, written in the same transaction as the action (B-083).

Text from outside is stored with control characters escaped and cut to a maximum length, so that no printed row can look
like two. Maintenance deletes old and surplus entries (`access.keep_audit_days`, `access.max_audit_rows`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from serve.observability.logs.formats import printable
from serve.security.identity.roles import Principal
from serve.state.cursors import Page, check_limit, cursor_of_seq, fetch_page, from_row, seq_of
from serve.state.database import Database
from serve.state.tables import audit, utc_now

MAX_PAGE_SIZE = 200
MAX_TEXT = 256
"""Characters of each text."""
_MAX_DETAILS = 20

_a = audit.c
_INSERT = audit.insert()


@dataclass(frozen=True)
class Actor:
    """User, key and address of an action. All None: the site itself."""

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
    """Filters of a page; None matches everything. ``since`` is inclusive, ``until`` exclusive."""

    user_id: str | None = None
    key_id: str | None = None
    action: str | None = None
    subject: str | None = None
    address: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def conditions(self) -> list[sa.ColumnElement[bool]]:
        names = ("user_id", "key_id", "action", "subject", "address")
        filters = {name: value for name in names if (value := getattr(self, name)) is not None}
        # Escaped as when stored, so that the database rejects no value.
        conditions = [_a[name] == printable(value, MAX_TEXT) for name, value in filters.items()]
        if self.since is not None:
            conditions.append(_a.created_at >= self.since)
        if self.until is not None:
            conditions.append(_a.created_at < self.until)
        return conditions


async def record(
    connection: AsyncConnection,
    actor: Actor,
    action: str,
    subject: str | None = None,
    details: Mapping[str, Any] | None = None,
) -> None:
    """In the transaction of ``connection``. ``action`` is such as ``key.revoke``; ``subject`` is the id of the affected
    object; ``details`` are plain values, and lists of them."""
    texts = {"user_id": actor.user_id, "key_id": actor.key_id, "subject": subject, "address": actor.address}
    row = {name: None if value is None else printable(value, MAX_TEXT) for name, value in texts.items()}
    plain_details = (
        None if details is None else {name: _to_plain(value) for name, value in list(details.items())[:_MAX_DETAILS]}
    )
    await connection.execute(_INSERT, {**row, "action": action, "details": plain_details, "created_at": utc_now()})


async def record_now(database: Database, actor: Actor, action: str, subject: str | None = None, **details: Any) -> None:
    """In a transaction of its own, for actions that change no rows. Raises StateUnavailable, OutOfSpace."""
    async with database.write() as connection:
        await record(connection, actor, action, subject, details or None)


async def page(database: Database, filters: Filters, cursor: str | None = None, limit: int = 50) -> Page[Entry]:
    """From the newest, or from where the page whose ``next_cursor`` is ``cursor`` ended.

    Raises InvalidRequest naming ``cursor`` or ``limit``, StateUnavailable.
    """
    check_limit(limit, MAX_PAGE_SIZE)
    query = sa.select(audit).where(*filters.conditions()).order_by(_a.seq.desc())
    if cursor is not None:
        query = query.where(_a.seq < seq_of(cursor))
    async with database.read() as connection:
        return await fetch_page(
            connection, query, limit, lambda row: from_row(Entry, row), lambda row: cursor_of_seq(row.seq)
        )


def _to_plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, list | tuple):
        return [_to_plain(one) for one in value[:_MAX_DETAILS]]
    return printable(str(value), MAX_TEXT)
