"""Lanes: pausing one, and the number of workers that the queue can use (autoscaling)."""

from __future__ import annotations

import math

import sqlalchemy as sa

from serve.security.identity.audit import SITE, Actor, record
from serve.state import State
from serve.state.database import Database
from serve.state.job_states import PENDING, PROCESSING
from serve.state.tables import insert_into, jobs, lanes


async def set_lane_paused(database: Database, lane: str, paused: bool, by: Actor = SITE) -> None:
    """A paused lane starts no jobs; running ones continue. Raises StateUnavailable, OutOfSpace."""
    insert = insert_into(lanes, database.is_sqlite)
    row = insert.values(lane=lane, paused=paused)
    async with database.write() as connection:
        await connection.execute(row.on_conflict_do_update(index_elements=["lane"], set_={"paused": paused}))
        await record(connection, by, "lane.pause" if paused else "lane.resume", lane)


_JOB_COUNT = sa.select(sa.func.count()).select_from(
    sa.select(sa.literal(1))
    .where(jobs.c.lane == sa.bindparam("lane"), jobs.c.status == sa.bindparam("status"))
    .where(~sa.exists().where(lanes.c.lane == sa.bindparam("lane"), lanes.c.paused))
    .limit(sa.bindparam("most"))
    .subquery()
)
"""Jobs of a lane that is not paused, up to ``most``: beyond that the number of workers is the same."""


async def desired_workers(state: State) -> int:
    """So many that every waiting or running job has a slot, at most one more than the configured maximum.

    Raises StateUnavailable.
    """
    limits = state.settings.jobs
    maximum = (limits.max_workers or limits.workers) + 1
    desired = 0
    async with state.database.read() as connection:
        for lane, slots in limits.slots.items():
            count = 0
            for status in (PROCESSING, PENDING):
                parameters = {"lane": lane, "status": status, "most": maximum * slots}
                count += await connection.scalar(_JOB_COUNT, parameters) or 0
            desired = max(desired, math.ceil(count / slots))
    return min(desired, maximum)
