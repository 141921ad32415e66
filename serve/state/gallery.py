"""Generations and results as users browse them: pages by filter and search, single items, favourites, deletion (C-044).

Pages use keyset pagination: rows that are inserted meanwhile neither repeat nor hide others, and the thousandth page
costs what the first does (C-091).
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
from serve.state.cursors import NEWEST, Page, Sort, check_limit
from serve.state.database import AlsoWrite, Database
from serve.state.job_states import TERMINAL
from serve.state.tables import cache, cached_objects, generations, inputs, measurements, objects, results

MAX_PAGE_SIZE = 100
MAX_SEARCH_WORDS = 8
MAX_IDS = 500
"""Of `get_generations`."""

_g = generations.c


@dataclass(frozen=True)
class Result:
    """A picture or drawing; ``object`` and ``thumbnail`` are names in the object store."""

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
    """``results`` in order."""

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
    """Filters of a page; None matches everything. ``since`` is inclusive, ``until`` exclusive.

    ``text``: words that must all occur in the prompt, in any case and order. Raises InvalidRequest.
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
        if len(self.words) > MAX_SEARCH_WORDS:
            raise InvalidRequest(f"has more than {MAX_SEARCH_WORDS} words", "q")

    @property
    def words(self) -> list[str]:
        """Distinct, the longest first: it is the most selective."""
        return sorted(set((self.text or "").split()), key=lambda word: (-len(word), word))

    def conditions(self, is_sqlite: bool) -> list[sa.ColumnElement[bool]]:
        names = ("user_id", "kind", "model", "status", "favorite", "batch_id")
        equal = [_g[name] == value for name in names if (value := getattr(self, name)) is not None]
        words = [_contains_word(word, is_sqlite) for word in self.words]
        bounds: list[sa.ColumnElement[bool]] = []
        if self.since is not None:
            bounds.append(_g.created_at >= self.since)
        if self.until is not None:
            bounds.append(_g.created_at < self.until)
        if self.min_rating is not None:
            bounds.append(_g.rating >= self.min_rating)
        return [*equal, *bounds, *words]


def _contains_word(word: str, is_sqlite: bool) -> sa.ColumnElement[bool]:
    """Whether the prompt contains ``word``, in any case.

    The comparison ignores the case of ASCII letters only: so does SQLite, and PostgreSQL is several times as fast
    without its locale. A word with other letters is searched in its usual spellings.
    """
    forms = {word} if word.isascii() else {word, word.lower(), word.upper(), word.capitalize()}
    matches = _g.prompt.contains if is_sqlite else sa.collate(_g.prompt, "C").icontains
    return sa.or_(*(matches(form, autoescape=True) for form in sorted(forms)))


async def page(
    database: Database, filters: Filters, sort: Sort = NEWEST, cursor: str | None = None, limit: int = 20
) -> Page[Generation]:
    """From the start, or from where the page whose ``next_cursor`` is ``cursor`` ended; the sort must be the same.

    Raises InvalidRequest naming ``cursor`` or ``limit``, StateUnavailable.
    """
    check_limit(limit, MAX_PAGE_SIZE)
    conditions = filters.conditions(database.is_sqlite)
    if cursor is not None:
        conditions.append(sort.after(cursor))
    query = sa.select(generations).where(*conditions).order_by(*sort.order_by).limit(limit + 1)
    async with database.read() as connection:
        rows = (await connection.execute(query)).all()
        items = await _with_results(connection, rows[:limit])
    return Page(items, sort.cursor(rows[limit - 1]) if len(rows) > limit else None)


async def get_generation(database: Database, generation_id: str) -> Generation:
    """Raises NotFound, StateUnavailable."""
    return (await get_generations(database, [generation_id]))[0]


async def get_generations(database: Database, ids: Sequence[str]) -> list[Generation]:
    """In the order of ``ids``. Raises NotFound naming the first missing one, InvalidRequest, StateUnavailable."""
    if not 1 <= len(ids) <= MAX_IDS:
        raise InvalidRequest(f"must be from 1 to {MAX_IDS} ids", "ids")
    found = {one.id: one for one in await existing_generations(database, ids)}
    for one_id in ids:
        if one_id not in found:
            raise _not_found(one_id)
    return [found[one_id] for one_id in ids]


async def existing_generations(database: Database, ids: Sequence[str]) -> list[Generation]:
    """Those of ``ids``, at most MAX_IDS, that are there, in any order. Raises StateUnavailable."""
    async with database.read() as connection:
        rows = (await connection.execute(sa.select(generations).where(_g.id.in_(ids)))).all()
        return await _with_results(connection, rows)


@dataclass(frozen=True)
class InputObject:
    media_type: str
    bytes: int


async def get_input(database: Database, generation_id: str, name: str) -> InputObject:
    """The object ``name`` that a generation was made from. Raises NotFound, StateUnavailable."""
    query = (
        sa.select(objects.c.media_type, objects.c.bytes)
        .join(inputs, inputs.c.object == objects.c.name)
        .where(inputs.c.generation_id == generation_id, inputs.c.object == name)
    )
    async with database.read() as connection:
        row = (await connection.execute(query)).first()
    if row is None:
        raise NotFound("this generation has no such input", "object_name")
    return InputObject(row.media_type, row.bytes)


async def delete_generation(
    database: Database,
    generation_id: str,
    user_id: str,
    and_then: AlsoWrite | None = None,
) -> None:
    """Deletes a generation with its results and events, and cached answers that share its results.

    Its measurement stays, without the prompt. ``and_then`` writes more in the same transaction. Raises NotFound, also
    for another user's, Conflict for an unfinished one, StateUnavailable.
    """
    selected = (_g.id == generation_id, _g.user_id == user_id)
    async with database.write() as connection:
        status = await connection.scalar(sa.select(_g.status).where(*selected).with_for_update())
        if status is None:
            raise _not_found(generation_id)
        if status not in TERMINAL:
            raise Conflict(f"is {status}; cancel it first", "id")
        objects_of_results = sa.select(results.c.object).where(results.c.generation_id == generation_id)
        answers = sa.select(cached_objects.c.key).where(cached_objects.c.object.in_(objects_of_results))
        await connection.execute(sa.delete(cache).where(cache.c.key.in_(answers)))
        await connection.execute(sa.delete(generations).where(*selected))
        rows = measurements.c.generation_id == generation_id
        await connection.execute(sa.update(measurements).where(rows).values(prompt=""))
        if and_then is not None:
            await and_then(connection)


async def set_favorite(
    database: Database, generation_id: str, user_id: str, value: bool, and_then: AlsoWrite | None = None
) -> None:
    """Raises NotFound, also for another user's, StateUnavailable."""
    selected = (_g.id == generation_id, _g.user_id == user_id)
    async with database.write() as connection:
        done = await connection.execute(sa.update(generations).where(*selected).values(favorite=value))
        if done.rowcount == 0:
            raise _not_found(generation_id)
        if and_then is not None:
            await and_then(connection)


def _not_found(generation_id: str) -> NotFound:
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


@dataclass(frozen=True)
class OwnedResult(Result):
    """A result with the user and the prompt of its generation."""

    user_id: str
    prompt: str


async def get_result(database: Database, result_id: str) -> OwnedResult:
    """Raises NotFound, StateUnavailable."""
    if "\0" not in result_id:  # PostgreSQL rejects NUL
        query = sa.select(results, generations.c.user_id, generations.c.prompt).join(generations)
        async with database.read() as connection:
            row = (await connection.execute(query.where(results.c.id == result_id))).one_or_none()
        if row is not None:
            return OwnedResult(**row._mapping)
    raise NotFound("there is no such result", "id")


async def set_thumbnail(database: Database, result_id: str, name: str) -> None:
    """``name`` is an object that was just stored. A result deleted meanwhile is ignored. Raises StateUnavailable."""
    async with database.write() as connection:
        await connection.execute(sa.update(results).where(results.c.id == result_id).values(thumbnail=name))
