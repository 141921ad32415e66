"""Positions of jobs in their lane: counted exactly near the front, estimated from a recent count further back.

Counting a hundred thousand jobs takes far longer than the rest of a status query, and behind thousands a number that is
a second old is as good.
"""

from __future__ import annotations

import bisect
import itertools
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from serve.state.job_states import PENDING
from serve.state.tables import jobs

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
