"""`Leases`: how a worker claims jobs, keeps them, and loses them.

A worker has a row with a heartbeat counter; `lease_reaper` requeues the jobs of workers whose counter stands still.
Every write of a worker names the worker and the attempt, so a worker that comes back late changes nothing.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from serve.ensembles.requests import Outcome
from serve.errors import AtelierError, EngineLost, EngineUnavailable, OutOfSpace, Overloaded, StateUnavailable
from serve.jobs.queue.expiry import is_expired
from serve.jobs.records import completion_columns, error_details, insert_measurement, insert_results
from serve.jobs.worker import claims
from serve.jobs.worker.claims import ClaimedJob
from serve.jobs.worker.lease_reaper import delete_worker, requeue
from serve.observability.costs import total
from serve.observability.metrics.catalogue import JOB_WAIT_SECONDS
from serve.state import State
from serve.state.job_states import (
    CANCEL,
    COMPLETED,
    FAILED,
    PAUSE,
    PAUSED,
    PENDING,
    PROCESSING,
    apply_update,
    new_id,
    update_jobs,
)
from serve.state.objects.names import Stored
from serve.state.tables import checkpoints, jobs, utc_now, workers

TRANSIENT = (Overloaded, EngineUnavailable, StateUnavailable, OutOfSpace)
"""Errors that are not caused by the job."""


NO_COST: Mapping[str, float] = {}
_RELEASED: Mapping[str, Any] = {"worker_id": None, "wish": None}


class LeaseLost(Exception):
    """The job, or every job, was given to another worker: its result must be discarded."""


class Leases:
    """Of one worker; `register` first. Every method raises StateUnavailable, and LeaseLost where it writes."""

    def __init__(self, state: State, slots: Mapping[str, int]) -> None:
        self.worker_id = ""
        self._state = state
        self._database = state.database
        self._limits = state.settings.jobs
        self._most_running = state.settings.quotas.max_running
        self._slots = dict(slots)
        self._lanes_with_jobs: set[str] = set()
        # Lanes that had jobs at the last claim.

    async def register(self) -> None:
        """As a new worker, with no jobs."""
        worker_id = new_id()
        row = {"id": worker_id, "beat": 0, "slots": self._slots, "started_at": utc_now()}
        async with self._database.write() as connection:
            await connection.execute(workers.insert(), row)
        self.worker_id = worker_id

    async def renew(self) -> None:
        """Counts up the heartbeat. Raises LeaseLost when the worker was reaped: then it holds no jobs any more."""
        async with self._database.write() as connection:
            selected = workers.c.id == self.worker_id
            row = await connection.execute(sa.update(workers).where(selected).values(beat=workers.c.beat + 1))
            if row.rowcount == 0:
                raise LeaseLost

    async def requeue_orphans(self, running: Collection[str], reason: str | None) -> None:
        """Requeues jobs that are assigned to this worker but not in ``running``; a ``reason`` counts as a failed
        attempt. Do not call it while a claim is in progress, whose jobs are not in ``running`` yet."""
        orphaned = (jobs.c.worker_id == self.worker_id, jobs.c.generation_id.not_in(list(running)))
        async with self._database.read("poll") as connection:  # usually there are none, and a read needs no write lock
            if not await connection.scalar(sa.select(sa.exists().where(*orphaned))):
                return
        async with self._database.write() as connection:
            await requeue(connection, orphaned, reason, self._limits.max_failures)

    async def unregister(self) -> None:
        """Deletes this worker; its jobs go back to the queue."""
        async with self._database.write() as connection:
            await requeue(connection, [jobs.c.worker_id == self.worker_id], None, self._limits.max_failures)
            await delete_worker(connection, self.worker_id)

    async def claim(self, lane: str, limit: int) -> list[ClaimedJob]:
        """Claims up to ``limit`` jobs of ``lane``, in its order.

        Raises LeaseLost when the worker was reaped.
        """
        now = utc_now()
        parameters: dict[str, Any] = {
            "lane": lane,
            "now": now,
            "far": now + timedelta(seconds=2 * self._limits.retry_max_s),
        }
        select_waiting, select_for_claim = claims.QUERIES_WITHIN_LIMIT if self._most_running else claims.QUERIES
        if self._most_running:
            parameters["most_running"] = self._most_running
        if lane not in self._lanes_with_jobs:  # usually there is none, and a read needs no write lock
            async with self._database.read("poll") as connection:
                if await connection.scalar(select_waiting, {**parameters, "most": 1}) is None:
                    return []
        async with self._database.write() as connection:
            if self._most_running:
                await claims.lock_claims(connection)
            rows = (
                await connection.execute(select_for_claim, {**parameters, "most": limit, "me": self.worker_id})
            ).all()
            if rows and self._most_running:
                rows = await claims.apply_user_limits(connection, rows, self._most_running)
            if not rows:
                if await connection.scalar(claims.WORKER_EXISTS, {"me": self.worker_id}) is None:
                    raise LeaseLost
                self._lanes_with_jobs.discard(lane)
                return []
            selected = {"ids": [row.generation_id for row in rows], "me": self.worker_id}
            details = {"status": PROCESSING, "started_at": now}
            await apply_update(connection, claims.START_JOBS, selected, "started", None, details)
        self._lanes_with_jobs.add(lane)
        for row in rows:
            JOB_WAIT_SECONDS.observe(max(0.0, (now - row.available_at).total_seconds()), lane)
        return [claims.to_claimed_job(row) for row in rows]

    async def requested_changes(self) -> dict[str, str]:
        """Requested cancels and pauses of this worker's jobs, by id."""
        async with self._database.read("poll") as connection:
            rows = await connection.execute(_REQUESTED_CHANGES, {"me": self.worker_id})
            return {row.generation_id: row.wish for row in rows}

    async def report(
        self,
        job: ClaimedJob,
        event: str,
        stage: Mapping[str, Any],
        progress: float,
        checkpoint_data: Mapping[int, tuple[int, bytes]],
        cost: Mapping[str, float] = NO_COST,
    ) -> None:
        """Writes the progress of ``job``. ``stage`` is merged into its events; ``checkpoint_data`` is (step, data) by
        picture; ``cost`` is that of this attempt."""
        values: dict[str, Any] = {"stage": dict(stage), "progress": progress, **total(job.spent, cost)}
        if checkpoint_data:
            values["failures"] = 0  # a checkpoint is progress: earlier failures no longer count
        async with self._database.write() as connection:
            await self._update_job(connection, job, event, None, None, **values)
            if checkpoint_data:
                places = checkpoints.c.place.in_(list(checkpoint_data))
                await connection.execute(sa.delete(checkpoints).where(checkpoints.c.generation_id == job.id, places))
                rows = [
                    {"generation_id": job.id, "place": place, "step": step, "data": data}
                    for place, (step, data) in checkpoint_data.items()
                ]
                await connection.execute(checkpoints.insert(), rows)

    async def checkpoints(self, job: ClaimedJob) -> dict[int, tuple[int, bytes]]:
        """(step, data) by picture."""
        query = sa.select(checkpoints).where(checkpoints.c.generation_id == job.id)
        async with self._database.read() as connection:
            return {row.place: (row.step, row.data) for row in await connection.execute(query)}

    async def complete(
        self,
        job: ClaimedJob,
        outcome: Outcome,
        stored: Sequence[Stored],
        *,
        cached: bool = False,
        stage: Mapping[str, Any] | None = None,
        and_then: Callable[[AsyncConnection], Awaitable[None]] | None = None,
    ) -> None:
        """A job completes once: a worker that is too late gets LeaseLost, and its results are not recorded.

        ``and_then`` writes more in the same transaction.
        """
        cost = total(job.spent, {} if cached else outcome.cost)
        values: dict[str, Any] = {"status": COMPLETED, "worker_id": None, "wish": None, "progress": 1.0, **cost}
        if stage is not None:
            values["stage"] = dict(stage)
        async with self._database.write() as connection:
            await self._update_job(
                connection, job, COMPLETED, None, completion_columns(outcome, cached=cached), **values
            )
            await insert_results(connection, job.id, outcome, stored)
            await insert_measurement(connection, job.id, outcome.generation_time_s)
            if and_then is not None:
                await and_then(connection)

    async def fail(self, job: ClaimedJob, error: AtelierError, duration_s: float) -> str:
        """Schedules another attempt if the error may be transient and attempts are left; otherwise the job has failed.

        Returns retried, failed or let_go (cancelled meanwhile). Overload and outages do not count as failed attempts.
        """
        details = error_details(error)
        is_counted = isinstance(error, EngineLost) or not isinstance(error, TRANSIENT)
        async with self._database.write() as connection:
            query = (
                sa.select(jobs.c.failures, jobs.c.wish, jobs.c.expires_at)
                .where(*self._still_held(job))
                .with_for_update()
            )
            row = (await connection.execute(query)).one_or_none()
            if row is None:
                raise LeaseLost
            if row.wish == CANCEL:
                await self._release(connection, job)
                return "let_go"
            if not is_expired(row.expires_at) and (
                not is_counted or (error.status >= 500 and row.failures + 1 < self._limits.max_failures)
            ):
                retry_at = utc_now() + timedelta(
                    seconds=self._backoff_s(row.failures if is_counted else job.attempt - 1)
                )
                new_status = PAUSED if row.wish == PAUSE else PENDING
                values = {"status": new_status, "available_at": retry_at, "failures": row.failures + int(is_counted)}
                await self._update_job(connection, job, "retrying", {"error": details}, None, **values, **_RELEASED)
                return "retried"
            columns = {"error": details, "completed_at": utc_now(), "generation_time_s": duration_s}
            await self._update_job(connection, job, FAILED, {"error": details}, columns, status=FAILED, **_RELEASED)
            await insert_measurement(connection, job.id, duration_s, error=str(error))
            return FAILED

    async def release(self, job: ClaimedJob) -> None:
        """Releases the job as its user requested: cancelled, paused with its checkpoint, or requeued."""
        async with self._database.write() as connection:
            await self._release(connection, job)

    async def _release(self, connection: AsyncConnection, job: ClaimedJob) -> None:
        if not await requeue(connection, self._still_held(job), None, self._limits.max_failures):
            raise LeaseLost

    def _still_held(self, job: ClaimedJob) -> tuple[sa.ColumnElement[bool], ...]:
        """Conditions: the job is still this worker's, and this is its last attempt."""
        return _still_held(job.id, self.worker_id, job.attempt)

    async def _update_job(
        self,
        connection: AsyncConnection,
        job: ClaimedJob,
        event: str,
        details: Mapping[str, Any] | None,
        generation: Mapping[str, Any] | None,
        **values: Any,
    ) -> None:
        selected = {"my_job": job.id, "me": self.worker_id, "my_attempt": job.attempt}
        new = {f"new_{name}": value for name, value in values.items()}
        checkpoint_data = dict(generation or {}) | ({"status": values["status"]} if "status" in values else {})
        if not await apply_update(
            connection, _update_statement(tuple(values)), {**selected, **new}, event, details, checkpoint_data
        ):
            raise LeaseLost

    def _backoff_s(self, failures: int) -> float:
        """Exponential, with up to half of it as jitter."""
        delay_s = min(self._limits.retry_max_s, self._limits.retry_s * 2.0 ** min(failures, 32))
        return delay_s * random.uniform(1.0, 1.5)


_REQUESTED_CHANGES = sa.select(jobs.c.generation_id, jobs.c.wish).where(
    jobs.c.worker_id == sa.bindparam("me"), jobs.c.wish.is_not(None)
)


def _still_held(job: Any, worker_id: Any, attempt: Any) -> tuple[sa.ColumnElement[bool], ...]:
    j = jobs.c
    return j.generation_id == job, j.worker_id == worker_id, j.attempt == attempt, j.status == PROCESSING


@functools.cache
def _update_statement(names: tuple[str, ...]) -> sa.Update:
    """Sets the columns ``names`` of a job of this worker to parameters named ``new_`` plus the column."""
    new = {name: sa.bindparam(f"new_{name}", type_=jobs.c[name].type) for name in names}
    return update_jobs(*_still_held(*(sa.bindparam(name) for name in ("my_job", "me", "my_attempt")))).values(new)
