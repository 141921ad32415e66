"""`LeaseReaper`: requeues the jobs of dead workers.

A process that has seen a worker's heartbeat unchanged for ``lease_s`` of its own monotonic clock deletes the worker's
row and requeues its jobs in one transaction. Clocks of different machines are never compared.
`DatabaseTimeout` bounds the wait for database work, even if the connection hangs.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from serve.errors import AtelierError, OutOfSpace, StateUnavailable
from serve.jobs.queue.expiry import fail_expired
from serve.jobs.records import insert_measurement
from serve.observability.metrics.catalogue import JOBS_RECOVERED
from serve.state import State
from serve.state.job_states import (
    CANCEL,
    CANCELLED,
    FAILED,
    PAUSE,
    PAUSED,
    PENDING,
    PROCESSING,
    LastSeen,
    transition,
    updated,
)
from serve.state.tables import deliveries, flights, jobs, utc_now, workers


async def requeue(
    connection: AsyncConnection, conditions: Sequence[sa.ColumnElement[bool]], reason: str | None, max_failures: int
) -> int:
    """Running jobs go back to the queue, or to the state that their user requested; a ``reason`` counts as a failed
    attempt.

    Returns their number.
    """
    now = utc_now()
    released: dict[str, Any] = {"worker_id": None, "wish": None}
    # Locked before anything is decided: a concurrent cancel or pause waits, and sees the job's new state.
    query = sa.select(jobs.c.generation_id).where(*conditions, jobs.c.status == PROCESSING).with_for_update()
    ids = (await connection.scalars(query.order_by(jobs.c.generation_id))).all()
    if not ids:
        return 0
    selected = (jobs.c.generation_id.in_(ids), jobs.c.status == PROCESSING)
    columns = {"completed_at": now}
    await transition(
        connection, [*selected, jobs.c.wish == CANCEL], CANCELLED, None, columns, status=CANCELLED, **released
    )
    await transition(connection, [*selected, jobs.c.wish == PAUSE], PAUSED, None, None, status=PAUSED, **released)
    if reason is not None:
        error = {"type": "WorkerLost", "status": 500, "detail": f"{reason}, as often as a job is tried", "field": None}
        exhausted = (*selected, jobs.c.failures + 1 >= max_failures)
        failed_columns = {"error": error, "completed_at": now}
        for row in await transition(
            connection, exhausted, FAILED, {"error": error}, failed_columns, status=FAILED, **released
        ):
            await insert_measurement(connection, row.generation_id, 0.0, error=str(error["detail"]))
        released["failures"] = jobs.c.failures + 1
    await transition(
        connection, selected, "retrying", {"reason": reason or "its worker let go of it"}, status=PENDING, **released
    )
    return len(ids)


async def delete_worker(connection: AsyncConnection, worker_id: str) -> None:
    """Deletes the rows of a dead worker, and releases its webhooks."""
    await connection.execute(sa.delete(workers).where(workers.c.id == worker_id))
    await connection.execute(sa.delete(flights).where(flights.c.worker_id == worker_id))
    mine = deliveries.c.worker_id == worker_id
    await connection.execute(sa.update(deliveries).where(mine).values(worker_id=None))


_HEARTBEATS = sa.select(workers.c.id, workers.c.beat)
_ORPHANS = (
    jobs.c.worker_id > "",  # NOT NULL, in a form for which SQLite uses the index
    ~sa.exists().where(workers.c.id == jobs.c.worker_id),
)
_ONE_ORPHAN = sa.select(jobs.c.generation_id).where(*_ORPHANS).limit(1)


class LeaseReaper:
    """Recovers the leases of dead workers, and fails expired jobs. Any number of processes may run one."""

    def __init__(self, state: State, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = state.database
        self._lease_s = state.settings.jobs.lease_s
        self._max_failures = state.settings.jobs.max_failures
        self._clock = clock
        self._last_seen: LastSeen = {}
        self._timeout = DatabaseTimeout(cancels=False)  # a late heartbeat still renews the lease
        self._observations = 0

    async def close(self) -> None:
        """Cancels runs that exceeded their time."""
        await self._timeout.close()

    async def reap_within_lease(self, heartbeat: Awaitable[None]) -> None:
        """As `reap`, but a run that takes long is left in the background, since the next heartbeat is due within the
        lease. If it did not even read the heartbeats, earlier observations are discarded."""
        observations = self._observations
        try:
            await self._timeout.run(self._lease_s / 3, self.reap(heartbeat))
        except StateUnavailable:
            if self._observations == observations:
                self._last_seen.clear()
            raise

    async def reap(self, heartbeat: Awaitable[None] | None = None) -> list[str]:
        """Returns the workers whose jobs were requeued. Call it several times per ``lease_s``.

        ``heartbeat`` renews this process's own lease: while that cannot be written, no process can renew, so earlier
        observations are discarded. Raises StateUnavailable, and what ``heartbeat`` raises.
        """
        try:
            started = self._clock()
            if heartbeat is not None:
                await heartbeat
            heartbeats = await self._read_heartbeats()
            self._observations += 1
            now = self._clock()
            if now - started > self._lease_s / 4:  # other processes may have been delayed as well
                self._last_seen.clear()
            self._last_seen = updated(self._last_seen, heartbeats, now)
            expired = [worker for worker, (_, since) in self._last_seen.items() if now - since >= self._lease_s]
            reaped = [worker for worker in expired if await self._reap_worker(worker, heartbeats[worker])]
            await self._requeue_orphans()
        except (StateUnavailable, OutOfSpace):
            self._last_seen.clear()
            raise
        await fail_expired(self._database)
        return reaped

    async def _read_heartbeats(self) -> dict[str, int]:
        async with self._database.read() as connection:
            return {row.id: row.beat for row in await connection.execute(_HEARTBEATS)}

    async def _reap_worker(self, worker_id: str, heartbeat_count: int) -> bool:
        """Whether its heartbeat was still ``heartbeat_count``."""
        async with self._database.write() as connection:
            same = (workers.c.id == worker_id, workers.c.beat == heartbeat_count)
            if (await connection.execute(sa.delete(workers).where(*same))).rowcount == 0:
                return False
            await requeue(connection, [jobs.c.worker_id == worker_id], "its worker died", self._max_failures)
            await delete_worker(connection, worker_id)
        JOBS_RECOVERED.add(1)
        return True

    async def _requeue_orphans(self) -> None:
        """Requeues jobs of workers that have no row."""
        async with self._database.read() as connection:
            if await connection.scalar(_ONE_ORPHAN) is None:
                return
        async with self._database.write() as connection:
            await requeue(connection, _ORPHANS, "its worker died", self._max_failures)


T = TypeVar("T")

LOGGER = logging.getLogger(__name__)


class DatabaseTimeout:
    """Work on a connection that may be dead: cancelling it may take as long as the work itself, so late work is left
    running until `close`. ``cancels``: it is cancelled all the same, and sends no further queries."""

    def __init__(self, *, cancels: bool) -> None:
        self._cancels = cancels
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def is_idle(self) -> bool:
        """Whether no work runs any more, late or not."""
        return not self._tasks

    async def run(self, timeout_s: float, work: Coroutine[Any, Any, T]) -> T:
        """The result of ``work``. Raises StateUnavailable when it is late, and what it raises."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await asyncio.wait({task}, timeout=timeout_s)
        if task.done():
            return task.result()
        task.add_done_callback(_log_late_failure)
        if self._cancels:
            task.cancel()
        raise StateUnavailable("the database does not answer in time; it is asked again")

    async def close(self) -> None:
        """Cancels what still runs, including late work."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _log_late_failure(task: asyncio.Task[Any]) -> None:
    """Late work has no waiter; unexpected errors still go to the log."""
    if not task.cancelled() and not isinstance(error := task.exception(), AtelierError | None):
        LOGGER.warning("late database work failed", exc_info=error)
