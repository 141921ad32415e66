"""The rows of jobs that come in: the generation, the queue's side of it, its first event, and what it uses."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from serve.ensembles.requests import JobRequest, VectorizeRequest
from serve.jobs.queue.fair_order import Bounds, Place, places
from serve.observability import tracing
from serve.state.job_states import CANCELLED, COMPLETED, FAILED, PENDING
from serve.state.tables import events, generations, inputs, jobs, utc_now

# Made once: SQLAlchemy takes as long to look at a statement as SQLite takes to run it.
_ADDED = sa.insert(generations).returning(generations.c.seq, sort_by_parameter_order=True)
_JOBS, _EVENTS, _INPUTS = sa.insert(jobs), sa.insert(events), sa.insert(inputs)


@dataclass(frozen=True)
class Order:
    """What is asked of the queue with each job."""

    user_id: str
    priority: int = 0
    webhook_url: str | None = None
    webhook_events: Sequence[str] = (COMPLETED, FAILED, CANCELLED)
    idempotency_key: str | None = None
    retried_from: str | None = None
    timeout_s: float | None = None
    """From when it is added to its end."""


async def insert_jobs(
    connection: AsyncConnection,
    ids: Sequence[str],
    requests: Sequence[JobRequest],
    order: Order,
    batch_id: str | None,
    bounds: Bounds,
) -> tuple[Mapping[str, Any], Place]:
    """The first generation's row, with the end of its time, and its job's place. Raises TooManyJobs."""
    now = utc_now()
    asked = [request.to_json() for request in requests]
    lanes = [request.lane for request in requests]
    context = tracing.carrier()
    found = await places(connection, order.user_id, lanes, -order.priority, bounds)
    rows = [
        {
            "id": job_id, "user_id": order.user_id, "kind": request.kind, "direct": False, "batch_id": batch_id,
            "retried_from": order.retried_from, "prompt": request.prompt, "model": model_of(request),
            "parameters": document, "status": PENDING, "priority": order.priority, "created_at": now,
        }
        for job_id, request, document in zip(ids, requests, asked, strict=True)
    ]  # fmt: skip
    waiting = [
        {
            "generation_id": job_id, "user_id": order.user_id, "lane": place.lane, "status": PENDING,
            "rank": place.rank, "round": place.round, "available_at": now, "request": document, "events": 1,
            "webhook_url": order.webhook_url, "webhook_events": list(order.webhook_events), "context": context,
        }
        for job_id, place, document in zip(ids, found, asked, strict=True)
    ]  # fmt: skip
    told = {"status": PENDING, "progress": 0.0, "attempt": 0}
    if order.timeout_s is not None:
        expires_at = now + timedelta(seconds=order.timeout_s)
        waiting = [{**row, "expires_at": expires_at} for row in waiting]
    queued = [{"generation_id": i, "n": 1, "kind": "queued", "data": told, "created_at": now} for i in ids]
    if connection.dialect.name == "postgresql" and len(ids) == 1:
        made: dict[str, Mapping[str, Any]] = {"generation": rows[0], "job": waiting[0], "event": queued[0]}
        values = {f"{kind}_{name}": value for kind, row in made.items() for name, value in row.items()}
        await connection.execute(_at_once(tuple(rows[0]), tuple(waiting[0]), tuple(queued[0])), values)
    else:
        seqs = (await connection.scalars(_ADDED, rows)).all()
        await connection.execute(_JOBS, [{**row, "seq": seq} for row, seq in zip(waiting, seqs, strict=True)])
        await connection.execute(_EVENTS, queued)
    used = [
        {"generation_id": i, "object": r.image}
        for i, r in zip(ids, requests, strict=True)
        if isinstance(r, VectorizeRequest)
    ]
    if used:
        await connection.execute(_INPUTS, used)
    return {**rows[0], "expires_at": waiting[0].get("expires_at")}, found[0]


@functools.cache
def _at_once(generation: tuple[str, ...], job: tuple[str, ...], event: tuple[str, ...]) -> sa.Insert:
    """The three rows of a job, by the names of their columns, in one trip to PostgreSQL."""
    values = {name: _bound("generation", generations, name) for name in generation}
    added = sa.insert(generations).values(values).returning(generations.c.seq).cte("added")
    told = sa.insert(events).from_select(event, sa.select(*(_bound("event", events, name) for name in event)))
    of_job = sa.select(added.c.seq, *(_bound("job", jobs, name) for name in job))
    return sa.insert(jobs).from_select(("seq", *job), of_job).add_cte(told.cte("told"))


def _bound(prefix: str, table: sa.Table, name: str) -> sa.BindParameter[Any]:
    return sa.bindparam(f"{prefix}_{name}", type_=table.c[name].type)


def model_of(request: JobRequest) -> str | None:
    return None if isinstance(request, VectorizeRequest) else request.options.model
