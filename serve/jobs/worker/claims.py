"""Claiming jobs: SQL that selects a lane's next jobs, within users' limits of running jobs (`quotas.max_running`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from serve.ensembles.requests import JobRequest, from_json
from serve.observability.costs import CPU, GPU
from serve.observability.request_context import Priority
from serve.state.job_states import ANONYMOUS, PENDING, PROCESSING, update_jobs
from serve.state.tables import UtcTime, jobs, lanes, workers


@dataclass(frozen=True)
class ClaimedJob:
    """A job that this worker holds until `Leases` says otherwise."""

    id: str
    user_id: str
    request: JobRequest
    attempt: int
    webhook_url: str | None
    context: Mapping[str, str] = field(default_factory=dict)
    """The context of the submitting request (`serve.observability.tracing.carrier`)."""
    priority: Priority = Priority.NORMAL
    """At the ensembles. At most NORMAL: the queue has already ordered jobs by priority, and they displace no other
    requests."""
    expires_at: datetime | None = None
    spent: Mapping[str, float] = field(default_factory=dict)
    """Cost of earlier attempts (`serve.observability.costs`)."""


_LOCK = 0x72756E6E
"""A PostgreSQL advisory lock: claims are serialised where users' running jobs are counted."""

_running = jobs.alias("running")
_COUNTS = (
    sa.select(_running.c.user_id, sa.func.count().label("count"))
    .where(_running.c.status == PROCESSING, _running.c.user_id != ANONYMOUS)
    .group_by(_running.c.user_id)
)


def within_user_limits(statement: sa.Select[Any]) -> sa.Select[Any]:
    """``statement``, over ``jobs``, without those of users with ``most_running`` running jobs."""
    users_at_limit = _COUNTS.with_only_columns(_running.c.user_id).having(
        sa.func.count() >= sa.bindparam("most_running")
    )
    return statement.where(jobs.c.user_id.not_in(users_at_limit))


async def lock_claims(connection: AsyncConnection) -> None:
    """Serialises claims until the transaction ends; on SQLite writers are serialised anyway."""
    if connection.dialect.name == "postgresql":
        await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))


async def apply_user_limits(connection: AsyncConnection, rows: Sequence[Any], limit: int) -> list[Any]:
    """Those of ``rows``, in order, that their users may run beside their running jobs."""
    counts: Counter[str] = Counter({row.user_id: row.count for row in await connection.execute(_COUNTS)})
    allowed = []
    for row in rows:
        if row.user_id == ANONYMOUS or counts[row.user_id] < limit:
            counts[row.user_id] += 1
            allowed.append(row)
    return allowed


def to_claimed_job(row: sa.Row[Any]) -> ClaimedJob:
    return ClaimedJob(
        id=row.generation_id,
        user_id=row.user_id,
        request=from_json(row.request),
        attempt=row.attempt + 1,
        webhook_url=row.webhook_url,
        context=row.context or {},
        priority=Priority.LOW if row.rank > 0 else Priority.NORMAL,
        expires_at=row.expires_at,
        spent={CPU: row.cpu_seconds, GPU: row.gpu_seconds},
    )


def _waiting_jobs() -> sa.Select[Any]:
    """``most`` jobs of ``lane`` that can start ``now``, in its order."""
    now, far = (sa.bindparam(name, type_=UtcTime) for name in ("now", "far"))
    # Further ahead than any retry is scheduled: the clock was set back since.
    is_available = (jobs.c.available_at <= now) | (jobs.c.available_at > far)
    not_expired = jobs.c.expires_at.is_(None) | (jobs.c.expires_at > now)
    lane_runs = ~sa.exists().where(lanes.c.lane == sa.bindparam("lane"), lanes.c.paused)
    return (
        sa.select(*(jobs.c[name] for name in _COLUMNS))
        .where(jobs.c.lane == sa.bindparam("lane"), jobs.c.status == PENDING, is_available, not_expired, lane_runs)
        .order_by(jobs.c.rank, jobs.c.round, jobs.c.seq)
        .limit(sa.bindparam("most"))
    )


_COLUMNS = ("generation_id", "user_id", "request", "attempt", "webhook_url", "available_at", "context",
            "rank", "expires_at", CPU, GPU)  # fmt: skip
WAITING_JOBS = _waiting_jobs()
WORKER_EXISTS = sa.select(workers.c.id).where(workers.c.id == sa.bindparam("me"))
_WORKER_ROW = WORKER_EXISTS.with_for_update(read=True).cte("stays").prefix_with("MATERIALIZED", dialect="postgresql")
"""The worker's row, locked so that it cannot be reaped meanwhile."""
LOCK_JOBS = WAITING_JOBS.where(sa.exists(sa.select(_WORKER_ROW.c.id))).with_for_update(skip_locked=True, of=jobs)
QUERIES = (WAITING_JOBS, LOCK_JOBS)
"""The query that finds waiting jobs, and the one that locks them."""
QUERIES_WITHIN_LIMIT = within_user_limits(WAITING_JOBS), within_user_limits(LOCK_JOBS)
"""The same where `quotas.max_running` is set."""
START_JOBS = update_jobs(jobs.c.generation_id.in_(sa.bindparam("ids", expanding=True))).values(
    status=PROCESSING, worker_id=sa.bindparam("me"), attempt=jobs.c.attempt + 1, wish=None
)
