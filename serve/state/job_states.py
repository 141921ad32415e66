"""The states of a job, and the one way from one to another.

    pending ──> processing ──> completed | failed
       ^  │         │
       │  └─> paused <┘           cancelled: from pending, paused and processing
       └──── paused, processing (another attempt, or its worker stopped)

The names are C-044's, with ``cancelled`` and ``paused``. A change, its event, the generation's status and the webhooks
that it sets off are one transaction: whoever looks sees all of it or nothing.
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
"""The user of who shows no key."""

PENDING, PROCESSING, PAUSED = "pending", "processing", "paused"
COMPLETED, FAILED, CANCELLED = "completed", "failed", "cancelled"
TERMINAL = frozenset([COMPLETED, FAILED, CANCELLED])
STATUSES = (PENDING, PROCESSING, PAUSED, COMPLETED, FAILED, CANCELLED)
KINDS = ("queued", "started", "progress", "preview", "retrying", "paused", "resumed", "moved", *STATUSES[3:])
"""Of events. The last three are the last of their job."""

CANCEL, PAUSE = "cancel", "pause"
"""Wishes: what is to become of a job that a worker has, as soon as the worker sees it."""

Told = Callable[[sa.Row[Any]], Mapping[str, Any]]

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
    """128 random bits in hex: nobody guesses one."""
    return secrets.token_hex(16)


async def change(
    connection: AsyncConnection,
    which: Sequence[sa.ColumnElement[bool]],
    event: str,
    told: Mapping[str, Any] | Told | None = None,
    generation: Mapping[str, Any] | None = None,
    **values: Any,
) -> Sequence[sa.Row[Any]]:
    """Every job that fits ``which`` gets ``values`` and an event that tells ``told``; the rows as they are then.

    ``generation`` goes into the generation's row, as a new status does.
    """
    statement = changing(*which).values(values)
    kept = dict(generation or {}) | ({"status": values["status"]} if "status" in values else {})
    return await carry_out(connection, statement, {}, event, told, kept)


def changing(*which: sa.ColumnElement[bool]) -> sa.Update:
    """What `carry_out` takes, but for the values: every job that fits ``which`` has another event."""
    return sa.update(jobs).where(*which).values(events=jobs.c.events + 1).returning(*_RETURNED)


async def carry_out(
    connection: AsyncConnection,
    statement: Any,
    parameters: Mapping[str, Any],
    event: str,
    told: Mapping[str, Any] | Told | None = None,
    generation: Mapping[str, Any] | None = None,
) -> Sequence[sa.Row[Any]]:
    """As `change`, with a ``statement`` made before and all that goes into the generation's row: to make a statement
    takes as long as to run it."""
    changed = (await connection.execute(statement, parameters)).all()
    if not changed:
        return changed
    now = utc_now()
    await connection.execute(_EVENTS, [_event(row, event, told, now) for row in changed])
    ids = [row.generation_id for row in changed]
    if generation:
        new = {f"new_{name}": value for name, value in generation.items()}
        await connection.execute(_of_generations(tuple(generation)), {"ids": ids, **new})
    if generation and generation.get("status") in TERMINAL:
        await connection.execute(sa.delete(checkpoints).where(checkpoints.c.generation_id.in_(ids)))
    calls = [_delivery(row, event, told, now) for row in changed if row.webhook_url and event in row.webhook_events]
    if calls:
        await connection.execute(deliveries.insert(), calls)
    return changed


_EVENTS = sa.insert(events)


@functools.cache
def _of_generations(names: tuple[str, ...]) -> sa.Update:
    """Sets the columns ``names`` of ``ids`` to what is bound as ``new_`` and the name; a start is told once."""
    new: dict[str, Any] = {name: sa.bindparam(f"new_{name}", type_=generations.c[name].type) for name in names}
    if "started_at" in new:
        new["started_at"] = sa.func.coalesce(generations.c.started_at, new["started_at"])
    return sa.update(generations).where(generations.c.id.in_(sa.bindparam("ids", expanding=True))).values(new)


def _told(row: sa.Row[Any], told: Mapping[str, Any] | Told | None) -> dict[str, Any]:
    """Every event tells where the job stands, so that the newest one alone says it."""
    stands = {"status": row.status, "progress": row.progress, "attempt": row.attempt, **(row.stage or {})}
    return {**stands, **(told(row) if callable(told) else told or {})}


def _event(row: sa.Row[Any], kind: str, told: Mapping[str, Any] | Told | None, now: Any) -> dict[str, Any]:
    data = _told(row, told)
    return {"generation_id": row.generation_id, "n": row.events, "kind": kind, "data": data, "created_at": now}


def _delivery(row: sa.Row[Any], kind: str, told: Mapping[str, Any] | Told | None, now: Any) -> dict[str, Any]:
    return {
        "id": new_id(),
        "generation_id": row.generation_id,
        "event": row.events,
        "url": row.webhook_url,
        "host": re.sub(r"^[^/]*//|[/?#].*$", "", row.webhook_url).lower(),
        "kind": kind,
        "body": {"id": row.generation_id, "event": row.events, **_told(row, told)},
        "context": row.context,
        "status": PENDING,
        "due_at": now,
        "created_at": now,
    }
