"""What is ahead of a job in its lane: counted where that is short, told from a count of a moment ago where it is long.

To count a hundred thousand jobs takes many times as long as all the rest of a look at one of them, and who waits behind
thousands is told no less by a number that is a second old.
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
"""Up to so many are counted each time."""
_KEPT_S = 1.0


def how_many_before(
    lane: Any, rank: Any, earlier: Callable[[Any], sa.ColumnElement[bool]], outside: sa.FromClause
) -> sa.ColumnElement[int]:
    """Waiting jobs of ``lane`` that start before one of ``rank``, counted up to ``EXACT`` and a few.

    ``earlier`` says which of its equals in rank do, by their columns; ``outside`` is what ``lane``, ``rank`` and
    ``earlier`` speak of. By priorities and within its own apart: SQLite makes use of an index for the first column of a
    comparison of rows.
    """
    o = jobs.alias("others").c
    # In their order, so that PostgreSQL takes the index too, and stops there.
    waiting = sa.select(o.seq).where(o.lane == lane, o.status == PENDING).order_by(o.rank, o.round, o.seq)
    parts = (o.rank < rank,), (o.rank == rank, earlier(o))
    first = [waiting.where(*part).limit(EXACT + 1).correlate(outside).subquery() for part in parts]
    more, same = (sa.select(sa.func.count()).select_from(part).scalar_subquery() for part in first)
    return more + same


def ahead() -> sa.ColumnElement[int | None]:
    """How many jobs of the lane start before one that waits, up to ``EXACT`` and a few; NULL for any other."""
    j = jobs.c
    before = how_many_before(
        j.lane, j.rank, lambda o: sa.tuple_(o.round, o.seq) < sa.tuple_(j.round, j.seq), outside=jobs
    )
    return sa.case((j.status == PENDING, before), else_=None)


_SAME = [jobs.c[name] == sa.bindparam(name) for name in ("lane", "rank", "round")]
_EARLIER = (jobs.c.status == PENDING, jobs.c.seq < sa.bindparam("seq"))
_IN_ROUND = sa.select(sa.func.count()).select_from(jobs).where(*_SAME, *_EARLIER)
"""Jobs of a round before one of them."""


@dataclass(frozen=True)
class _Lane:
    """``before[i]`` jobs wait before those of ``rounds[i]``, which are (rank, round)."""

    looked_at: float
    rounds: list[tuple[int, int]]
    before: list[int]
    since: Counter[tuple[int, int]] = field(default_factory=Counter)
    """Jobs that this process added since then."""

    def before_round(self, place: tuple[int, int]) -> int:
        """Jobs of the rounds before (rank, round) ``place``."""
        later = sum(count for other, count in self.since.items() if other < place)
        return self.before[bisect.bisect_left(self.rounds, place)] + later


class Positions:
    """Of long lanes; for one event loop."""

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

    def known(self, lane: str, rank: int, round_: int, counted: int) -> int | None:
        """What ``ahead_of`` tells of a job that was added just now, the last of its round; None when that takes a look
        at the lane. To be asked once for each job: those that are added later come after it.
        """
        known, place = self._lanes.get(lane), (rank, round_)
        if known is None or time.monotonic() - known.looked_at >= _KEPT_S:
            return counted if counted <= EXACT else None
        before = known.before_round((rank, round_ + 1))
        known.since[place] += 1
        return counted if counted <= EXACT else max(counted, before)

    async def _lane(self, connection: AsyncConnection, name: str) -> _Lane:
        known = self._lanes.get(name)
        now = time.monotonic()
        if known is not None and now - known.looked_at < _KEPT_S:
            return known
        if known is not None:  # who asks meanwhile takes the old one
            self._lanes[name] = replace(known, looked_at=now)
        of_round = (jobs.c.rank, jobs.c.round)
        query = sa.select(*of_round, sa.func.count()).where(jobs.c.lane == name, jobs.c.status == PENDING)
        rows = (await connection.execute(query.group_by(*of_round).order_by(*of_round))).all()
        before = [0, *itertools.accumulate(row[2] for row in rows)]
        found = self._lanes[name] = _Lane(now, [(row.rank, row.round) for row in rows], before)
        return found
