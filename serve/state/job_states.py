"""The states of a job, and the one way from one to another.

    pending ──> processing ──> completed | failed
       ^  │         │
       │  └─> paused <┘           cancelled: from pending, paused and processing
       └──── paused, processing (another attempt, or its worker stopped)

The names are C-044's, with ``cancelled`` and ``paused``. A transition, its event, the generation's status and the
webhooks that it triggers are one transaction.
"""

from __future__ import annotations

import functools
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from serve.state.tables import checkpoints, deliveries, events, generations, jobs, utc_now

ANONYMOUS = "anonymous"
"""The user of requests without a key."""

PENDING, PROCESSING, PAUSED = "pending", "processing", "paused"
COMPLETED, FAILED, CANCELLED = "completed", "failed", "cancelled"
TERMINAL = frozenset([COMPLETED, FAILED, CANCELLED])
STATUSES = (PENDING, PROCESSING, PAUSED, COMPLETED, FAILED, CANCELLED)
KINDS = ("queued", "started", "progress", "preview", "retrying", "paused", "resumed", "moved", *STATUSES[3:])
"""Of events. The last three end their job."""

CANCEL, PAUSE = "cancel", "pause"
"""Requested changes of a job that a worker holds, applied when the worker sees them."""

StreamItem = Callable[[sa.Row[Any]], Mapping[str, Any]]

_RETURNED = (
    jobs.c.generation_id,
    jobs.c.events,
    jobs.c.status,
    jobs.c.attempt,
    jobs.c.progress,
    jobs.c.stage,
    jobs.c.webhook_url,
    jobs.c.webhook_events,
    jobs.c.context,
)


def new_id() -> str:
    """128 random bits in hex, not guessable."""
    return secrets.token_hex(16)


async def transition(
    connection: AsyncConnection,
    conditions: Sequence[sa.ColumnElement[bool]],
    event: str,
    event_data: Mapping[str, Any] | StreamItem | None = None,
    generation: Mapping[str, Any] | None = None,
    **values: Any,
) -> Sequence[sa.Row[Any]]:
    """Every job that matches ``conditions`` gets ``values`` and an event with ``event_data``; returns the updated rows.

    ``generation`` is written to the generation's row, as is a new status.
    """
    statement = update_jobs(*conditions).values(values)
    kept = dict(generation or {}) | ({"status": values["status"]} if "status" in values else {})
    return await apply_update(connection, statement, {}, event, event_data, kept)


def update_jobs(*conditions: sa.ColumnElement[bool]) -> sa.Update:
    """The statement for `apply_update`, without values: every matching job gets another event."""
    return sa.update(jobs).where(*conditions).values(events=jobs.c.events + 1).returning(*_RETURNED)


async def apply_update(
    connection: AsyncConnection,
    statement: Any,
    parameters: Mapping[str, Any],
    event: str,
    event_data: Mapping[str, Any] | StreamItem | None = None,
    generation: Mapping[str, Any] | None = None,
) -> Sequence[sa.Row[Any]]:
    """As `transition`, with a prepared ``statement`` and all values of the generation's row: building a statement takes
    as long as running it."""
    changed = (await connection.execute(statement, parameters)).all()
    if not changed:
        return changed
    now = utc_now()
    await connection.execute(_EVENTS, [_event(row, event, event_data, now) for row in changed])
    ids = [row.generation_id for row in changed]
    if generation:
        new = {f"new_{name}": value for name, value in generation.items()}
        await connection.execute(_update_generations(tuple(generation)), {"ids": ids, **new})
    if generation and generation.get("status") in TERMINAL:
        await connection.execute(sa.delete(checkpoints).where(checkpoints.c.generation_id.in_(ids)))
    delivery_rows = [
        _delivery(row, event, event_data, now) for row in changed if row.webhook_url and event in row.webhook_events
    ]
    if delivery_rows:
        await connection.execute(deliveries.insert(), delivery_rows)
    return changed


_EVENTS = sa.insert(events)


@functools.cache
def _update_generations(names: tuple[str, ...]) -> sa.Update:
    """Sets the columns ``names`` of ``ids`` to parameters ``new_`` plus the column; ``started_at`` is set once."""
    new: dict[str, Any] = {name: sa.bindparam(f"new_{name}", type_=generations.c[name].type) for name in names}
    if "started_at" in new:
        new["started_at"] = sa.func.coalesce(generations.c.started_at, new["started_at"])
    return sa.update(generations).where(generations.c.id.in_(sa.bindparam("ids", expanding=True))).values(new)


def _event_data(row: sa.Row[Any], event_data: Mapping[str, Any] | StreamItem | None) -> dict[str, Any]:
    """Every event has the job's status, so that the newest one suffices."""
    status = {"status": row.status, "progress": row.progress, "attempt": row.attempt, **(row.stage or {})}
    return {**status, **(event_data(row) if callable(event_data) else event_data or {})}


def _event(row: sa.Row[Any], kind: str, event_data: Mapping[str, Any] | StreamItem | None, now: Any) -> dict[str, Any]:
    data = _event_data(row, event_data)
    return {"generation_id": row.generation_id, "n": row.events, "kind": kind, "data": data, "created_at": now}


def _delivery(
    row: sa.Row[Any], kind: str, event_data: Mapping[str, Any] | StreamItem | None, now: Any
) -> dict[str, Any]:
    return {
        "id": new_id(),
        "generation_id": row.generation_id,
        "event": row.events,
        "url": row.webhook_url,
        "host": re.sub(r"^[^/]*//|[/?#].*$", "", row.webhook_url).lower(),
        "kind": kind,
        "body": {"id": row.generation_id, "event": row.events, **_event_data(row, event_data)},
        "context": row.context,
        "status": PENDING,
        "due_at": now,
        "created_at": now,
    }


LastSeen = dict[str, tuple[int, float]]
"""By worker id: its heartbeat count, and since when it has had that count."""


def updated(last_seen: LastSeen, heartbeats: Mapping[str, int], now: float) -> LastSeen:
    """``last_seen`` after another query that returned ``heartbeats``; ids not among them are dropped."""
    return {
        worker_id: previous if (previous := last_seen.get(worker_id)) and previous[0] == heartbeat else (heartbeat, now)
        for worker_id, heartbeat in heartbeats.items()
    }
