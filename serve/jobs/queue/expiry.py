"""Jobs whose time is over before they are: nobody begins them, and those that wait have failed."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from serve.errors import DeadlineExceeded
from serve.jobs.recording import measure
from serve.state.database import Database
from serve.state.job_states import FAILED, PAUSED, PENDING, change
from serve.state.tables import jobs, utc_now

AT_ONCE = 500
"""Jobs of one transaction: half a second of the writer, and few enough to be named in a statement."""


def is_over(expires_at: datetime | None) -> bool:
    return expires_at is not None and utc_now() >= expires_at


def left_s(expires_at: datetime | None, limit_s: float) -> float:
    """What a job has left, at most ``limit_s``."""
    return limit_s if expires_at is None else min(limit_s, (expires_at - utc_now()).total_seconds())


async def take_out(database: Database) -> int:
    """Those that wait, paused ones too, at most ``AT_ONCE``; how many. Raises StateUnavailable, OutOfSpace."""
    now = utc_now()
    late = (jobs.c.expires_at <= now, jobs.c.status.in_([PENDING, PAUSED]))
    async with database.read() as connection:  # most often there is none, and that needs no writer
        ids = (await connection.scalars(sa.select(jobs.c.generation_id).where(*late).limit(AT_ONCE))).all()
    if not ids:
        return 0
    fault = DeadlineExceeded("its time was over before its turn came")
    error = {"type": type(fault).__name__, "status": fault.status, "detail": fault.message, "field": None}
    over = {"error": error, "completed_at": now}
    async with database.write() as connection:
        rows = await change(
            connection, (jobs.c.generation_id.in_(ids), *late), FAILED, {"error": error}, over, status=FAILED
        )
        for row in rows:
            await measure(connection, row.generation_id, 0.0, error=str(fault))
    return len(rows)
