"""Requests of the direct doors, written down once they are over, in the tables where jobs are, too."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from serve.ensembles.requests import File, JobRequest, Outcome
from serve.errors import AtelierError, EngineFailure, error_from_record
from serve.jobs.queue.insertion import model_of
from serve.jobs.recording import ended, measurement, put_results
from serve.jobs.worker.leases import error_details
from serve.releases.experiments.exposures import Exposure, expose
from serve.state import State
from serve.state.job_states import COMPLETED, FAILED
from serve.state.objects import Stored
from serve.state.tables import generations, inputs, measurements, results, utc_now

_GENERATION, _INPUTS, _MEASUREMENT = sa.insert(generations), sa.insert(inputs), sa.insert(measurements)

_NEWEST = 16
_LATELY = (
    sa.select(generations.c.id, generations.c.parameters)
    .where(
        generations.c.user_id == sa.bindparam("user_id"),
        generations.c.kind == sa.bindparam("kind"),
        generations.c.direct,
        generations.c.status == COMPLETED,
        generations.c.created_at >= sa.bindparam("began"),
        generations.c.completed_at >= sa.bindparam("since"),
    )
    .order_by(generations.c.created_at.desc(), generations.c.seq.desc())
    .limit(_NEWEST)
)


@dataclass(frozen=True)
class Entry:
    """``request`` as it was done, its seed among it."""

    generation_id: str
    user_id: str
    request: JobRequest
    began_at: datetime = field(default_factory=utc_now)
    exposures: Sequence[Exposure] = ()


@dataclass(frozen=True, eq=False)
class Kept:
    """What a generation came to, read again; ``ids`` of the results in the order of the files."""

    outcome: Outcome
    ids: Sequence[str]


async def write_done(
    connection: AsyncConnection,
    entry: Entry,
    outcome: Outcome,
    stored: Sequence[Stored],
    made_from: Collection[str],
    took_s: float,
    *,
    cached: bool = False,
) -> list[str]:
    """The ids of the results. ``made_from`` names objects."""
    over = {**ended(outcome, cached=cached), "generation_time_s": took_s}
    await connection.execute(_GENERATION, {**_row(entry), "status": COMPLETED, **over})
    ids = await put_results(connection, entry.generation_id, outcome, stored)
    used = [{"generation_id": entry.generation_id, "object": name} for name in sorted(set(made_from))]
    if used:
        await connection.execute(_INPUTS, used)
    cost = {} if cached else outcome.cost
    await connection.execute(_MEASUREMENT, _measured(entry, outcome.model, took_s, cost, cached=cached))
    await expose(connection, entry.exposures, entry.generation_id)
    return ids


async def write_undone(
    connection: AsyncConnection, entry: Entry, status: str, error: AtelierError | None, took_s: float
) -> None:
    """``status``: failed with ``error``, or cancelled."""
    told = error_details(error) if error is not None else None
    over = {"status": status, "error": told, "completed_at": utc_now(), "generation_time_s": took_s}
    await connection.execute(generations.insert(), {**_row(entry), "model": model_of(entry.request), **over})
    if error is not None:
        row = _measured(entry, model_of(entry.request), took_s, {}, error=str(error))
        await connection.execute(_MEASUREMENT, row)
    await expose(connection, entry.exposures, entry.generation_id)


async def recent(
    connection: AsyncConnection, user_id: str, kind: str, within: timedelta, longest: timedelta
) -> Sequence[sa.Row[Any, Any]]:
    """``id`` and ``parameters`` of the user's newest direct generations that were completed ``within`` that time.

    None takes longer than ``longest``: all that began before is not looked through.
    """
    since = utc_now() - within
    newest = {"user_id": user_id, "kind": kind, "since": since, "began": since - longest}
    return (await connection.execute(_LATELY, newest)).all()


async def read_again(state: State, generation_id: str) -> Kept | None:
    """None when nothing came of it. Raises what it ended with, and NotFound when a file is not kept any more."""
    g, r = generations.c, results.c
    columns = (g.status, g.error, g.details, g.model, g.generation_time_s)
    kept = sa.select(r.id, r.object, r.media_type, r.width, r.height, r.seed).where(r.generation_id == generation_id)
    async with state.database.read() as connection:
        row = (await connection.execute(sa.select(*columns).where(g.id == generation_id))).one_or_none()
        if row is None or row.status not in (COMPLETED, FAILED):
            return None
        if row.status == FAILED:
            raise error_of(row.error)
        rows = (await connection.execute(kept.order_by(r.place))).all()
    files = [File(await state.objects.get(one.object), one.media_type, one.width, one.height, one.seed) for one in rows]
    return Kept(Outcome(files, row.details, row.model, row.generation_time_s or 0.0), [one.id for one in rows])


def error_of(told: Mapping[str, Any]) -> AtelierError:
    """The inverse of `serve.jobs.worker.leases.error_details`."""
    kind = next((known for known in _below(AtelierError) if known.__name__ == told["type"]), EngineFailure)
    return error_from_record(kind, told)


def _below(kind: type[AtelierError]) -> Iterator[type[AtelierError]]:
    for below in kind.__subclasses__():
        yield below
        yield from _below(below)


def _measured(entry: Entry, model: str | None, took_s: float, cost: Mapping[str, float], **over: Any) -> dict[str, Any]:
    asked = entry.request
    return measurement(entry.generation_id, entry.user_id, asked.kind, asked.prompt, model, took_s, cost, **over)


def _row(entry: Entry) -> dict[str, Any]:
    request = entry.request
    return {
        "id": entry.generation_id, "user_id": entry.user_id, "kind": request.kind, "direct": True,
        "prompt": request.prompt, "parameters": request.to_json(), "created_at": entry.began_at,
        "started_at": entry.began_at,
    }  # fmt: skip
