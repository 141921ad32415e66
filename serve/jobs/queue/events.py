"""What happened to a job, counted from 1: read at once, or followed until the job is over.

`EventFollower` makes one query every ``poll_s`` for all jobs that its process follows: whether their counts have moved.
An event and its count are written in one transaction: a count has all its events, in order, without gaps.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from serve.errors import NotFound, Overloaded, StateUnavailable
from serve.state import State
from serve.state.database import Database
from serve.state.job_states import TERMINAL
from serve.state.tables import events, generations, jobs

LOGGER = logging.getLogger(__name__)
MOST_AT_ONCE = 1000
_CHUNK = 500
"""Jobs in one question."""
_SHARE = 4
"""One job's followers take no more than this part of the places, so that a rush on it leaves some to others."""


_G = generations.c
_OF: sa.BindParameter[str] = sa.bindparam("of")
_JOB = (
    sa.select(
        jobs.c.status, jobs.c.progress, jobs.c.attempt, jobs.c.stage, jobs.c.events, _G.error, _G.created_at,
        _G.completed_at,
    )
    .join(generations, _G.id == jobs.c.generation_id)
    .where(_G.id == _OF)
)  # fmt: skip
_EVENTS = (
    sa.select(events)
    .where(events.c.generation_id == _OF, events.c.n > sa.bindparam("after"))
    .order_by(events.c.n)
    .limit(sa.bindparam("most"))
)
_COUNTS = sa.select(jobs.c.generation_id, jobs.c.events).where(
    jobs.c.generation_id.in_(sa.bindparam("ids", expanding=True))
)


@dataclass(frozen=True)
class Event:
    """``data`` always tells ``status``, ``progress`` and ``attempt`` as they were then."""

    n: int
    kind: str
    data: Mapping[str, Any]
    created_at: datetime

    @property
    def is_last(self) -> bool:
        return self.kind in TERMINAL


@dataclass(frozen=True)
class EventSlice:
    """``over``: nothing follows the last of ``events``. ``count``: how many there were in all."""

    events: Sequence[Event]
    over: bool
    count: int


async def slice_after(database: Database, job_id: str, after: int = 0, most: int = MOST_AT_ONCE) -> EventSlice:
    """Up to ``most`` events of a job that follow number ``after``. Raises NotFound, StateUnavailable.

    Of a job that was over long ago its events are gone: one that tells where it stands takes their place.
    """
    async with database.read() as connection:
        # The job first: what is over then has all of its events a moment later.
        job = (await connection.execute(_JOB, {"of": job_id})).one_or_none()
        if job is None:
            raise NotFound("there is no such job", "id")
        rows = (await connection.execute(_EVENTS, {"of": job_id, "after": after, "most": most})).all()
    found = [Event(row.n, row.kind, row.data, row.created_at) for row in rows]
    over = job.status in TERMINAL
    if not found and over and after < job.events:
        data = {"status": job.status, "progress": job.progress, "attempt": job.attempt, **(job.stage or {})}
        data |= {} if job.error is None else {"error": job.error}
        found = [Event(job.events, job.status, data, job.completed_at or job.created_at)]
    return EventSlice(found, found[-1].is_last if found else over, job.events)


async def events_after(database: Database, job_id: str, after: int = 0, most: int = MOST_AT_ONCE) -> Sequence[Event]:
    """As ``slice_after``, the events alone."""
    return (await slice_after(database, job_id, after, most)).events


class EventFollower:
    """Of every job that somebody in this process follows; for one event loop."""

    def __init__(self, state: State) -> None:
        self._database = state.database
        self._poll_s = state.settings.jobs.poll_s
        self._most = state.settings.jobs.max_watchers
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._counts: dict[str, int] = {}
        self._here = 0
        self._looking: asyncio.Task[None] | None = None

    async def follow(self, job_id: str, after: int = 0) -> AsyncGenerator[Event]:
        """Every event after number ``after``, as it comes; ends after the last one of the job.

        Raises NotFound, and Overloaded when too many follow already, here or this one job. While the database is away
        there is silence.
        """
        if self._here >= self._most:
            raise Overloaded("too many follow jobs here; ask for the status now and then instead")
        if len(self._waiting.get(job_id, ())) >= max(1, self._most // _SHARE):
            raise Overloaded("too many follow this job here; ask for its status now and then instead")
        self._here += 1
        moved = asyncio.Event()
        self._waiting.setdefault(job_id, set()).add(moved)
        try:
            found = await slice_after(self._database, job_id, after)
            while True:
                for event in found.events:
                    after = event.n
                    yield event
                if found.over:
                    return
                if not found.events:
                    self._counts[job_id] = min(self._counts.get(job_id, found.count), found.count)
                    self._look()
                    await moved.wait()
                moved.clear()
                found = await self._read(job_id, after)
        finally:
            self._leave(job_id, moved)

    async def wait(self, job_id: str, after: int, wait_s: float) -> EventSlice:
        """What follows number ``after``, as soon as there is something, at the latest after ``wait_s``.

        Raises NotFound, Overloaded, StateUnavailable.
        """
        found = await slice_after(self._database, job_id, after)
        if found.events or found.over or wait_s <= 0:
            return found
        async with contextlib.aclosing(self.follow(job_id, after)) as following:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await anext(following, None)
        return await slice_after(self._database, job_id, after)

    async def until_over(self, job_id: str, after: int, wait_s: float) -> None:
        """Waits until the job is over, or ``wait_s`` are. Raises NotFound, Overloaded, StateUnavailable."""
        async with contextlib.aclosing(self.follow(job_id, after)) as following:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    async for _ in following:
                        pass

    async def _read(self, job_id: str, after: int) -> EventSlice:
        try:
            return await slice_after(self._database, job_id, after)
        except StateUnavailable:
            await asyncio.sleep(self._poll_s)
            return EventSlice((), over=False, count=after)

    def _leave(self, job_id: str, moved: asyncio.Event) -> None:
        self._here -= 1
        self._waiting[job_id].discard(moved)
        if not self._waiting[job_id]:
            del self._waiting[job_id]
            self._counts.pop(job_id, None)

    def _look(self) -> None:
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        """Wakes those whose job has moved, for as long as there are any."""
        while self._waiting:
            with contextlib.suppress(StateUnavailable):
                for job_id, count in (await self._moved()).items():
                    known = self._counts.get(job_id)
                    if known is None or (count is not None and count <= known):
                        continue
                    if count is not None:
                        self._counts[job_id] = count
                    for moved in self._waiting.get(job_id, ()):
                        moved.set()
            await asyncio.sleep(self._poll_s)

    async def _moved(self) -> dict[str, int | None]:
        """How many events each job has; None: the job is gone."""
        wanted = list(self._counts)
        found: dict[str, int | None] = dict.fromkeys(wanted)
        async with self._database.read("poll") as connection:
            for start in range(0, len(wanted), _CHUNK):
                rows = await connection.execute(_COUNTS, {"ids": wanted[start : start + _CHUNK]})
                found |= {row.generation_id: row.events for row in rows}
        return found
