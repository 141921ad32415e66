"""Feedback on generations: what was said, its reward (C-056), and the interactions that preferences are learned from.

An event is a row per user, generation and kind, so that one that is sent again changes nothing, and an unlike removes
the like. "No interaction" is not stored: it is a completed generation that is old enough and has no feedback.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from serve.errors import NotFound
from serve.personalisation.own_settings import OwnSettings, read_own_settings, write_own_settings
from serve.state.database import AlsoWrite, Database
from serve.state.job_states import COMPLETED
from serve.state.tables import feedback, generations, insert_into, results, utc_now

Kind = Literal["rate", "like", "favorite", "share", "download"]
REWARDS: Mapping[str, float] = {"like": 0.5, "favorite": 1.0, "share": 0.8, "download": 0.6}
NO_INTERACTION = -0.2
SILENT = "none"
"""The kind of an interaction without feedback."""
MAX_INTERACTIONS = 500
"""Of one user: the newest that are learned from."""
MAX_POPULATION = 2000
MAX_OF_ONE_USER = 100
"""Events of a user in the population: the newest."""
_f, _g = feedback.c, generations.c


def reward_of(kind: str, value: float | None) -> float:
    """``(stars - 3) / 2`` of a rating; a fixed one of anything else."""
    if kind == "rate":
        return ((value or 3.0) - 3.0) / 2.0
    return REWARDS[kind]


@dataclass(frozen=True)
class Interaction:
    """One reward. ``kind`` is a feedback's, or none for no interaction."""

    user_id: str
    generation_id: str
    kind: str
    reward: float
    model: str | None
    sampler: str | None
    prompt: str
    at: datetime


async def put(
    connection: AsyncConnection,
    user_id: str,
    generation_id: str,
    kind: Kind,
    value: float | None = None,
    result_id: str | None = None,
    comment: str | None = None,
) -> None:
    """Writes the event, or replaces what the user said before of this kind: another value is a new event in time; a
    comment stays until another one is sent."""
    event_id = _id(user_id, generation_id, kind)
    changes = {"value": value, "result_id": result_id, "comment": comment}
    insert = insert_into(feedback, connection.dialect.name == "sqlite").values(
        id=event_id, user_id=user_id, generation_id=generation_id, kind=kind, created_at=utc_now(), **changes
    )
    new = insert.excluded
    kept = {name: sa.func.coalesce(new[name], _f[name]) for name in ("result_id", "comment")}
    at = sa.case((_f.value.is_distinct_from(new.value), new.created_at), else_=_f.created_at)
    update = {"value": new.value, "created_at": at, **kept}
    await connection.execute(insert.on_conflict_do_update(index_elements=["id"], set_=update))


async def remove(connection: AsyncConnection, user_id: str, generation_id: str, kind: Kind) -> None:
    await connection.execute(sa.delete(feedback).where(_f.id == _id(user_id, generation_id, kind)))


def write_favorite(user_id: str, generation_id: str, is_favorite: bool) -> AlsoWrite:
    """The event beside a favourite of the gallery, in its transaction."""

    async def write(connection: AsyncConnection) -> None:
        if is_favorite:
            await put(connection, user_id, generation_id, "favorite")
        else:
            await remove(connection, user_id, generation_id, "favorite")

    return write


def _id(user_id: str, generation_id: str, kind: str) -> str:
    return hashlib.sha256(f"{user_id}\0{generation_id}\0{kind}".encode()).hexdigest()[:32]


async def give(
    database: Database,
    user_id: str,
    generation_id: str,
    kind: Kind,
    is_set: bool = True,
    value: float | None = None,
    result_id: str | None = None,
    comment: str | None = None,
) -> None:
    """Records or takes back (``is_set`` False) what ``user_id`` says of one of the user's own generations.

    A rating and a favourite become the generation's, too. Raises NotFound for another user's generation, or a result
    that is not of it.
    """
    async with database.write() as connection:
        owned = await connection.scalar(
            sa.select(_g.id).where(_g.id == generation_id, _g.user_id == user_id).with_for_update()
        )
        if owned is None:
            raise NotFound("there is no such generation", "generationId")
        if result_id is not None:
            there = sa.select(results.c.id).where(results.c.id == result_id, results.c.generation_id == generation_id)
            if await connection.scalar(there) is None:
                raise NotFound("there is no such result of this generation", "resultId")
        if is_set:
            await put(connection, user_id, generation_id, kind, value, result_id, comment)
        else:
            await remove(connection, user_id, generation_id, kind)
        columns: dict[str, dict[str, Any]] = {"rate": {"rating": value}, "favorite": {"favorite": is_set}}
        own = columns.get(kind, {})
        if own:
            await connection.execute(sa.update(generations).where(_g.id == generation_id).values(**own))


async def state_of(database: Database, user_id: str, generation_id: str) -> dict[str, Any]:
    """What the user has said of a generation, by kind."""
    query = sa.select(_f.kind, _f.value, _f.comment).where(_f.user_id == user_id, _f.generation_id == generation_id)
    async with database.read() as connection:
        return {row.kind: {"value": row.value, "comment": row.comment} for row in await connection.execute(query)}


_SAMPLER = _g.details["parameters"]["sampler"].as_string()
_CONTEXT = (_g.id, _g.user_id, _g.model, _SAMPLER.label("sampler"), _g.prompt)


_DRAWN = (_g.status == COMPLETED, _g.kind == "illustrate")
"""Generations that models and styles are learned from."""


async def interactions(database: Database, user_id: str, no_interaction_s: float) -> list[Interaction]:
    """The newest of ``user_id``, the newest first."""
    said = (
        sa.select(*_CONTEXT, _f.kind, _f.value, _f.created_at.label("at"))
        .join(generations, _g.id == _f.generation_id)
        .where(_f.user_id == user_id, *_DRAWN)
        .order_by(_f.created_at.desc(), _f.id)
        .limit(MAX_INTERACTIONS)
    )
    silent = (
        sa.select(*_CONTEXT, _g.completed_at.label("at"))
        .where(
            _g.user_id == user_id,
            *_DRAWN,
            ~_g.favorite,
            _g.completed_at < utc_now() - timedelta(seconds=no_interaction_s),
            ~sa.exists().where(_f.generation_id == _g.id),
        )
        .order_by(_g.created_at.desc())
        .limit(MAX_INTERACTIONS)
    )
    async with database.read() as connection:
        if (forgotten_at := (await read_own_settings(connection, user_id)).forgotten_at) is not None:
            silent = silent.where(_g.completed_at > forgotten_at)
        found = [_said(row) for row in await connection.execute(said)]
        found += [_silent(row) for row in await connection.execute(silent)]
    return sorted(found, key=lambda one: one.at, reverse=True)[:MAX_INTERACTIONS]


async def population(database: Database) -> list[Interaction]:
    """The newest feedback of all users, the newest first: at most `MAX_OF_ONE_USER` events of a user."""
    recent = sa.func.row_number().over(partition_by=_f.user_id, order_by=(_f.created_at.desc(), _f.id))
    each = (
        sa.select(_f.id, recent.label("place")).join(generations, _g.id == _f.generation_id).where(*_DRAWN).subquery()
    )
    query = (
        sa.select(*_CONTEXT, _f.kind, _f.value, _f.created_at.label("at"))
        .join(generations, _g.id == _f.generation_id)
        .join(each, each.c.id == _f.id)
        .where(each.c.place <= MAX_OF_ONE_USER)
        .order_by(_f.created_at.desc(), _f.id)
        .limit(MAX_POPULATION)
    )
    async with database.read() as connection:
        return [_said(row) for row in await connection.execute(query)]


def best_of_each(found: Sequence[Interaction]) -> list[Interaction]:
    """Of each user and generation the best reward alone, the newest first."""
    best: dict[tuple[str, str], Interaction] = {}
    for one in found:
        key = (one.user_id, one.generation_id)
        if key not in best or one.reward > best[key].reward:
            best[key] = one
    return sorted(best.values(), key=lambda one: one.at, reverse=True)


def by_user(found: Sequence[Interaction]) -> dict[str, list[Interaction]]:
    grouped: dict[str, list[Interaction]] = {}
    for one in found:
        grouped.setdefault(one.user_id, []).append(one)
    return grouped


def _said(row: Any) -> Interaction:
    reward = reward_of(row.kind, row.value) if row.kind == "rate" or row.kind in REWARDS else 0.0
    return Interaction(row.user_id, row.id, row.kind, reward, row.model, row.sampler, row.prompt, row.at)


def _silent(row: Any) -> Interaction:
    return Interaction(row.user_id, row.id, SILENT, NO_INTERACTION, row.model, row.sampler, row.prompt, row.at)


async def counts(database: Database, user_id: str) -> dict[str, Any]:
    """Of `GET /api/feedback/stats`: events by kind, and the mean of the ratings."""
    query = (
        sa.select(_f.kind, sa.func.count().label("total"), sa.func.avg(_f.value).label("mean"))
        .where(_f.user_id == user_id)
        .group_by(_f.kind)
    )
    async with database.read() as connection:
        rows = (await connection.execute(query)).all()
        made = await connection.scalar(sa.select(sa.func.count()).where(_g.user_id == user_id, *_DRAWN))
    by_kind = {row.kind: int(row.total) for row in rows}
    mean = next((float(row.mean) for row in rows if row.kind == "rate" and row.mean is not None), None)
    return {"by_kind": by_kind, "mean_stars": mean, "generations": int(made or 0)}


async def forget(database: Database, user_id: str) -> int:
    """Deletes all feedback of ``user_id``; the number of events. Ratings of the user's pictures are removed too;
    favourites are the gallery's, and stay. The time is kept: drawings from before it are no "no interaction"."""
    async with database.write() as connection:
        deleted = (await connection.execute(sa.delete(feedback).where(_f.user_id == user_id))).rowcount
        await connection.execute(sa.update(generations).where(_g.user_id == user_id).values(rating=None))
        await write_own_settings(connection, user_id, OwnSettings(forgotten_at=utc_now()))
    return deleted


EVENTS_A_READ = 500


async def events(database: Database, user_id: str) -> AsyncGenerator[dict[str, Any], None]:
    """All columns of all events of ``user_id``, the oldest first, with the drawing that each is of."""
    after: tuple[datetime, str] | None = None
    query = (
        sa.select(*_CONTEXT, _f.id.label("event_id"), _f.kind, _f.value, _f.comment, _f.result_id,
                  _f.created_at.label("at"))
        .join(generations, _g.id == _f.generation_id)
        .where(_f.user_id == user_id)
        .order_by(_f.created_at, _f.id)
        .limit(EVENTS_A_READ)
    )  # fmt: skip
    while True:
        page = query
        if after is not None:
            time, event_id = after
            page = query.where(sa.or_(_f.created_at > time, sa.and_(_f.created_at == time, _f.id > event_id)))
        async with database.read() as connection:
            rows = (await connection.execute(page)).all()
        for row in rows:
            yield document_of(_said(row), row.value, row.comment, row.result_id)
        if len(rows) < EVENTS_A_READ:
            return
        after = (rows[-1].at, rows[-1].event_id)


def document_of(
    one: Interaction, value: float | None = None, comment: str | None = None, result_id: str | None = None
) -> dict[str, Any]:
    """As it is exported."""
    return {
        "generationId": one.generation_id, "kind": one.kind, "reward": one.reward, "model": one.model,
        "sampler": one.sampler, "prompt": one.prompt, "at": one.at.isoformat(), "value": value, "comment": comment,
        "resultId": result_id,
    }  # fmt: skip


def newest_prompts(found: Sequence[Interaction], most: int) -> list[str]:
    """Distinct prompts of positive interactions."""
    return list(dict.fromkeys(one.prompt for one in found if one.reward > 0 and one.prompt))[:most]
