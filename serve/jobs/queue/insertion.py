"""Inserts submitted jobs: the generation, the job, its first event, and its inputs; and looks up idempotency keys."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from serve.ensembles.requests import JobRequest
from serve.errors import KeyReused
from serve.jobs.queue.fair_order import QueueLimits, QueuePlace, assign_places
from serve.jobs.records import model_of
from serve.observability import tracing
from serve.state.job_states import CANCELLED, COMPLETED, FAILED, PENDING
from serve.state.tables import events, generations, inputs, insert_into, jobs, utc_now
from serve.state.tables import idempotency_keys as keys

# Built once: compiling a statement takes SQLAlchemy as long as SQLite takes to run it.
_GENERATIONS = sa.insert(generations).returning(generations.c.seq, sort_by_parameter_order=True)
_JOBS, _EVENTS, _INPUTS = sa.insert(jobs), sa.insert(events), sa.insert(inputs)


@dataclass(frozen=True)
class JobOptions:
    """Options of a submission that apply to each of its jobs."""

    user_id: str
    priority: int = 0
    webhook_url: str | None = None
    webhook_events: Sequence[str] = (COMPLETED, FAILED, CANCELLED)
    idempotency_key: str | None = None
    retried_from: str | None = None
    timeout_s: float | None = None
    """From submission to completion."""


async def insert_jobs(
    connection: AsyncConnection,
    ids: Sequence[str],
    requests: Sequence[JobRequest],
    options: JobOptions,
    batch_id: str | None,
    limits: QueueLimits,
) -> tuple[Mapping[str, Any], QueuePlace]:
    """Returns the row of the first generation, with its deadline, and the place of its job. Raises TooManyJobs."""
    now = utc_now()
    documents = [request.to_json() for request in requests]
    lanes = [request.lane for request in requests]
    context = tracing.carrier()
    places = await assign_places(connection, options.user_id, lanes, -options.priority, limits)
    rows = [
        {
            "id": job_id, "user_id": options.user_id, "kind": request.kind, "direct": False, "batch_id": batch_id,
            "retried_from": options.retried_from, "prompt": request.prompt, "model": model_of(request),
            "parameters": document, "status": PENDING, "priority": options.priority, "created_at": now,
        }
        for job_id, request, document in zip(ids, requests, documents, strict=True)
    ]  # fmt: skip
    job_rows = [
        {
            "generation_id": job_id, "user_id": options.user_id, "lane": place.lane, "status": PENDING,
            "rank": place.rank, "round": place.round, "available_at": now, "request": document, "events": 1,
            "webhook_url": options.webhook_url, "webhook_events": list(options.webhook_events), "context": context,
        }
        for job_id, place, document in zip(ids, places, documents, strict=True)
    ]  # fmt: skip
    event_data = {"status": PENDING, "progress": 0.0, "attempt": 0}
    if options.timeout_s is not None:
        expires_at = now + timedelta(seconds=options.timeout_s)
        job_rows = [{**row, "expires_at": expires_at} for row in job_rows]
    event_rows = [{"generation_id": i, "n": 1, "kind": "queued", "data": event_data, "created_at": now} for i in ids]
    if connection.dialect.name == "postgresql" and len(ids) == 1:
        rows_by_kind: dict[str, Mapping[str, Any]] = {"generation": rows[0], "job": job_rows[0], "event": event_rows[0]}
        values = {f"{kind}_{name}": value for kind, row in rows_by_kind.items() for name, value in row.items()}
        await connection.execute(_combined_insert(tuple(rows[0]), tuple(job_rows[0]), tuple(event_rows[0])), values)
    else:
        seqs = (await connection.scalars(_GENERATIONS, rows)).all()
        await connection.execute(_JOBS, [{**row, "seq": seq} for row, seq in zip(job_rows, seqs, strict=True)])
        await connection.execute(_EVENTS, event_rows)
    input_rows = [
        {"generation_id": job_id, "object": name}
        for job_id, request in zip(ids, requests, strict=True)
        for name in dict.fromkeys(request.kept_objects)
    ]
    if input_rows:
        await connection.execute(_INPUTS, input_rows)
    return {**rows[0], "expires_at": job_rows[0].get("expires_at")}, places[0]


@functools.cache
def _combined_insert(generation: tuple[str, ...], job: tuple[str, ...], event: tuple[str, ...]) -> sa.Insert:
    """Inserts the three rows of a job, given the names of their columns, in one round trip to PostgreSQL."""
    values = {name: _parameter("generation", generations, name) for name in generation}
    added = sa.insert(generations).values(values).returning(generations.c.seq).cte("added")
    of_event = sa.select(*(_parameter("event", events, name) for name in event))
    event_insert = sa.insert(events).from_select(event, of_event)
    job_values = sa.select(added.c.seq, *(_parameter("job", jobs, name) for name in job))
    return sa.insert(jobs).from_select(("seq", *job), job_values).add_cte(event_insert.cte("event"))


def _parameter(prefix: str, table: sa.Table, name: str) -> sa.BindParameter[Any]:
    return sa.bindparam(f"{prefix}_{name}", type_=table.c[name].type)


MAX_KEY = 255
"""Characters."""


async def claim(
    connection: AsyncConnection, user_id: str, key: str, body_hash: str, target: str, retention: timedelta
) -> str | None:
    """None if the key is new; it now refers to ``target``. Otherwise the existing target.

    Raises KeyReused when the key was used with another body. Keys expire after ``retention``.
    """
    same_key = (keys.c.user_id == user_id, keys.c.key == key)
    await connection.execute(sa.delete(keys).where(*same_key, keys.c.created_at < utc_now() - retention))
    row = {"user_id": user_id, "key": key, "body_hash": body_hash, "target": target, "created_at": utc_now()}
    insert = insert_into(keys, connection.dialect.name == "sqlite")
    inserted = await connection.scalar(insert.values(row).on_conflict_do_nothing().returning(keys.c.key))
    if inserted is not None:
        return None
    existing = (await connection.execute(sa.select(keys.c.body_hash, keys.c.target).where(*same_key))).one()
    if existing.body_hash != body_hash:
        raise KeyReused("stands for another request already; send a new one with a new request", "Idempotency-Key")
    existing_target: str = existing.target
    return existing_target


async def renew(connection: AsyncConnection, user_id: str, key: str, target: str) -> None:
    """Points ``key`` to a new ``target``, since the old one was deleted."""
    same_key = (keys.c.user_id == user_id, keys.c.key == key)
    await connection.execute(sa.update(keys).where(*same_key).values(target=target, created_at=utc_now()))
