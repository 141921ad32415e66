"""What only the database knows of a site, measured now and then: the queue's depth, workers, users without names."""

from __future__ import annotations

from datetime import timedelta

import sqlalchemy as sa

from serve.ensembles.requests import ILLUSTRATE, VECTORIZE
from serve.observability.metrics import catalogue
from serve.state.database import Database
from serve.state.job_states import ANONYMOUS, PAUSED, PENDING, PROCESSING
from serve.state.tables import UtcTime, jobs, lanes, measurements, utc_now, workers

EVERY_S = 10.0
ACTIVE = timedelta(hours=1)
_STATES = (PENDING, PROCESSING, PAUSED)
_MOST_USERS = 100_000

_DEPTHS = (
    sa.select(jobs.c.lane, jobs.c.status, sa.func.count().label("depth"))
    .where(jobs.c.status.in_(_STATES))
    .group_by(jobs.c.lane, jobs.c.status)
)
_OLDEST = (
    sa.select(jobs.c.lane, sa.func.min(jobs.c.available_at, type_=UtcTime).label("since"))
    .where(
        jobs.c.status == PENDING,
        jobs.c.lane.not_in(sa.select(lanes.c.lane).where(lanes.c.paused)),
        jobs.c.expires_at.is_(None) | (jobs.c.expires_at > sa.bindparam("now", type_=UtcTime)),
    )
    .group_by(jobs.c.lane)
)


async def measure_site(database: Database) -> None:
    """Raises StateUnavailable."""
    m, now = measurements.c, utc_now()
    recent = sa.select(sa.func.count().label("count")).where(m.created_at >= now - ACTIVE, m.user_id != ANONYMOUS)
    async with database.read() as connection:
        depths = {(row.lane, row.status): row.depth for row in await connection.execute(_DEPTHS)}
        oldest = {row.lane: row.since for row in await connection.execute(_OLDEST, {"now": now})}
        alive = await connection.scalar(sa.select(sa.func.count()).select_from(workers))
        each = (await connection.scalars(recent.group_by(m.user_id).limit(_MOST_USERS))).all()
    for lane in (ILLUSTRATE, VECTORIZE):
        for state in _STATES:
            catalogue.JOBS.set(depths.get((lane, state), 0), lane, state)
        catalogue.OLDEST_JOB.set(max(0.0, (now - oldest.get(lane, now)).total_seconds()), lane)
    catalogue.WORKERS.set(alive or 0)
    catalogue.ACTIVE_USERS.set(len(each))
    catalogue.USER_REQUESTS.replace(each)
