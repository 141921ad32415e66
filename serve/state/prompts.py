"""Prompts that users keep (C-038): the text, its analysis, its keywords for search, favourites.

A text is one entry of its user's history: to save it again moves it to the top.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from serve.errors import InvalidRequest, NotFound
from serve.state.cursors import Page, Sort, SortKey, check_limit, fetch_page, from_row, read_time
from serve.state.database import Database
from serve.state.tables import UtcTime, insert_into, prompts, utc_now

MAX_PAGE_SIZE = 100
MAX_KEPT = 1000
"""Entries of a user that are no favourites; the oldest are removed."""
MAX_FAVORITES = 1000
_p = prompts.c


def read_id(value: Any) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise ValueError
    return value


RECENT = Sort(
    "recent", (SortKey(_p.created_at, "created_at", read_time, UtcTime()), SortKey(_p.id, "id", read_id, sa.Text()))
)


@dataclass(frozen=True)
class StoredPrompt:
    id: str
    user_id: str
    text: str
    analysis: Any
    keywords: str
    favorite: bool
    created_at: datetime


async def save(database: Database, user_id: str, text: str, analysis: Any, keywords: str) -> str:
    """Its id. Raises StateUnavailable, OutOfSpace."""
    prompt_id = hashlib.sha256(f"{user_id}\0{text}".encode()).hexdigest()[:32]
    values = {"analysis": analysis, "keywords": keywords, "created_at": utc_now()}
    insert = insert_into(prompts, database.is_sqlite).values(id=prompt_id, user_id=user_id, text=text, **values)
    kept = sa.select(_p.id).where(_p.user_id == user_id, ~_p.favorite).order_by(_p.created_at.desc(), _p.id)
    oldest = kept.offset(MAX_KEPT).limit(MAX_KEPT)
    async with database.write() as connection:
        await connection.execute(insert.on_conflict_do_update(index_elements=["id"], set_=values))
        await connection.execute(sa.delete(prompts).where(_p.id.in_(oldest)))
    return prompt_id


async def history(
    database: Database,
    user_id: str,
    cursor: str | None,
    limit: int,
    favorite: bool | None = None,
    text: str | None = None,
) -> Page[StoredPrompt]:
    """The newest first; ``text``: words that the prompt or its keywords have. Raises InvalidRequest."""
    check_limit(limit, MAX_PAGE_SIZE)
    query = sa.select(prompts).where(_p.user_id == user_id).order_by(*RECENT.order_by)
    if favorite is not None:
        query = query.where(_p.favorite == favorite)
    for word in (text or "").split():
        query = query.where(
            sa.or_(_p.text.icontains(word, autoescape=True), _p.keywords.icontains(word, autoescape=True))
        )
    if cursor is not None:
        query = query.where(RECENT.after(cursor))
    async with database.read() as connection:
        return await fetch_page(connection, query, limit, lambda row: from_row(StoredPrompt, row), RECENT.cursor)


async def set_favorite(database: Database, prompt_id: str, user_id: str, favorite: bool) -> None:
    """Raises NotFound, also for another user's, and InvalidRequest beyond `MAX_FAVORITES`."""
    change = sa.update(prompts).where(_p.id == prompt_id, _p.user_id == user_id).values(favorite=favorite)
    async with database.write() as connection:
        if favorite:
            others = sa.select(sa.func.count()).where(_p.user_id == user_id, _p.favorite, _p.id != prompt_id)
            if (await connection.scalar(others) or 0) >= MAX_FAVORITES:
                raise InvalidRequest(f"at most {MAX_FAVORITES} prompts are favourites", "favorite")
        done = await connection.execute(change)
    if done.rowcount == 0:
        raise _unknown()


def _unknown() -> NotFound:
    return NotFound("there is no such prompt in the history", "id")


async def favorites(database: Database, user_id: str, most: int) -> list[str]:
    """Texts of favourite prompts, the newest first."""
    query = sa.select(_p.text).where(_p.user_id == user_id, _p.favorite).order_by(_p.created_at.desc()).limit(most)
    async with database.read() as connection:
        return list((await connection.execute(query)).scalars())


async def delete(database: Database, prompt_id: str, user_id: str) -> None:
    """Raises NotFound, also for another user's."""
    async with database.write() as connection:
        done = await connection.execute(sa.delete(prompts).where(_p.id == prompt_id, _p.user_id == user_id))
    if done.rowcount == 0:
        raise _unknown()


async def delete_all(
    database: Database, user_id: str, favorites_too: bool = True, until: datetime | None = None
) -> int:
    """The number of entries deleted; those after ``until`` stay."""
    which = sa.delete(prompts).where(_p.user_id == user_id)
    if until is not None:
        which = which.where(_p.created_at <= until)
    async with database.write() as connection:
        return (await connection.execute(which if favorites_too else which.where(~_p.favorite))).rowcount
