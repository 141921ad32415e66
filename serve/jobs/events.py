"""What happened to a job, counted from 1: read at once, or followed until the job is over.

`Follower` asks one question for all jobs that its process follows, every ``poll_s``: whether their counts have moved.
An event is written in the transaction that counts it: a count that is seen has its events, in order, without gaps.
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
from serve.jobs.states import OVER
from serve.state import State
from serve.state.database import Database
from serve.state.tables import events, jobs

LOGGER = logging.getLogger(__name__)
MOST_AT_ONCE = 1000
_CHUNK = 500
"""Jobs in one question."""


@dataclass(frozen=True)
class Event:
    """``data`` always tells ``status``, ``progress`` and ``attempt`` as they were then."""

    n: int
    kind: str
    data: Mapping[str, Any]
    created_at: datetime

    @property
    def is_last(self) -> bool:
        return self.kind in OVER


async def events_after(database: Database, job_id: str, after: int = 0, most: int = MOST_AT_ONCE) -> list[Event]:
    """Up to ``most`` events of a job that follow number ``after``. Raises NotFound, StateUnavailable.

    Of a job that was over long ago its events are gone: one that tells where it stands takes their place.
    """
    query = sa.select(events).where(events.c.generation_id == job_id, events.c.n > after)
    async with database.read() as connection:
        job = (await connection.execute(sa.select(jobs).where(jobs.c.generation_id == job_id))).one_or_none()
        if job is None:
            raise NotFound("there is no such job", "id")
        rows = (await connection.execute(query.order_by(events.c.n).limit(most))).all()
    if not rows and job.status in OVER and after < job.events:
        data = {"status": job.status, "progress": job.progress, "attempt": job.attempt, **(job.stage or {})}
        return [Event(job.events, job.status, data, job.available_at)]
    return [Event(row.n, row.kind, row.data, row.created_at) for row in rows]


class Follower:
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

        Raises NotFound, and Overloaded when too many follow already. While the database is away there is silence.
        """
        if self._here >= self._most:
            raise Overloaded("too many follow jobs here; ask for the status now and then instead")
        self._here += 1
        moved = asyncio.Event()
        self._waiting.setdefault(job_id, set()).add(moved)
        try:
            found = await events_after(self._database, job_id, after)
            while True:
                for event in found:
                    after = event.n
                    yield event
                    if event.is_last:
                        return
                if not found:
                    self._counts[job_id] = min(self._counts.get(job_id, after), after)
                    self._look()
                    await moved.wait()
                moved.clear()
                found = await self._read(job_id, after)
        finally:
            self._leave(job_id, moved)

    async def _read(self, job_id: str, after: int) -> list[Event]:
        try:
            return await events_after(self._database, job_id, after)
        except StateUnavailable:
            await asyncio.sleep(self._poll_s)
            return []

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
                    if count > self._counts.get(job_id, count):
                        self._counts[job_id] = count
                        for moved in self._waiting.get(job_id, ()):
                            moved.set()
            await asyncio.sleep(self._poll_s)

    async def _moved(self) -> dict[str, int]:
        wanted = list(self._counts)
        found: dict[str, int] = {}
        async with self._database.read() as connection:
            for start in range(0, len(wanted), _CHUNK):
                query = sa.select(jobs.c.generation_id, jobs.c.events)
                some: Sequence[str] = wanted[start : start + _CHUNK]
                rows = await connection.execute(query.where(jobs.c.generation_id.in_(some)))
                found |= {row.generation_id: row.events for row in rows}
        return found
