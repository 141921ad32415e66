"""`GenerationQueue`: submits, pauses, resumes, retries and cancels jobs (C-042), in the order of `fair_order`.

Also: pausing a lane, and the number of workers that the queue can use (autoscaling).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cached_property
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from serve.ensembles.requests import IllustrateRequest, JobRequest, digest, from_json
from serve.errors import Conflict, NotFound
from serve.jobs.queue import insertion
from serve.jobs.queue.fair_order import QueueLimits, QueuePlace, UserLocks, assign_places, lock_user_queue
from serve.jobs.queue.insertion import JobOptions, insert_jobs
from serve.jobs.site_policy import SitePolicy
from serve.observability import tracing
from serve.security.identity.audit import SITE, Actor, record
from serve.security.limits.quotas import Quotas
from serve.state import State
from serve.state.database import Database
from serve.state.job_states import (
    CANCEL,
    CANCELLED,
    COMPLETED,
    FAILED,
    PAUSE,
    PAUSED,
    PENDING,
    PROCESSING,
    new_id,
    transition,
)
from serve.state.tables import batches, generations, insert_into, jobs, lanes, utc_now

MAX_PRIORITY = 10
"""Priorities are from -10 to 10; 0 is normal."""
_CANCEL_BATCH = 200
"""Jobs of a batch cancelled per transaction, so that other writers get their turn."""
PRIORITIES = {"low": -5, "normal": 0, "high": 5}


@dataclass(frozen=True)
class Submission:
    """``ids`` in the order of the requests. ``is_replay``: the idempotency key was used before.

    ``row`` and ``place`` are those of the first job, unless ``is_replay``: they save a query for its view.
    """

    ids: Sequence[str]
    batch_id: str | None = None
    is_replay: bool = False
    row: Mapping[str, Any] | None = field(default=None, compare=False, repr=False)
    place: QueuePlace | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class GenerationQueue:
    """For one event loop. Every method raises StateUnavailable; those that take an id raise NotFound."""

    state: State

    @cached_property
    def _quotas(self) -> Quotas:
        return Quotas(self.state.database, self.state.settings.quotas)

    @cached_property
    def _limits(self) -> QueueLimits:
        return QueueLimits(self.state.settings.jobs)

    @cached_property
    def _site_policy(self) -> SitePolicy:
        return SitePolicy(self.state.settings)

    @cached_property
    def _user_locks(self) -> UserLocks:
        return UserLocks(self.state.settings.database.timeout_s)

    async def add(self, request: JobRequest, options: JobOptions) -> Submission:
        """Raises what `SitePolicy` raises, TooManyJobs, QuotaExceeded, and KeyReused."""
        return await self._submit([request], options, None)

    async def add_batch(self, requests: Sequence[JobRequest], options: JobOptions) -> Submission:
        """All or none; they share a ``batch_id``."""
        return await self._submit(requests, options, new_id())

    async def cancel(self, job_id: str) -> str:
        """Returns its new status. A job that a worker runs stays ``processing`` until the worker has released it.

        Raises Conflict when it has finished, unless it was cancelled.
        """
        return await self._request_change(job_id, CANCEL)

    async def pause(self, job_id: str) -> str:
        """As `cancel`, but it can be resumed, and continues from its checkpoint."""
        return await self._request_change(job_id, PAUSE)

    async def resume(self, job_id: str) -> str:
        """Back to the end of its user's queue. Raises Conflict when it has finished."""
        async with self.state.database.write() as connection:
            row = await _lock_job(connection, job_id)
            if row.status == PROCESSING and row.wish == PAUSE:
                await connection.execute(sa.update(jobs).where(jobs.c.generation_id == job_id).values(wish=None))
                return PROCESSING
            if row.status != PAUSED:
                return _status_unless_finished(row, "resumed")
            place = (await assign_places(connection, row.user_id, [row.lane], row.rank))[0]
            await transition(connection, [jobs.c.generation_id == job_id], "resumed", status=PENDING, round=place.round)
            return PENDING

    async def retry(self, job_id: str) -> Submission:
        """Submits the same request as a new job. Raises Conflict unless it failed or was cancelled."""
        async with self.state.database.read() as connection:
            columns = (jobs, generations.c.priority, generations.c.created_at)
            query = sa.select(*columns).join(generations, generations.c.id == jobs.c.generation_id)
            row = (await connection.execute(query.where(jobs.c.generation_id == job_id))).one_or_none()
        if row is None:
            raise _job_not_found()
        if row.status not in (FAILED, CANCELLED):
            raise Conflict(f"is {row.status}; only what failed or was cancelled can be tried again", "id")
        options = JobOptions(row.user_id, row.priority, row.webhook_url, row.webhook_events or (), retried_from=job_id)
        if row.expires_at is not None:
            options = replace(options, timeout_s=(row.expires_at - row.created_at).total_seconds())
        return await self.add(from_json(row.request), options)

    async def set_priority(self, job_id: str, priority: int) -> None:
        """Moves a waiting job: it gets a new round. Raises Conflict for any other."""
        async with self.state.database.write() as connection:
            row = await _lock_job(connection, job_id)
            if row.status not in (PENDING, PAUSED):
                raise Conflict(f"is {row.status}; only what waits can be moved", "id")
            place = (await assign_places(connection, row.user_id, [row.lane], -priority))[0]
            await transition(
                connection, [jobs.c.generation_id == job_id], "moved", {"priority": priority},
                {"priority": priority}, rank=place.rank, round=place.round,
            )  # fmt: skip

    async def cancel_batch(self, batch_id: str) -> int:
        """Cancels the unfinished jobs of a batch; returns their number. Raises NotFound."""
        async with self.state.database.read() as connection:
            query = sa.select(jobs.c.generation_id).join(generations, generations.c.id == jobs.c.generation_id)
            open_jobs = jobs.c.status.in_([PENDING, PAUSED, PROCESSING])
            ids = (await connection.scalars(query.where(generations.c.batch_id == batch_id, open_jobs))).all()
            if not ids and await connection.scalar(sa.select(batches.c.id).where(batches.c.id == batch_id)) is None:
                raise NotFound("there is no such batch", "id")
        for start in range(0, len(ids), _CANCEL_BATCH):
            await self._cancel_all(ids[start : start + _CANCEL_BATCH])
        return len(ids)

    async def _cancel_all(self, ids: Sequence[str]) -> None:
        """Jobs that have finished meanwhile keep their status."""
        selected = jobs.c.generation_id.in_(ids)
        async with self.state.database.write() as connection:
            await connection.execute(
                sa.select(jobs.c.seq).where(selected).order_by(jobs.c.generation_id).with_for_update()
            )
            open_jobs = (selected, jobs.c.status.in_([PENDING, PAUSED]))
            await transition(connection, open_jobs, CANCELLED, None, {"completed_at": utc_now()}, status=CANCELLED)
            await connection.execute(sa.update(jobs).where(selected, jobs.c.status == PROCESSING).values(wish=CANCEL))

    async def _request_change(self, job_id: str, change_wanted: str) -> str:
        new_status = CANCELLED if change_wanted == CANCEL else PAUSED
        selected = jobs.c.generation_id == job_id
        async with self.state.database.write() as connection:
            row = await _lock_job(connection, job_id)
            if row.status == PENDING or (row.status == PAUSED and change_wanted == CANCEL):
                columns = {"completed_at": utc_now()} if change_wanted == CANCEL else {}
                await transition(connection, [selected], new_status, None, columns, status=new_status)
                return new_status
            if row.status == PROCESSING and row.wish != CANCEL:  # a cancellation is final
                await connection.execute(sa.update(jobs).where(selected).values(wish=change_wanted))
            return str(row.status) if row.status == new_status else _status_unless_finished(row, new_status)

    async def _submit(self, requests: Sequence[JobRequest], options: JobOptions, batch_id: str | None) -> Submission:
        with tracing.span("queue", "producer", atelier__jobs=len(requests)):
            return await self._insert(requests, options, batch_id)

    async def _insert(self, requests: Sequence[JobRequest], options: JobOptions, batch_id: str | None) -> Submission:
        requests = await self._site_policy.apply(requests)
        ids = [new_id() for _ in requests]
        await self._quotas.check_storage(options.user_id)
        async with self._user_locks.serialised(options.user_id), self.state.database.write() as connection:
            await lock_user_queue(connection, options.user_id)
            if options.idempotency_key is not None:
                documents = [request.to_json() for request in requests]
                timeout = [] if options.timeout_s is None else [options.timeout_s]
                body = digest(
                    [documents, options.priority, options.webhook_url, list(options.webhook_events), *timeout]
                )
                retention = timedelta(hours=self.state.settings.jobs.keep_keys_h)
                target = batch_id or ids[0]
                existing = await insertion.claim(
                    connection, options.user_id, options.idempotency_key, body, target, retention
                )
                if existing is not None:
                    if (is_replay := await _replayed(connection, existing, batch_id is not None)) is not None:
                        return is_replay
                    await insertion.renew(connection, options.user_id, options.idempotency_key, target)
            if batch_id is not None:
                row = {"id": batch_id, "user_id": options.user_id, "size": len(ids), "created_at": utc_now()}
                await connection.execute(batches.insert(), row)
            seeded = [_with_seed(request) for request in requests]
            first, place = await insert_jobs(connection, ids, seeded, options, batch_id, self._limits)
        return Submission(ids, batch_id, row=first, place=place)


def _with_seed(request: JobRequest) -> JobRequest:
    """Fixes the seed, so that another attempt, or a resumed job, draws the same picture."""
    return request.seeded() if isinstance(request, IllustrateRequest) else request


async def _replayed(connection: AsyncConnection, target: str, batch: bool) -> Submission | None:
    """None when it was deleted meanwhile."""
    selected = (generations.c.batch_id if batch else generations.c.id) == target
    ids = (await connection.scalars(sa.select(generations.c.id).where(selected).order_by(generations.c.seq))).all()
    return Submission(ids, target if batch else None, is_replay=True) if ids else None


async def _lock_job(connection: AsyncConnection, job_id: str) -> sa.Row[Any]:
    query = sa.select(jobs).where(jobs.c.generation_id == job_id).with_for_update()
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        raise _job_not_found()
    return row


def _job_not_found() -> NotFound:
    return NotFound("there is no such job", "id")


def _status_unless_finished(row: sa.Row[Any], action: str) -> str:
    if row.status in (COMPLETED, FAILED, CANCELLED):
        raise Conflict(f"is {row.status}: it cannot be {action} any more", "id")
    status: str = row.status
    return status


async def set_lane_paused(database: Database, lane: str, paused: bool, by: Actor = SITE) -> None:
    """A paused lane starts no jobs; running ones continue. Raises StateUnavailable, OutOfSpace."""
    insert = insert_into(lanes, database.is_sqlite)
    row = insert.values(lane=lane, paused=paused)
    async with database.write() as connection:
        await connection.execute(row.on_conflict_do_update(index_elements=["lane"], set_={"paused": paused}))
        await record(connection, by, "lane.pause" if paused else "lane.resume", lane)


_JOB_COUNT = sa.select(sa.func.count()).select_from(
    sa.select(sa.literal(1))
    .where(jobs.c.lane == sa.bindparam("lane"), jobs.c.status == sa.bindparam("status"))
    .where(~sa.exists().where(lanes.c.lane == sa.bindparam("lane"), lanes.c.paused))
    .limit(sa.bindparam("most"))
    .subquery()
)
"""Jobs of a lane that is not paused, up to ``most``: beyond that the number of workers is the same."""


async def desired_workers(state: State) -> int:
    """So many that every waiting or running job has a slot, at most one more than the configured maximum.

    Raises StateUnavailable.
    """
    limits = state.settings.jobs
    maximum = (limits.max_workers or limits.workers) + 1
    desired = 0
    async with state.database.read() as connection:
        for lane, slots in limits.slots.items():
            count = 0
            for status in (PROCESSING, PENDING):
                parameters = {"lane": lane, "status": status, "most": maximum * slots}
                count += await connection.scalar(_JOB_COUNT, parameters) or 0
            desired = max(desired, math.ceil(count / slots))
    return min(desired, maximum)
