"""Events of a job, numbered from 1: read at once, or followed until the job ends.

`EventFollower` polls once every ``poll_s`` for all jobs followed in its process: have their event counts changed? An
event and its count are written in one transaction, so a count implies all its events, in order, without gaps. It reads
them as `EventPoll` says.
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
from serve.state.event_watch import EventPoll
from serve.state.job_states import TERMINAL
from serve.state.tables import events, generations, jobs

LOGGER = logging.getLogger(__name__)
MAX_EVENTS = 1000
_JOBS_PER_QUERY = 500
_MAX_SHARE = 4
"""The followers of one job take at most this fraction of the places, so that one popular job does not take them all."""


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
    """``data`` always has ``status``, ``progress`` and ``attempt`` at that time."""

    n: int
    kind: str
    data: Mapping[str, Any]
    created_at: datetime

    @property
    def is_last(self) -> bool:
        return self.kind in TERMINAL


@dataclass(frozen=True)
class EventSlice:
    """``finished``: nothing follows the last of ``events``. ``count``: the number of events in all."""

    events: Sequence[Event]
    finished: bool
    count: int


async def event_slice(database: Database, job_id: str, after: int = 0, limit: int = MAX_EVENTS) -> EventSlice:
    """Up to ``limit`` events of a job after number ``after``. Raises NotFound, StateUnavailable.

    The events of a job that ended long ago are deleted: one event with its final state replaces them.
    """
    async with database.read() as connection:
        # The job first: if it has ended by then, all its events are visible to the second query.
        job = (await connection.execute(_JOB, {"of": job_id})).one_or_none()
        if job is None:
            raise NotFound("there is no such job", "id")
        rows = (await connection.execute(_EVENTS, {"of": job_id, "after": after, "most": limit})).all()
    found = [Event(row.n, row.kind, row.data, row.created_at) for row in rows]
    finished = job.status in TERMINAL
    if not found and finished and after < job.events:
        data = {"status": job.status, "progress": job.progress, "attempt": job.attempt, **(job.stage or {})}
        data |= {} if job.error is None else {"error": job.error}
        found = [Event(job.events, job.status, data, job.completed_at or job.created_at)]
    return EventSlice(found, found[-1].is_last if found else finished, job.events)


async def events_after(database: Database, job_id: str, after: int = 0, limit: int = MAX_EVENTS) -> Sequence[Event]:
    """As `event_slice`, the events alone."""
    return (await event_slice(database, job_id, after, limit)).events


class EventFollower:
    """Follows jobs for all requests of this process; for one event loop."""

    def __init__(self, state: State) -> None:
        self._database = state.database
        self._poll_s = state.settings.jobs.poll_s
        self._max_followers = state.settings.jobs.max_watchers
        self._waiters: dict[str, set[asyncio.Event]] = {}
        self._counts: dict[str, int] = {}
        self._followers = 0
        self._poll = EventPoll(state.database.event_marker)
        self._poll_task: asyncio.Task[None] | None = None

    async def follow(self, job_id: str, after: int = 0) -> AsyncGenerator[Event]:
        """Yields every event after number ``after`` as it comes; ends after the last one of the job.

        Raises NotFound, and Overloaded when this process, or this job, has too many followers. While the database is
        unavailable it waits.
        """
        if self._followers >= self._max_followers:
            raise Overloaded("too many follow jobs here; ask for the status now and then instead")
        if len(self._waiters.get(job_id, ())) >= max(1, self._max_followers // _MAX_SHARE):
            raise Overloaded("too many follow this job here; ask for its status now and then instead")
        self._followers += 1
        changed = asyncio.Event()
        self._waiters.setdefault(job_id, set()).add(changed)
        try:
            found = await event_slice(self._database, job_id, after)
            while True:
                for event in found.events:
                    after = event.n
                    yield event
                if found.finished:
                    return
                if not found.events:
                    self._counts[job_id] = min(self._counts.get(job_id, found.count), found.count)
                    self._poll.look_again()
                    self._start_polling()
                    await changed.wait()
                changed.clear()
                found = await self._read(job_id, after)
        finally:
            self._leave(job_id, changed)

    async def wait(self, job_id: str, after: int, wait_s: float) -> EventSlice:
        """The events after number ``after``, as soon as there are any, at the latest after ``wait_s``.

        Raises NotFound, Overloaded, StateUnavailable.
        """
        found = await event_slice(self._database, job_id, after)
        if found.events or found.finished or wait_s <= 0:
            return found
        async with contextlib.aclosing(self.follow(job_id, after)) as following:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await anext(following, None)
        return await event_slice(self._database, job_id, after)

    async def wait_until_finished(self, job_id: str, after: int, wait_s: float) -> None:
        """Waits until the job ends, or for ``wait_s``. Raises NotFound, Overloaded, StateUnavailable."""
        async with contextlib.aclosing(self.follow(job_id, after)) as following:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    async for _ in following:
                        pass

    async def _read(self, job_id: str, after: int) -> EventSlice:
        try:
            return await event_slice(self._database, job_id, after)
        except StateUnavailable:
            await asyncio.sleep(self._poll_s)
            return EventSlice((), finished=False, count=after)

    def _leave(self, job_id: str, changed: asyncio.Event) -> None:
        self._followers -= 1
        self._waiters[job_id].discard(changed)
        if not self._waiters[job_id]:
            del self._waiters[job_id]
            self._counts.pop(job_id, None)

    def _start_polling(self) -> None:
        if self._poll_task is None or self._poll_task.done():
            self._poll_task = asyncio.create_task(self._poll_loop())

    async def _poll_loop(self) -> None:
        """Wakes the followers of changed jobs, as long as there are followers."""
        while self._waiters:
            with contextlib.suppress(StateUnavailable):
                counts = await self._event_counts() if await self._poll.has_to_look() else {}
                for job_id, count in counts.items():
                    last_count = self._counts.get(job_id)
                    if last_count is None or (count is not None and count <= last_count):
                        continue
                    if count is not None:
                        self._counts[job_id] = count
                    for changed in self._waiters.get(job_id, ()):
                        changed.set()
            await asyncio.sleep(self._poll_s)

    async def _event_counts(self) -> dict[str, int | None]:
        """The number of events of each job; None: the job was deleted."""
        job_ids = list(self._counts)
        found: dict[str, int | None] = dict.fromkeys(job_ids)
        async with self._database.read("poll") as connection:
            for start in range(0, len(job_ids), _JOBS_PER_QUERY):
                rows = await connection.execute(_COUNTS, {"ids": job_ids[start : start + _JOBS_PER_QUERY]})
                found |= {row.generation_id: row.events for row in rows}
        return found
