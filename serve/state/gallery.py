"""Generations as their users look at them: pages by filter and search, single ones, favourites, deletion (C-044).

A page goes on where the one before it ended, by the values of its last row: rows that come in meanwhile neither repeat
nor hide others, and the thousandth page costs what the first does (C-091).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from serve.errors import Conflict, InvalidRequest, NotFound
from serve.state.cursors import NEWEST, Sort
from serve.state.database import Also, Database
from serve.state.job_states import TERMINAL
from serve.state.tables import cache, cached_objects, generations, measurements, results

MOST_ITEMS = 100
MOST_WORDS = 8
MOST_AT_ONCE = 500
"""Generations that `get_generations` takes."""

_g = generations.c


@dataclass(frozen=True)
class Result:
    """A picture or a drawing; ``object`` and ``thumbnail`` are names in the object store."""

    id: str
    generation_id: str
    place: int
    object: str
    media_type: str
    model: str | None
    width: int | None
    height: int | None
    bytes: int
    seed: int | None
    score: float | None
    thumbnail: str | None
    details: Any
    created_at: datetime


@dataclass(frozen=True)
class Generation:
    """``results`` by their places."""

    id: str
    user_id: str
    kind: str
    direct: bool
    batch_id: str | None
    retried_from: str | None
    prompt: str
    enhanced_prompt: str | None
    analysis: Any
    model: str | None
    models: Any
    parameters: Any
    details: Any
    status: str
    priority: int
    error: Any
    favorite: bool
    rating: float | None
    cached: bool
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    generation_time_s: float | None
    results: Sequence[Result] = ()


@dataclass(frozen=True)
class Filters:
    """What a page is of; None is anything. ``since`` belongs to the time, ``until`` does not.

    ``text`` is words that all have to be in the prompt, in any case and order. Raises InvalidRequest.
    """

    user_id: str | None = None
    kind: str | None = None
    model: str | None = None
    status: str | None = None
    favorite: bool | None = None
    text: str | None = None
    batch_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    min_rating: float | None = None

    def __post_init__(self) -> None:
        if len(self.words) > MOST_WORDS:
            raise InvalidRequest(f"has more than {MOST_WORDS} words", "q")

    @property
    def words(self) -> list[str]:
        """Each once, the longest first: it is the one that most prompts have not, and then the others are not tried."""
        return sorted(set((self.text or "").split()), key=lambda word: (-len(word), word))

    def conditions(self, is_sqlite: bool) -> list[sa.ColumnElement[bool]]:
        names = ("user_id", "kind", "model", "status", "favorite", "batch_id")
        equal = [_g[name] == value for name in names if (value := getattr(self, name)) is not None]
        words = [_has(word, is_sqlite) for word in self.words]
        bounds: list[sa.ColumnElement[bool]] = []
        if self.since is not None:
            bounds.append(_g.created_at >= self.since)
        if self.until is not None:
            bounds.append(_g.created_at < self.until)
        if self.min_rating is not None:
            bounds.append(_g.rating >= self.min_rating)
        return [*equal, *bounds, *words]


def _has(word: str, is_sqlite: bool) -> sa.ColumnElement[bool]:
    """Whether the prompt has ``word`` in it, in any case.

    What is compared here ignores the case of ASCII letters alone: so does SQLite, and PostgreSQL is several times as
    fast without its locale, which may know no more. A word with other letters is looked for as it is commonly written.
    """
    written = {word} if word.isascii() else {word, word.lower(), word.upper(), word.capitalize()}
    matches = _g.prompt.contains if is_sqlite else sa.collate(_g.prompt, "C").icontains
    return sa.or_(*(matches(form, autoescape=True) for form in sorted(written)))


@dataclass(frozen=True)
class Page:
    """``next_cursor`` is None at the end."""

    items: Sequence[Generation]
    next_cursor: str | None


async def page(
    database: Database, filters: Filters, sort: Sort = NEWEST, cursor: str | None = None, limit: int = 20
) -> Page:
    """From the start, or from where the page with ``cursor`` as its ``next_cursor`` ended; the sort must be the same.

    Raises InvalidRequest naming ``cursor`` or ``limit``, StateUnavailable.
    """
    if not 1 <= limit <= MOST_ITEMS:
        raise InvalidRequest(f"must be from 1 to {MOST_ITEMS}", "limit")
    conditions = filters.conditions(database.is_sqlite)
    if cursor is not None:
        conditions.append(sort.after(cursor))
    query = sa.select(generations).where(*conditions).order_by(*sort.order).limit(limit + 1)
    async with database.read() as connection:
        rows = (await connection.execute(query)).all()
        items = await _with_results(connection, rows[:limit])
    return Page(items, sort.cursor(rows[limit - 1]) if len(rows) > limit else None)


async def get_generation(database: Database, generation_id: str) -> Generation:
    """Raises NotFound, StateUnavailable."""
    return (await get_generations(database, [generation_id]))[0]


async def get_generations(database: Database, ids: Sequence[str]) -> list[Generation]:
    """In the order of ``ids``. Raises NotFound naming the first that is not there, InvalidRequest, StateUnavailable."""
    if not 1 <= len(ids) <= MOST_AT_ONCE:
        raise InvalidRequest(f"must be from 1 to {MOST_AT_ONCE} ids", "ids")
    async with database.read() as connection:
        rows = (await connection.execute(sa.select(generations).where(_g.id.in_(ids)))).all()
        found = {one.id: one for one in await _with_results(connection, rows)}
    for wanted in ids:
        if wanted not in found:
            raise _missing(wanted)
    return [found[wanted] for wanted in ids]


async def delete_generation(
    database: Database,
    generation_id: str,
    user_id: str,
    also: Also | None = None,
) -> None:
    """With its results, events and all else of it, and the cached answers that would give its results to others.

    The row of its quality stays, without the prompt. ``also`` is done in the same transaction.
    Raises NotFound, also for another user's, Conflict for one that is not over, StateUnavailable.
    """
    mine = (_g.id == generation_id, _g.user_id == user_id)
    async with database.write() as connection:
        status = await connection.scalar(sa.select(_g.status).where(*mine).with_for_update())
        if status is None:
            raise _missing(generation_id)
        if status not in TERMINAL:
            raise Conflict(f"is {status}; cancel it first", "id")
        drawn = sa.select(results.c.object).where(results.c.generation_id == generation_id)
        answers = sa.select(cached_objects.c.key).where(cached_objects.c.object.in_(drawn))
        await connection.execute(sa.delete(cache).where(cache.c.key.in_(answers)))
        await connection.execute(sa.delete(generations).where(*mine))
        rows = measurements.c.generation_id == generation_id
        await connection.execute(sa.update(measurements).where(rows).values(prompt=""))
        if also is not None:
            await also(connection)


async def set_favorite(database: Database, generation_id: str, user_id: str, value: bool) -> None:
    """Raises NotFound, also for another user's, StateUnavailable."""
    mine = (_g.id == generation_id, _g.user_id == user_id)
    async with database.write() as connection:
        done = await connection.execute(sa.update(generations).where(*mine).values(favorite=value))
    if done.rowcount == 0:
        raise _missing(generation_id)


def _missing(generation_id: str) -> NotFound:
    return NotFound(f"there is no generation {generation_id[:64]!r}", "id")


_FIELDS = [field.name for field in dataclasses.fields(Generation) if field.name != "results"]


async def _with_results(connection: AsyncConnection, rows: Sequence[sa.Row[Any]]) -> list[Generation]:
    ids = [row.id for row in rows]
    query = sa.select(results).where(results.c.generation_id.in_(ids))
    by_generation: dict[str, list[Result]] = {}
    if ids:
        for row in await connection.execute(query.order_by(results.c.generation_id, results.c.place)):
            by_generation.setdefault(row.generation_id, []).append(Result(**row._mapping))
    return [
        Generation(**{name: getattr(row, name) for name in _FIELDS}, results=by_generation.get(row.id, []))
        for row in rows
    ]
