"""Views of jobs: status, results, position, estimated time; and of lanes."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from serve.errors import NotFound
from serve.jobs.queue.fair_order import Positions, ahead
from serve.jobs.queue.generation_queue import Submission
from serve.state.cursors import NEWEST, check_limit
from serve.state.database import Database
from serve.state.job_states import COMPLETED, PAUSED, PENDING, PROCESSING
from serve.state.tables import generations, jobs, lanes, measurements, results, utc_now, workers

MAX_JOBS_PER_PAGE = 100
"""Of one page."""

_RECENT = 20
"""Generations whose mean time is the estimate for the next."""
_PACE_MAX_AGE_S = 2.0
"""How long that mean and the number of slots are cached."""
_IDS_PER_QUERY = 500


@dataclass(frozen=True)
class ResultView:
    """``id`` is the one of `GET /v1/results/{id}`."""

    id: str
    place: int
    media_type: str
    width: int | None
    height: int | None
    bytes: int
    seed: int | None
    score: float | None
    model: str | None
    created_at: datetime


@dataclass(frozen=True)
class JobView:
    """``position`` is 1 for the job that starts next, None for one that does not wait; ``estimated_s`` is the time to
    its end. Beyond a few hundred, the position may be a second old.

    ``stage`` has ``step``, ``steps`` and, once there is one, ``preview``: the name of an object.
    """

    id: str
    user_id: str
    kind: str
    lane: str
    status: str
    priority: int
    prompt: str
    parameters: Mapping[str, Any]
    progress: float
    stage: Mapping[str, Any]
    attempt: int
    events: int
    batch_id: str | None
    retried_from: str | None
    cached: bool
    error: Mapping[str, Any] | None
    details: Mapping[str, Any] | None
    generation_time_s: float | None
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    wish: str | None = None
    expires_at: datetime | None = None
    position: int | None = None
    estimated_s: float | None = None
    results: Sequence[ResultView] = field(default_factory=tuple)


@dataclass(frozen=True)
class JobStatus:
    """The most frequently requested part of `JobView`."""

    id: str
    status: str
    position: int | None
    error: Mapping[str, Any] | None


@dataclass(frozen=True)
class JobFilters:
    """Filters of a page; None matches everything."""

    user_id: str | None = None
    status: str | None = None
    kind: str | None = None
    batch_id: str | None = None

    def conditions(self) -> list[sa.ColumnElement[bool]]:
        return [_G[name] == value for name, value in vars(self).items() if value is not None]


@dataclass(frozen=True)
class LaneView:
    """``slots``: jobs that all workers run concurrently. ``counts``: unfinished jobs by status."""

    paused: bool
    slots: int
    counts: Mapping[str, int]


class JobViews:
    """For one event loop. Every method raises StateUnavailable; with an id, NotFound."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._paces: dict[str, tuple[float, float, int]] = {}
        # By lane: time of the query, mean seconds per job, slots.
        self._positions = Positions()

    async def get(self, job_id: str) -> JobView:
        async with self._database.read() as connection:
            return await self._view(connection, await _fetch_job(connection, _WITH_POSITION, job_id))

    async def status_of(self, job_id: str) -> JobStatus:
        async with self._database.read() as connection:
            row = await _fetch_job(connection, _STATUS, job_id)
            return JobStatus(row.id, row.status, await self._position(connection, row), row.error)

    async def of_submission(self, added: Submission) -> JobView:
        """The view of the first job, as `get`, usually without a query."""
        if added.row is None or added.place is None or added.place.ahead is None:
            return await self.get(added.ids[0])
        place, counted = added.place, added.place.ahead
        jobs_ahead = self._positions.position_of_new(place.lane, place.rank, place.round, counted)
        pace = self._cached_pace(place.lane)
        if jobs_ahead is None or pace is None:
            return await self.get(added.ids[0])
        known: dict[str, Any] = {name: added.row.get(name) for name in _FIELDS}
        known |= {"lane": place.lane, "progress": 0.0, "attempt": 0, "events": 1, "cached": False}
        position = 1 + jobs_ahead
        return JobView(**known, stage={}, position=position, estimated_s=_estimated_s(position, *pace))

    async def of_batch(self, batch_id: str) -> Sequence[JobView]:
        """In the order of submission. Raises NotFound for a batch that has no jobs, or does not exist."""
        async with self._database.read() as connection:
            query = _QUERY.where(generations.c.batch_id == batch_id).order_by(generations.c.seq)
            rows = (await connection.execute(query)).all()
            if not rows:
                raise NotFound("there is no such batch", "id")
            return await _to_views(connection, rows)

    async def page(
        self, filters: JobFilters, cursor: str | None = None, limit: int = 20
    ) -> tuple[Sequence[JobView], str | None]:
        """The newest first, without positions, and the cursor of the next page; None at the end.

        Raises InvalidRequest naming ``cursor`` or ``limit``.
        """
        check_limit(limit, MAX_JOBS_PER_PAGE)
        query = _QUERY.where(*filters.conditions(), *([NEWEST.after(cursor)] if cursor is not None else []))
        async with self._database.read() as connection:
            rows = (await connection.execute(query.order_by(*NEWEST.order_by).limit(limit + 1))).all()
            shown = await _to_views(connection, rows[:limit])
        return shown, NEWEST.cursor(rows[limit - 1]) if len(rows) > limit else None

    async def lanes(self, names: Sequence[str]) -> dict[str, LaneView]:
        """Those of ``names``, and every other that has jobs."""
        async with self._database.read() as connection:
            counts = await _open_counts(connection)
            paused = set((await connection.scalars(sa.select(lanes.c.lane).where(lanes.c.paused))).all())
            slots = (await connection.scalars(sa.select(workers.c.slots))).all()
        return {
            lane: LaneView(lane in paused, sum(row.get(lane, 0) for row in slots), counts.get(lane, {}))
            for lane in dict.fromkeys([*names, *counts])
        }

    async def _view(self, connection: AsyncConnection, row: sa.Row[Any]) -> JobView:
        (found,) = await _to_views(connection, [row])
        if row.status not in (PENDING, PROCESSING):
            return found
        position = await self._position(connection, row)
        return replace(found, position=position, estimated_s=await self._estimate(connection, row, position))

    async def _position(self, connection: AsyncConnection, row: sa.Row[Any]) -> int | None:
        jobs_ahead = await self._positions.ahead_of(connection, row)
        return None if jobs_ahead is None else 1 + jobs_ahead

    async def _estimate(self, connection: AsyncConnection, row: sa.Row[Any], position: int | None) -> float | None:
        """From the mean time of recent jobs of the lane and its slots; None before there are any."""
        mean_s, slots = await self._pace(connection, row.lane)
        if mean_s == 0.0 or position is not None:
            return _estimated_s(position, mean_s, slots)
        if row.progress > 0 and row.started_at is not None:
            so_far: float = (utc_now() - row.started_at).total_seconds()
            return max(0.0, so_far * (1 / float(row.progress) - 1))
        return mean_s

    async def _pace(self, connection: AsyncConnection, lane: str) -> tuple[float, int]:
        if (known := self._cached_pace(lane)) is not None:
            return known
        m = measurements.c
        recent = sa.select(m.generation_time_s).where(m.kind == lane, m.success, ~m.cached)
        recent_ones = recent.order_by(m.seq.desc()).limit(_RECENT).subquery()
        mean_s = float(await connection.scalar(sa.select(sa.func.avg(recent_ones.c.generation_time_s))) or 0.0)
        slots = sum(row.get(lane, 0) for row in (await connection.scalars(sa.select(workers.c.slots))).all())
        self._paces[lane] = (time.monotonic(), mean_s, slots)
        return mean_s, slots

    def _cached_pace(self, lane: str) -> tuple[float, int] | None:
        read_at, mean_s, slots = self._paces.get(lane, (-math.inf, 0.0, 0))
        return (mean_s, slots) if time.monotonic() - read_at <= _PACE_MAX_AGE_S else None


def _estimated_s(position: int | None, mean_s: float, slots: int) -> float | None:
    """Seconds until the job is done, if jobs take ``mean_s``; None while that is unknown."""
    return math.ceil(position / max(1, slots)) * mean_s if position is not None and mean_s else None


_FIELDS = (
    "id", "user_id", "kind", "lane", "status", "priority", "prompt", "parameters", "progress", "attempt", "events",
    "batch_id", "retried_from", "cached", "error", "details", "generation_time_s", "created_at", "started_at",
    "completed_at", "wish", "expires_at",
)  # fmt: skip
_G, _J = generations.c, jobs.c
_QUERY: sa.Select[Any] = sa.select(
    _G.id, _G.user_id, _G.kind, _J.lane, _J.status, _G.priority, _G.prompt, _G.parameters, _J.progress, _J.attempt,
    _J.events, _G.batch_id, _G.retried_from, _G.cached, _G.error, _G.details, _G.generation_time_s, _G.created_at,
    _G.started_at, _G.completed_at, _J.wish, _J.expires_at, _J.stage, _J.rank, _J.round, _J.seq,
).join(jobs, _J.generation_id == _G.id)  # fmt: skip


_SELECTED = _J.generation_id == sa.bindparam("id")
_WITH_POSITION = _QUERY.add_columns(ahead().label("ahead")).where(_SELECTED)
_STATUS: sa.Select[Any] = (
    sa.select(_G.id, _J.status, _G.error, _J.lane, _J.rank, _J.round, _J.seq, ahead().label("ahead"))
    .join(jobs, _J.generation_id == _G.id)
    .where(_SELECTED)
)


async def _fetch_job(connection: AsyncConnection, query: sa.Select[Any], job_id: str) -> sa.Row[Any]:
    row: sa.Row[Any] | None = (await connection.execute(query, {"id": job_id})).one_or_none()
    if row is None:
        raise NotFound("there is no such job", "id")
    return row


async def _open_counts(connection: AsyncConnection) -> dict[str, dict[str, int]]:
    query = sa.select(_J.lane, _J.status, sa.func.count().label("count"))
    query = query.where(_J.status.in_([PENDING, PROCESSING, PAUSED])).group_by(_J.lane, _J.status)
    found: dict[str, dict[str, int]] = {}
    for row in await connection.execute(query):
        found.setdefault(row.lane, {})[row.status] = row[2]
    return found


async def _to_views(connection: AsyncConnection, rows: Sequence[sa.Row[Any]]) -> list[JobView]:
    """Without what depends on other jobs."""
    completed = [row.id for row in rows if row.status == COMPLETED]
    results_by_job = await _results_of(connection, completed) if completed else {}
    return [
        JobView(
            **{name: getattr(row, name) for name in _FIELDS},
            stage=row.stage or {},
            results=tuple(results_by_job.get(row.id, ())),
        )
        for row in rows
    ]


async def _results_of(connection: AsyncConnection, ids: Sequence[str]) -> dict[str, list[ResultView]]:
    """By generation, in their order."""
    columns = [results.c[name] for name in ResultView.__dataclass_fields__]
    query = sa.select(results.c.generation_id, *columns).order_by(results.c.generation_id, results.c.place)
    found: dict[str, list[ResultView]] = {}
    for start in range(0, len(ids), _IDS_PER_QUERY):
        some = ids[start : start + _IDS_PER_QUERY]
        for generation_id, *values in await connection.execute(query.where(results.c.generation_id.in_(some))):
            found.setdefault(generation_id, []).append(ResultView(*values))
    return found
