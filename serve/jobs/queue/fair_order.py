"""Fair order of a lane's jobs, decided when jobs are added.

Priority first; within a priority, round robin over users; within a user, first in, first out. Each job gets a round:
the one after its user's last waiting job, and not before the lane's current round. Jobs start in the order of
(priority, round, arrival), so a position is a count, and a user with one job waits for at most one job of each other
user (start-time fair queueing: Goyal, Vin and Cheng 1996, with packets of one size).

Positions are counted exactly near the front, and estimated from a recent count further back: counting a hundred
thousand jobs takes far longer than the rest of a status query, and behind thousands a number that is a second old is
as good.
"""

from __future__ import annotations

import asyncio
import bisect
import contextlib
import itertools
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from weakref import WeakValueDictionary

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from serve.errors import StateUnavailable, TooManyJobs
from serve.settings import JobsSettings
from serve.state.job_states import PAUSED, PENDING
from serve.state.tables import UtcTime, jobs, utc_now

EXACT = 200
"""Positions up to this are counted each time."""
_MAX_AGE_S = 1.0


def count_before(
    lane: Any, rank: Any, precedes: Callable[[Any], sa.ColumnElement[bool]], outer: sa.FromClause
) -> sa.ColumnElement[int]:
    """Waiting jobs of ``lane`` that start before one of ``rank``, counted up to ``EXACT`` and a few.

    ``precedes`` says which jobs of equal rank do, by their columns; ``outer`` is the FROM clause of ``lane``, ``rank``
    and ``precedes``. Higher and equal ranks are counted separately: SQLite uses an index only for the first column of a
    row comparison.
    """
    o = jobs.alias("others").c
    # Ordered, so that PostgreSQL uses the index too and stops at the limit.
    waiting = sa.select(o.seq).where(o.lane == lane, o.status == PENDING).order_by(o.rank, o.round, o.seq)
    parts = (o.rank < rank,), (o.rank == rank, precedes(o))
    limited = [waiting.where(*part).limit(EXACT + 1).correlate(outer).subquery() for part in parts]
    higher, same = (sa.select(sa.func.count()).select_from(part).scalar_subquery() for part in limited)
    return higher + same


def ahead() -> sa.ColumnElement[int | None]:
    """Jobs of the lane that start before a waiting one, up to ``EXACT`` and a few; NULL for jobs that do not wait."""
    j = jobs.c
    before = count_before(j.lane, j.rank, lambda o: sa.tuple_(o.round, o.seq) < sa.tuple_(j.round, j.seq), outer=jobs)
    return sa.case((j.status == PENDING, before), else_=None)


_SAME_ROUND = [jobs.c[name] == sa.bindparam(name) for name in ("lane", "rank", "round")]
_WAITING_BEFORE = (jobs.c.status == PENDING, jobs.c.seq < sa.bindparam("seq"))
_IN_ROUND = sa.select(sa.func.count()).select_from(jobs).where(*_SAME_ROUND, *_WAITING_BEFORE)
"""Jobs of a round before one of them."""


@dataclass(frozen=True)
class _Lane:
    """Counts of a lane: ``before[i]`` jobs wait before those of ``rounds[i]``, which are (rank, round)."""

    counted_at: float
    rounds: list[tuple[int, int]]
    before: list[int]
    added: Counter[tuple[int, int]] = field(default_factory=Counter)
    """Jobs that this process added since the count."""

    def before_round(self, place: tuple[int, int]) -> int:
        """Jobs of the rounds before (rank, round) ``place``."""
        later = sum(count for other, count in self.added.items() if other < place)
        return self.before[bisect.bisect_left(self.rounds, place)] + later


class Positions:
    """Cached counts of long lanes; for one event loop."""

    def __init__(self) -> None:
        self._lanes: dict[str, _Lane] = {}

    async def ahead_of(self, connection: AsyncConnection, row: sa.Row[Any]) -> int | None:
        """``row`` has a job's place, and ``ahead`` as above."""
        counted: int | None = row.ahead
        if counted is None or counted <= EXACT:
            return counted
        lane = await self._lane(connection, row.lane)
        place = (row.rank, row.round)
        in_round = await connection.scalar(
            _IN_ROUND, {"lane": row.lane, "rank": place[0], "round": place[1], "seq": row.seq}
        )
        return max(counted, lane.before_round(place) + int(in_round or 0))

    def position_of_new(self, lane: str, rank: int, round_: int, counted: int) -> int | None:
        """What `ahead_of` returns for a job that was just added, the last of its round; None if that needs a query.
        Call it once per job: jobs added later come after it."""
        lane_counts, place = self._lanes.get(lane), (rank, round_)
        if lane_counts is None or time.monotonic() - lane_counts.counted_at >= _MAX_AGE_S:
            return counted if counted <= EXACT else None
        before = lane_counts.before_round((rank, round_ + 1))
        lane_counts.added[place] += 1
        return counted if counted <= EXACT else max(counted, before)

    async def _lane(self, connection: AsyncConnection, name: str) -> _Lane:
        lane_counts = self._lanes.get(name)
        now = time.monotonic()
        if lane_counts is not None and now - lane_counts.counted_at < _MAX_AGE_S:
            return lane_counts
        if lane_counts is not None:  # concurrent requests use the old counts
            self._lanes[name] = replace(lane_counts, counted_at=now)
        of_round = (jobs.c.rank, jobs.c.round)
        query = sa.select(*of_round, sa.func.count()).where(jobs.c.lane == name, jobs.c.status == PENDING)
        rows = (await connection.execute(query.group_by(*of_round).order_by(*of_round))).all()
        before = [0, *itertools.accumulate(row[2] for row in rows)]
        found = self._lanes[name] = _Lane(now, [(row.rank, row.round) for row in rows], before)
        return found


def _rounds_query() -> sa.Select[Any]:
    """The user's ``last`` round and the lane's ``current`` round, for its ``rank``.

    Ordered by index with a limit instead of max() and min(), for which PostgreSQL reads the whole lane while it has no
    statistics.
    """
    waiting = (jobs.c.status == PENDING, *(jobs.c[name] == sa.bindparam(name) for name in ("lane", "rank")))
    first = sa.select(jobs.c.round).where(*waiting).limit(1)
    last = first.where(jobs.c.user_id == sa.bindparam("user_id")).order_by(jobs.c.round.desc())
    ready = first.where(jobs.c.available_at <= sa.bindparam("now", type_=UtcTime)).order_by(jobs.c.round)
    # A job that waits for a retry does not hold the current round back, unless all of them wait.
    current = sa.func.coalesce(ready.scalar_subquery(), first.order_by(jobs.c.round).scalar_subquery())
    return sa.select(last.scalar_subquery().label("last"), current.label("current"))


_ROUNDS = _rounds_query()
_QUEUED_COUNT = sa.select(sa.func.count()).select_from(jobs).where(jobs.c.status.in_([PENDING, PAUSED]))


def _placement_query() -> sa.Select[Any]:
    """`_rounds_query`, plus the number of the user's ``waiting`` jobs, and of jobs that start before the next one,
    ``ahead``.

    One query instead of four: a round trip takes longer than the database's work.
    """
    queued_by_user = _QUEUED_COUNT.where(jobs.c.user_id == sa.bindparam("user_id"))
    found = _ROUNDS.add_columns(queued_by_user.scalar_subquery().label("waiting")).cte("found")
    found = found.prefix_with("MATERIALIZED", dialect="postgresql")  # else evaluated once per reference
    after_last, current = sa.func.coalesce(found.c.last + 1, 0), sa.func.coalesce(found.c.current, 0)
    next_round = sa.case((after_last > current, after_last), else_=current)
    ahead = count_before(sa.bindparam("lane"), sa.bindparam("rank"), lambda o: o.round <= next_round, found)
    return sa.select(found, ahead.label("ahead"))


_PLACEMENT = _placement_query()
_RECOUNT_S = 1.0
_HEADROOM = 10_000
"""More jobs than all gateways add in that time."""


@dataclass(frozen=True)
class QueuePlace:
    """``ahead``: how many jobs start before it, up to `positions.EXACT`; None if not counted."""

    lane: str
    rank: int
    round: int
    ahead: int | None = None


async def assign_places(
    connection: AsyncConnection, user_id: str, lanes: Sequence[str], rank: int, limits: QueueLimits | None = None
) -> list[QueuePlace]:
    """A round for each of ``lanes``, in order. Raises TooManyJobs when there are ``limits``."""
    found: list[QueuePlace] = []
    next_round: dict[str, int] = {}
    for lane in lanes:
        if lane not in next_round:
            values = {"lane": lane, "rank": rank, "user_id": user_id, "now": utc_now()}
            first = limits is not None and not found
            row = (await connection.execute(_PLACEMENT if first else _ROUNDS, values)).one()
            if limits is not None and not found:
                await limits.check(connection, row.waiting, len(lanes))
            next_round[lane] = max(0 if row.last is None else row.last + 1, row.current or 0)
            found.append(QueuePlace(lane, rank, next_round[lane], row.ahead if first else None))
        else:
            found.append(QueuePlace(lane, rank, next_round[lane]))
        next_round[lane] += 1
    return found


class QueueLimits:
    """Bounds on the number of waiting jobs."""

    def __init__(self, limits: JobsSettings) -> None:
        self._limits = limits
        self._counted_at = -math.inf
        self._total = 0

    async def check(self, connection: AsyncConnection, queued_by_user: int, added: int) -> None:
        """Raises TooManyJobs when ``added`` jobs would exceed the user's limit, or the total.

        The total is recounted once a second while it is far below the limit: counting a long queue takes longer than
        all other work of adding a job.
        """
        limits = self._limits
        if queued_by_user + added > limits.max_queued_per_user:
            maximum = limits.max_queued_per_user
            raise TooManyJobs(
                f"{queued_by_user} jobs of this user are waiting, and at most {maximum} may; come again later"
            )
        if time.monotonic() - self._counted_at >= _RECOUNT_S or self._total + _HEADROOM > limits.max_queued:
            self._total = await connection.scalar(_QUEUED_COUNT) or 0
            self._counted_at = time.monotonic()
        if self._total + added > limits.max_queued:
            maximum = limits.max_queued
            raise TooManyJobs(f"{self._total} jobs are waiting, and at most {maximum} may; come again later")
        self._total += added


class UserLocks:
    """Serialises additions of one user in this process, before a connection is taken: additions that wait for the lock
    of `lock_user_queue` would otherwise hold all connections. For one event loop."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @contextlib.asynccontextmanager
    async def serialised(self, user_id: str) -> AsyncIterator[None]:
        """Raises StateUnavailable when the lock was not acquired in time."""
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


async def lock_user_queue(connection: AsyncConnection, user_id: str) -> None:
    """Serialises additions of one user across processes; SQLite has one writer anyway."""
    if connection.dialect.name == "postgresql":
        key = sa.func.hashtextextended(user_id, 0)
        await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(key)))
