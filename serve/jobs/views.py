"""Jobs as others see them: where they stand, what they came to, what is ahead of them."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from serve.errors import NotFound
from serve.jobs.states import COMPLETED, PENDING, PROCESSING
from serve.state.database import Database
from serve.state.tables import generations, jobs, measurements, results, utc_now, workers

_RECENT = 20
"""Generations whose mean time stands for the next ones."""
_REMEMBERED_S = 2.0
"""How long that mean and the workers' slots are taken for true."""


@dataclass(frozen=True)
class ResultView:
    """``id`` is what `GET /v1/results/{id}` takes."""

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
    """``position`` is 1 for the job that starts next, None for one that does not wait; ``estimated_s`` to its end.

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
    position: int | None = None
    estimated_s: float | None = None
    results: Sequence[ResultView] = field(default_factory=tuple)


class JobViews:
    """For one event loop. Every method raises StateUnavailable; with an id, NotFound."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._paces: dict[str, tuple[float, float, int]] = {}
        """By lane: when it was looked at, seconds for a job, slots."""

    async def get(self, job_id: str) -> JobView:
        async with self._database.read() as connection:
            row = (await connection.execute(_QUERY.where(jobs.c.generation_id == job_id))).one_or_none()
            if row is None:
                raise NotFound("there is no such job", "id")
            return await self._view(connection, row)

    async def of_batch(self, batch_id: str) -> Sequence[JobView]:
        """In the order in which they were asked for. Raises NotFound for a batch that has no jobs, or never was."""
        async with self._database.read() as connection:
            query = _QUERY.where(generations.c.batch_id == batch_id).order_by(generations.c.seq)
            rows = (await connection.execute(query)).all()
            if not rows:
                raise NotFound("there is no such batch", "id")
            return [await self._view(connection, row, placed=False) for row in rows]

    async def waiting(self) -> dict[str, dict[str, int]]:
        """How many jobs of each lane are in each status that is not the end."""
        query = sa.select(jobs.c.lane, jobs.c.status, sa.func.count().label("count"))
        query = query.where(jobs.c.status.in_([PENDING, PROCESSING, "paused"])).group_by(jobs.c.lane, jobs.c.status)
        found: dict[str, dict[str, int]] = {}
        async with self._database.read() as connection:
            for row in await connection.execute(query):
                found.setdefault(row.lane, {})[row.status] = row[2]
        return found

    async def _view(self, connection: AsyncConnection, row: sa.Row[Any], placed: bool = True) -> JobView:
        position: int | None = None
        estimated_s: float | None = None
        kept: Sequence[ResultView] = ()
        if placed and row.status == PENDING:
            position = 1 + await _ahead(connection, row)
        if placed and row.status in (PENDING, PROCESSING):
            estimated_s = await self._estimate(connection, row, position)
        if row.status == COMPLETED:
            kept = await results_of(connection, [row.id])
        fields = {name: getattr(row, name) for name in _FIELDS}
        stage = row.stage or {}
        return JobView(**fields, stage=stage, position=position, estimated_s=estimated_s, results=tuple(kept))

    async def _estimate(self, connection: AsyncConnection, row: sa.Row[Any], position: int | None) -> float | None:
        """From the mean time of recent jobs of the lane and its slots; None before there are any."""
        took_s, slots = await self._pace(connection, row.lane)
        if took_s == 0.0:
            return None
        if position is not None:
            return math.ceil(position / max(1, slots)) * took_s
        if row.progress > 0 and row.started_at is not None:
            so_far: float = (utc_now() - row.started_at).total_seconds()
            return max(0.0, so_far * (1 / float(row.progress) - 1))
        return took_s

    async def _pace(self, connection: AsyncConnection, lane: str) -> tuple[float, int]:
        looked_at, took_s, slots = self._paces.get(lane, (-math.inf, 0.0, 0))
        if time.monotonic() - looked_at > _REMEMBERED_S:
            m = measurements.c
            recent = sa.select(m.generation_time_s).where(m.kind == lane, m.success, ~m.cached)
            recent_ones = recent.order_by(m.seq.desc()).limit(_RECENT).subquery()
            took_s = float(await connection.scalar(sa.select(sa.func.avg(recent_ones.c.generation_time_s))) or 0.0)
            slots = sum(row.get(lane, 0) for row in (await connection.scalars(sa.select(workers.c.slots))).all())
            self._paces[lane] = (time.monotonic(), took_s, slots)
        return took_s, slots


_FIELDS = (
    "id", "user_id", "kind", "lane", "status", "priority", "prompt", "parameters", "progress", "attempt", "events",
    "batch_id", "retried_from", "cached", "error", "details", "generation_time_s", "created_at", "started_at",
    "completed_at", "wish",
)  # fmt: skip
_G, _J = generations.c, jobs.c
_QUERY: sa.Select[Any] = sa.select(
    _G.id, _G.user_id, _G.kind, _J.lane, _J.status, _G.priority, _G.prompt, _G.parameters, _J.progress, _J.attempt,
    _J.events, _G.batch_id, _G.retried_from, _G.cached, _G.error, _G.details, _G.generation_time_s, _G.created_at,
    _G.started_at, _G.completed_at, _J.wish, _J.stage, _J.rank, _J.round, _J.seq,
).join(jobs, _J.generation_id == _G.id)  # fmt: skip


async def _ahead(connection: AsyncConnection, row: sa.Row[Any]) -> int:
    """How many jobs of the lane start before this one, as the queue stands."""
    waits = (_J.lane == row.lane, _J.status == PENDING)
    here = sa.tuple_(_J.rank, _J.round, _J.seq) < sa.tuple_(row.rank, row.round, row.seq)
    return await connection.scalar(sa.select(sa.func.count()).select_from(jobs).where(*waits, here)) or 0


async def results_of(connection: AsyncConnection, generation_ids: Sequence[str]) -> list[ResultView]:
    """Of those generations, each one's in their order."""
    r = results.c
    query = sa.select(
        r.id, r.place, r.media_type, r.width, r.height, r.bytes, r.seed, r.score, r.model, r.created_at
    ).where(r.generation_id.in_(generation_ids))
    rows = (await connection.execute(query.order_by(r.generation_id, r.place))).all()
    return [ResultView(**row._mapping) for row in rows]
