"""Who comes when: the order of a lane, decided as jobs come in.

Priority first; within one, users take turns; within a user's, first come, first served. Each job gets a round: the one
after its user's last waiting job, and not before the round that the lane has come to. So jobs start in the order of
(priority, round, arrival), a position is a count, and someone with one job waits for at most one job of each other user
(start-time fair queueing: Goyal, Vin and Cheng 1996, with jobs as packets of one size).
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from serve.errors import StateUnavailable, TooManyJobs
from serve.jobs.queue.positions import how_many_before
from serve.settings import JobsSettings
from serve.state.job_states import PAUSED, PENDING
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


def _adding() -> sa.Select[Any]:
    """`_rounds`, how many jobs of the user are ``waiting``, and how many will start before the next, ``ahead``.

    One question instead of four: to ask one takes longer than what the database does for it.
    """
    of_user = _IN_ALL.where(jobs.c.user_id == sa.bindparam("user_id"))
    found = _ROUNDS.add_columns(of_user.scalar_subquery().label("waiting")).cte("found")
    found = found.prefix_with("MATERIALIZED", dialect="postgresql")  # else it looks once for each mention
    after_last, come_to = sa.func.coalesce(found.c.last + 1, 0), sa.func.coalesce(found.c.come_to, 0)
    following = sa.case((after_last > come_to, after_last), else_=come_to)
    ahead = how_many_before(sa.bindparam("lane"), sa.bindparam("rank"), lambda o: o.round <= following, found)
    return sa.select(found, ahead.label("ahead"))


_ADDING = _adding()
_COUNT_EVERY_S = 1.0
_ROOM = 10_000
"""More jobs than come in that time, by whatever gateway."""


@dataclass(frozen=True)
class Place:
    """``ahead``: how many start before it, as far as `positions.EXACT` and if it was counted."""

    lane: str
    rank: int
    round: int
    ahead: int | None = None


async def places(
    connection: AsyncConnection, user_id: str, wanted: Sequence[str], rank: int, bounds: Bounds | None = None
) -> list[Place]:
    """A round for each of ``wanted`` (lanes), one after the other. Raises TooManyJobs when there are ``bounds``."""
    found: list[Place] = []
    following: dict[str, int] = {}
    for lane in wanted:
        if lane not in following:
            values = {"lane": lane, "rank": rank, "user_id": user_id, "now": utc_now()}
            counts = bounds is not None and not found
            row = (await connection.execute(_ADDING if counts else _ROUNDS, values)).one()
            if bounds is not None and not found:
                await bounds.check(connection, row.waiting, len(wanted))
            following[lane] = max(0 if row.last is None else row.last + 1, row.come_to or 0)
            found.append(Place(lane, rank, following[lane], row.ahead if counts else None))
        else:
            found.append(Place(lane, rank, following[lane]))
        following[lane] += 1
    return found


class Bounds:
    """How many jobs wait, and how many may."""

    def __init__(self, limits: JobsSettings) -> None:
        self._limits = limits
        self._counted_at = -math.inf
        self._in_all = 0

    async def check(self, connection: AsyncConnection, of_user: int, more: int) -> None:
        """Raises TooManyJobs when ``more`` would be too many, beside ``of_user`` of the same user or in all.

        Those of everybody are counted once a second while there is much room: to count a long queue takes longer than
        all the rest of adding to it.
        """
        limits = self._limits
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


class FairOrder:
    """Who adds jobs of one user in this process does so after another, before it has a connection: those that wait for
    the lock of `lock_user` would else hold all of them. For one event loop."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @contextlib.asynccontextmanager
    async def taken(self, user_id: str) -> AsyncIterator[None]:
        """Raises StateUnavailable when it did not come in time."""
        lock = self._locks.setdefault(user_id, asyncio.Lock())
        try:
            async with asyncio.timeout(self._timeout_s):
                await lock.acquire()
        except TimeoutError:
            raise StateUnavailable("the database is busy; try again") from None
        try:
            yield
        finally:
            lock.release()


async def lock_user(connection: AsyncConnection, user_id: str) -> None:
    """Whoever adds jobs of one user does so after another; on SQLite they do anyway."""
    if connection.dialect.name == "postgresql":
        key = sa.func.hashtextextended(user_id, 0)
        await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(key)))
