"""What becomes of the jobs of a worker that is gone.

Who has watched a worker's beat stand still for ``lease_s`` of his own monotonic clock takes its jobs away, in one
transaction with its row: no two clocks are compared, and one that is set changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from serve.errors import OutOfSpace, StateUnavailable
from serve.jobs.queue.expiry import take_out
from serve.jobs.recording import measure
from serve.jobs.worker.database_timeout import DatabaseTimeout
from serve.observability.metrics.catalogue import JOBS_RECOVERED
from serve.state import State
from serve.state.heartbeats import Seen, looked_again
from serve.state.job_states import CANCEL, CANCELLED, FAILED, PAUSE, PAUSED, PENDING, PROCESSING, change
from serve.state.tables import deliveries, flights, jobs, utc_now, workers


async def requeue(
    connection: AsyncConnection, which: Sequence[sa.ColumnElement[bool]], reason: str | None, max_failures: int
) -> int:
    """Jobs that a worker has go to the queue, or where it was wished; a ``reason`` counts as a failed attempt.

    How many they were.
    """
    now = utc_now()
    free: dict[str, Any] = {"worker_id": None, "wish": None}
    # Locked before anything is decided: a wish that comes meanwhile waits, and finds the job where it then is.
    locked = sa.select(jobs.c.generation_id).where(*which, jobs.c.status == PROCESSING).with_for_update()
    ids = (await connection.scalars(locked.order_by(jobs.c.generation_id))).all()
    if not ids:
        return 0
    held = (jobs.c.generation_id.in_(ids), jobs.c.status == PROCESSING)
    over = {"completed_at": now}
    await change(connection, [*held, jobs.c.wish == CANCEL], CANCELLED, None, over, status=CANCELLED, **free)
    await change(connection, [*held, jobs.c.wish == PAUSE], PAUSED, None, None, status=PAUSED, **free)
    if reason is not None:
        error = {"type": "WorkerLost", "status": 500, "detail": f"{reason}, as often as a job is tried", "field": None}
        too_often = (*held, jobs.c.failures + 1 >= max_failures)
        ends = {"error": error, "completed_at": now}
        for row in await change(connection, too_often, FAILED, {"error": error}, ends, status=FAILED, **free):
            await measure(connection, row.generation_id, 0.0, error=str(error["detail"]))
        free["failures"] = jobs.c.failures + 1
    await change(connection, held, "retrying", {"reason": reason or "its worker let go of it"}, status=PENDING, **free)
    return len(ids)


async def forget(connection: AsyncConnection, worker_id: str) -> None:
    """Every other trace of a worker that is gone."""
    await connection.execute(sa.delete(workers).where(workers.c.id == worker_id))
    await connection.execute(sa.delete(flights).where(flights.c.worker_id == worker_id))
    mine = deliveries.c.worker_id == worker_id
    await connection.execute(sa.update(deliveries).where(mine).values(worker_id=None))


class LeaseReaper:
    """Looks after the workers of a site, and after jobs whose time is over. Any number of processes may do so."""

    def __init__(self, state: State, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = state.database
        self._lease_s = state.settings.jobs.lease_s
        self._max_failures = state.settings.jobs.max_failures
        self._clock = clock
        self._seen: Seen = {}
        self._patience = DatabaseTimeout(cancels=False)  # a beat that lands late shows life all the same
        self._answers = 0

    async def close(self) -> None:
        """Ends looks that were left to themselves."""
        await self._patience.close()

    async def look_in_time(self, own: Awaitable[None]) -> None:
        """As `look`; one that takes long is left to itself: the next beat has to come within the lease. One that did
        not even see the beats by then forgets those of before."""
        answers = self._answers
        try:
            await self._patience.within(self._lease_s / 3, self.look(own))
        except StateUnavailable:
            if self._answers == answers:
                self._seen.clear()
            raise

    async def look(self, own: Awaitable[None] | None = None) -> list[str]:
        """The workers whose jobs were taken. To be called several times in ``lease_s``.

        ``own`` is what shows that this process lives: while that cannot be written, nobody can beat, and what was seen
        before is forgotten. Raises StateUnavailable, and what ``own`` raises.
        """
        try:
            began = self._clock()
            if own is not None:
                await own
            beats = await self._beats()
            self._answers += 1
            now = self._clock()
            if now - began > self._lease_s / 4:  # others may have had to wait as long
                self._seen.clear()
            self._seen = looked_again(self._seen, beats, now)
            still = [worker for worker, (_, since) in self._seen.items() if now - since >= self._lease_s]
            taken = [worker for worker in still if await self._take(worker, beats[worker])]
            await self._take_orphans()
        except (StateUnavailable, OutOfSpace):
            self._seen.clear()
            raise
        await take_out(self._database)
        return taken

    async def _beats(self) -> dict[str, int]:
        async with self._database.read() as connection:
            return {row.id: row.beat for row in await connection.execute(sa.select(workers.c.id, workers.c.beat))}

    async def _take(self, worker_id: str, beat: int) -> bool:
        """Whether its beat still was ``beat``."""
        async with self._database.write() as connection:
            same = (workers.c.id == worker_id, workers.c.beat == beat)
            if (await connection.execute(sa.delete(workers).where(*same))).rowcount == 0:
                return False
            await requeue(connection, [jobs.c.worker_id == worker_id], "its worker died", self._max_failures)
            await forget(connection, worker_id)
        JOBS_RECOVERED.add(1)
        return True

    async def _take_orphans(self) -> None:
        """Jobs of workers that have no row at all."""
        held = jobs.c.worker_id > ""  # not NULL, in words for which SQLite uses the index
        orphans = (held, ~sa.exists().where(workers.c.id == jobs.c.worker_id))
        async with self._database.read() as connection:
            if await connection.scalar(sa.select(jobs.c.generation_id).where(*orphans).limit(1)) is None:
                return
        async with self._database.write() as connection:
            await requeue(connection, orphans, "its worker died", self._max_failures)
