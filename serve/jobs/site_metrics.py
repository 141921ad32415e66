"""What only the database knows of a site, measured now and then: the queue's depth, workers, users without names."""

from __future__ import annotations

from datetime import timedelta

import sqlalchemy as sa

from serve.jobs.requests import ILLUSTRATE, VECTORIZE
from serve.jobs.states import ANONYMOUS, PAUSED, PENDING, PROCESSING
from serve.metrics import catalogue
from serve.state.database import Database
from serve.state.tables import jobs, measurements, utc_now, workers

EVERY_S = 10.0
ACTIVE = timedelta(hours=1)
_STATES = (PENDING, PROCESSING, PAUSED)
_MOST_USERS = 100_000

_DEPTHS = (
    sa.select(jobs.c.lane, jobs.c.status, sa.func.count().label("depth"))
    .where(jobs.c.status.in_(_STATES))
    .group_by(jobs.c.lane, jobs.c.status)
)


async def measure_site(database: Database) -> None:
    """Raises StateUnavailable."""
    m = measurements.c
    recent = sa.select(sa.func.count().label("count")).where(m.created_at >= utc_now() - ACTIVE, m.user_id != ANONYMOUS)
    async with database.read() as connection:
        depths = {(row.lane, row.status): row.depth for row in await connection.execute(_DEPTHS)}
        alive = await connection.scalar(sa.select(sa.func.count()).select_from(workers))
        each = (await connection.scalars(recent.group_by(m.user_id).limit(_MOST_USERS))).all()
    for lane in (ILLUSTRATE, VECTORIZE):
        for state in _STATES:
            catalogue.JOBS.set(depths.get((lane, state), 0), lane, state)
    catalogue.WORKERS.set(alive or 0)
    catalogue.ACTIVE_USERS.set(len(each))
    catalogue.USER_REQUESTS.replace(each)
