"""How many workers the queue could keep busy: what Ray Serve scales them by."""

from __future__ import annotations

import math

import sqlalchemy as sa

from serve.state import State
from serve.state.job_states import PENDING, PROCESSING
from serve.state.tables import jobs, lanes

_BUSY = sa.select(sa.func.count()).select_from(
    sa.select(sa.literal(1))
    .where(jobs.c.lane == sa.bindparam("lane"), jobs.c.status == sa.bindparam("status"))
    .where(~sa.exists().where(lanes.c.lane == sa.bindparam("lane"), lanes.c.paused))
    .limit(sa.bindparam("most"))
    .subquery()
)
"""Jobs of a lane that runs, up to ``most``: a long queue asks for as many workers as one that is a little shorter."""


async def workers_wanted(state: State) -> int:
    """So many that every job that waits or is done has a slot, up to one more than there may be.

    Raises StateUnavailable.
    """
    limits = state.settings.jobs
    most = (limits.max_workers or limits.workers) + 1
    wanted = 0
    async with state.database.read() as connection:
        for lane, slots in limits.slots.items():
            counted = 0
            for status in (PROCESSING, PENDING):
                told = {"lane": lane, "status": status, "most": most * slots}
                counted += await connection.scalar(_BUSY, told) or 0
            wanted = max(wanted, math.ceil(counted / slots))
    return min(wanted, most)
