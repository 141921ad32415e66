"""Who comes when: the order of a lane, decided as jobs come in.

Priority first; within one, users take turns; within a user's, first come, first served. Each job gets a round: the one
after its user's last waiting job, and not before the round that the lane has come to. So jobs start in the order of
(priority, round, arrival), a position is a count, and someone with one job waits for at most one job of each other user
(start-time fair queueing: Goyal, Vin and Cheng 1996, with jobs as packets of one size).
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from serve.errors import TooManyJobs
from serve.jobs.states import PAUSED, PENDING
from serve.settings import JobsSettings
from serve.state.tables import UtcTime, jobs, utc_now


def _rounds() -> sa.Select[Any]:
    """``last`` of a user's and what the lane has ``come_to``, of its ``rank``.

    In the order of an index and not as a maximum and a minimum, which PostgreSQL reads all of the lane for while it
    does not know how long it is.
    """
    waiting = (jobs.c.status == PENDING, *(jobs.c[name] == sa.bindparam(name) for name in ("lane", "rank")))
    first = sa.select(jobs.c.round).where(*waiting).limit(1)
    last = first.where(jobs.c.user_id == sa.bindparam("user_id")).order_by(jobs.c.round.desc())
    ready = first.where(jobs.c.available_at <= sa.bindparam("now", type_=UtcTime)).order_by(jobs.c.round)
    # A job that waits for another attempt holds nobody's round back, unless all of them do.
    come_to = sa.func.coalesce(ready.scalar_subquery(), first.order_by(jobs.c.round).scalar_subquery())
    return sa.select(last.scalar_subquery().label("last"), come_to.label("come_to"))


_ROUNDS = _rounds()
_IN_ALL = sa.select(sa.func.count()).select_from(jobs).where(jobs.c.status.in_([PENDING, PAUSED]))
_OF_USER = _IN_ALL.where(jobs.c.user_id == sa.bindparam("user_id"))
_COUNT_EVERY_S = 1.0
_ROOM = 10_000
"""More jobs than come in that time, by whatever gateway."""


@dataclass(frozen=True)
class Place:
    lane: str
    rank: int
    round: int


async def places(connection: AsyncConnection, user_id: str, wanted: Sequence[str], rank: int) -> list[Place]:
    """A round for each of ``wanted`` (lanes), one after the other."""
    found: list[Place] = []
    following: dict[str, int] = {}
    for lane in wanted:
        if lane not in following:
            values = {"lane": lane, "rank": rank, "user_id": user_id, "now": utc_now()}
            row = (await connection.execute(_ROUNDS, values)).one()
            following[lane] = max(0 if row.last is None else row.last + 1, row.come_to or 0)
        found.append(Place(lane, rank, following[lane]))
        following[lane] += 1
    return found


class Bounds:
    """How many jobs wait, and how many may."""

    def __init__(self) -> None:
        self._counted_at = -math.inf
        self._in_all = 0

    async def check(self, connection: AsyncConnection, user_id: str, more: int, limits: JobsSettings) -> None:
        """Raises TooManyJobs when ``more`` would be too many, of the user or in all.

        Those of everybody are counted once a second while there is much room: to count a long queue takes longer than
        all the rest of adding to it.
        """
        of_user = await connection.scalar(_OF_USER, {"user_id": user_id}) or 0
        if of_user + more > limits.max_queued_per_user:
            most = limits.max_queued_per_user
            raise TooManyJobs(f"{of_user} jobs of this user are waiting, and at most {most} may; come again later")
        if time.monotonic() - self._counted_at >= _COUNT_EVERY_S or self._in_all + _ROOM > limits.max_queued:
            self._in_all = await connection.scalar(_IN_ALL) or 0
            self._counted_at = time.monotonic()
        if self._in_all + more > limits.max_queued:
            most = limits.max_queued
            raise TooManyJobs(f"{self._in_all} jobs are waiting, and at most {most} may; come again later")
        self._in_all += more


async def lock_user(connection: AsyncConnection, user_id: str) -> None:
    """Whoever adds jobs of one user does so after another; on SQLite they do anyway."""
    if connection.dialect.name == "postgresql":
        key = sa.func.hashtextextended(user_id, 0)
        await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(key)))
