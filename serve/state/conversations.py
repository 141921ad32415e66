"""Conversations with the art director (C-076): messages, the prompt that they are at, what was drawn."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from serve.errors import NotFound
from serve.state.cursors import Page, Sort, SortKey, check_limit, fetch_page, from_row, read_time
from serve.state.database import Database
from serve.state.prompts import read_id
from serve.state.tables import UtcTime, conversations, utc_now

MAX_MESSAGES = 200
"""Kept of a conversation; the oldest are dropped."""
MAX_BYTES = 256 * 1024
"""Of the messages of a conversation, as JSON; the oldest are dropped."""
MAX_CONVERSATIONS = 200
"""Kept of a user; those that were not continued for the longest are deleted."""
MAX_PAGE_SIZE = 100
_c = conversations.c
ACTIVE, COMPLETED = "active", "completed"
LATEST = Sort(
    "latest", (SortKey(_c.updated_at, "updated_at", read_time, UtcTime()), SortKey(_c.id, "id", read_id, sa.Text()))
)


@dataclass(frozen=True)
class Conversation:
    """``messages``: role, content, timestamp, metadata each."""

    id: str
    user_id: str
    title: str
    messages: Any
    final_prompt: str | None
    generation_id: str | None
    status: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class ConversationSummary:
    """An entry of the list: a conversation without its messages."""

    id: str
    title: str
    final_prompt: str | None
    generation_id: str | None
    status: str
    updated_at: datetime


Change = Callable[[Conversation], dict[str, Any]]
"""Of a conversation, the new values of its columns."""


async def create(database: Database, user_id: str, title: str) -> str:
    now, conversation_id = utc_now(), uuid.uuid4().hex
    values = {"id": conversation_id, "user_id": user_id, "title": title, "messages": [], "created_at": now}
    newest = sa.select(_c.id).where(_c.user_id == user_id).order_by(_c.updated_at.desc(), _c.id)
    async with database.write() as connection:
        await connection.execute(conversations.insert().values(**values, updated_at=now, status=ACTIVE))
        old = newest.offset(MAX_CONVERSATIONS).limit(MAX_CONVERSATIONS)
        await connection.execute(sa.delete(conversations).where(_c.id.in_(old)))
    return conversation_id


async def get(database: Database, conversation_id: str, user_id: str) -> Conversation:
    """Raises NotFound, also for another user's."""
    async with database.read() as connection:
        row = (await connection.execute(_selected(conversation_id, user_id))).one_or_none()
    if row is None:
        raise _missing()
    return from_row(Conversation, row)


async def change(database: Database, conversation_id: str, user_id: str, make: Change) -> Conversation:
    """Reads, and writes what ``make`` returns, in one transaction: two writers do not overwrite each other.

    Raises NotFound, and what ``make`` raises.
    """
    async with database.write() as connection:
        row = (await connection.execute(_selected(conversation_id, user_id).with_for_update())).one_or_none()
        if row is None:
            raise _missing()
        values = {**make(from_row(Conversation, row)), "updated_at": utc_now()}
        if "messages" in values:
            values["messages"] = _bounded(values["messages"])
        await connection.execute(sa.update(conversations).where(_c.id == conversation_id).values(**values))
        changed = (await connection.execute(_selected(conversation_id, user_id))).one()
    return from_row(Conversation, changed)


async def delete(database: Database, conversation_id: str, user_id: str) -> None:
    """Raises NotFound, also for another user's."""
    removal = sa.delete(conversations).where(_c.id == conversation_id, _c.user_id == user_id)
    async with database.write() as connection:
        done = await connection.execute(removal)
    if done.rowcount == 0:
        raise _missing()


async def page(
    database: Database, user_id: str, cursor: str | None, limit: int, status: str | None = None
) -> Page[ConversationSummary]:
    """The latest first; with ``status`` those in that one. Raises InvalidRequest."""
    check_limit(limit, MAX_PAGE_SIZE)
    columns = (_c[name] for name in ConversationSummary.__dataclass_fields__)
    query = sa.select(*columns).where(_c.user_id == user_id).order_by(*LATEST.order_by)
    if status is not None:
        query = query.where(_c.status == status)
    if cursor is not None:
        query = query.where(LATEST.after(cursor))
    async with database.read() as connection:
        return await fetch_page(connection, query, limit, lambda row: from_row(ConversationSummary, row), LATEST.cursor)


def _bounded(messages: Sequence[Any]) -> list[Any]:
    """The newest of ``messages`` that are within the bounds, and the last in any case."""
    kept: list[Any] = []
    size = 0
    for message in reversed(messages[-MAX_MESSAGES:]):
        size += len(json.dumps(message).encode())
        if kept and size > MAX_BYTES:
            break
        kept.append(message)
    return kept[::-1]


def _selected(conversation_id: str, user_id: str) -> sa.Select[Any]:
    return sa.select(conversations).where(_c.id == conversation_id, _c.user_id == user_id)


def _missing() -> NotFound:
    return NotFound("there is no such conversation", "id")
