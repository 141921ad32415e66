"""Jobs whose deadline has passed: they are never started, and waiting ones fail."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from serve.errors import DeadlineExceeded
from serve.jobs.records import insert_measurement
from serve.state.database import Database
from serve.state.job_states import FAILED, PAUSED, PENDING, transition
from serve.state.tables import UtcTime, jobs, utc_now

BATCH_SIZE = 500
"""Jobs per transaction: about half a second of the writer, and few enough for one statement."""


def is_expired(expires_at: datetime | None) -> bool:
    return expires_at is not None and utc_now() >= expires_at


def remaining_s(expires_at: datetime | None, limit_s: float) -> float:
    """Seconds until the deadline of a job, at most ``limit_s``."""
    return limit_s if expires_at is None else min(limit_s, (expires_at - utc_now()).total_seconds())


def _expired(now: datetime | sa.BindParameter[datetime]) -> tuple[sa.ColumnElement[bool], ...]:
    return jobs.c.expires_at <= now, jobs.c.status.in_([PENDING, PAUSED])


_FIND_EXPIRED = sa.select(jobs.c.generation_id).where(*_expired(sa.bindparam("now", type_=UtcTime)))


async def fail_expired(database: Database) -> int:
    """Fails expired jobs that wait or are paused, at most ``BATCH_SIZE``; how many. Raises StateUnavailable,
    OutOfSpace."""
    now = utc_now()
    async with database.read() as connection:  # usually there is none, and a read needs no write lock
        ids = (await connection.scalars(_FIND_EXPIRED.limit(BATCH_SIZE), {"now": now})).all()
    if not ids:
        return 0
    failure = DeadlineExceeded("its time was over before its turn came")
    error = {"type": failure.label(), "status": failure.status, "detail": failure.message, "field": None}
    columns = {"error": error, "completed_at": now}
    async with database.write() as connection:
        rows = await transition(
            connection,
            (jobs.c.generation_id.in_(ids), *_expired(now)),
            FAILED,
            {"error": error},
            columns,
            status=FAILED,
        )
        for row in rows:
            await insert_measurement(connection, row.generation_id, 0.0, error=str(failure))
    return len(rows)
