"""`GenerationQueue`: submits, pauses, resumes, retries and cancels jobs (C-042), in the order of `fair_order`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cached_property
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from serve.ensembles.requests import JobRequest, VectorizeRequest, digest, from_json
from serve.errors import Conflict, NotFound
from serve.jobs.queue import idempotency
from serve.jobs.queue.fair_order import Bounds, FairOrder, Place, lock_user, places
from serve.jobs.queue.insertion import Order, insert_jobs
from serve.jobs.site_policy import SitePolicy
from serve.observability import tracing
from serve.security.limits.quotas import Quotas
from serve.state import State
from serve.state.job_states import (
    CANCEL,
    CANCELLED,
    COMPLETED,
    FAILED,
    PAUSE,
    PAUSED,
    PENDING,
    PROCESSING,
    change,
    new_id,
)
from serve.state.tables import batches, generations, jobs, utc_now

MAX_PRIORITY = 10
"""From minus this to this; 0 is normal."""
_CHUNK = 200
"""Jobs of a batch that are cancelled in one transaction: others write in between."""
PRIORITIES = {"low": -5, "normal": 0, "high": 5}


@dataclass(frozen=True)
class Added:
    """``ids`` in the order of the requests. ``again``: the idempotency key stood for it already.

    ``row`` and ``place`` are of the first, unless ``again``: who tells of it need not ask.
    """

    ids: Sequence[str]
    batch_id: str | None = None
    again: bool = False
    row: Mapping[str, Any] | None = field(default=None, compare=False, repr=False)
    place: Place | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class GenerationQueue:
    """For one event loop. Every method raises StateUnavailable; those that take an id raise NotFound."""

    state: State

    @cached_property
    def _quotas(self) -> Quotas:
        return Quotas(self.state.database, self.state.settings.quotas)

    @cached_property
    def _bounds(self) -> Bounds:
        return Bounds(self.state.settings.jobs)

    @cached_property
    def _terms(self) -> SitePolicy:
        return SitePolicy(self.state.settings)

    @cached_property
    def _turns(self) -> FairOrder:
        return FairOrder(self.state.settings.database.timeout_s)

    async def add(self, request: JobRequest, order: Order) -> Added:
        """Raises what `SitePolicy` raise, TooManyJobs, QuotaExceeded, and KeyReused when the key stands for another."""
        return await self._add([request], order, None)

    async def add_batch(self, requests: Sequence[JobRequest], order: Order) -> Added:
        """All or none; they share a ``batch_id``."""
        return await self._add(requests, order, new_id())

    async def cancel(self, job_id: str) -> str:
        """Its status then. A job that a worker has is ``processing`` until the worker has let go of it.

        Raises Conflict when it is over, unless it was cancelled.
        """
        return await self._wish(job_id, CANCEL)

    async def pause(self, job_id: str) -> str:
        """As ``cancel``, but it can be resumed, and goes on from its checkpoint."""
        return await self._wish(job_id, PAUSE)

    async def resume(self, job_id: str) -> str:
        """Back to the end of its user's turns. Raises Conflict when it is over."""
        async with self.state.database.write() as connection:
            row = await _locked(connection, job_id)
            if row.status == PROCESSING and row.wish == PAUSE:
                await connection.execute(sa.update(jobs).where(jobs.c.generation_id == job_id).values(wish=None))
                return PROCESSING
            if row.status != PAUSED:
                return _unless_over(row, "resumed")
            place = (await places(connection, row.user_id, [row.lane], row.rank))[0]
            await change(connection, [jobs.c.generation_id == job_id], "resumed", status=PENDING, round=place.round)
            return PENDING

    async def retry(self, job_id: str) -> Added:
        """The same request as a new job. Raises Conflict unless it failed or was cancelled."""
        async with self.state.database.read() as connection:
            columns = (jobs, generations.c.priority, generations.c.created_at)
            query = sa.select(*columns).join(generations, generations.c.id == jobs.c.generation_id)
            row = (await connection.execute(query.where(jobs.c.generation_id == job_id))).one_or_none()
        if row is None:
            raise _unknown()
        if row.status not in (FAILED, CANCELLED):
            raise Conflict(f"is {row.status}; only what failed or was cancelled can be tried again", "id")
        order = Order(row.user_id, row.priority, row.webhook_url, row.webhook_events or (), retried_from=job_id)
        if row.expires_at is not None:
            order = replace(order, timeout_s=(row.expires_at - row.created_at).total_seconds())
        return await self.add(from_json(row.request), order)

    async def set_priority(self, job_id: str, priority: int) -> None:
        """Of a job that waits: it gets a round among its new equals. Raises Conflict for any other."""
        async with self.state.database.write() as connection:
            row = await _locked(connection, job_id)
            if row.status not in (PENDING, PAUSED):
                raise Conflict(f"is {row.status}; only what waits can be moved", "id")
            place = (await places(connection, row.user_id, [row.lane], -priority))[0]
            await change(
                connection, [jobs.c.generation_id == job_id], "moved", {"priority": priority},
                {"priority": priority}, rank=place.rank, round=place.round,
            )  # fmt: skip

    async def cancel_batch(self, batch_id: str) -> int:
        """Cancels what is not over; how many that were. Raises NotFound."""
        async with self.state.database.read() as connection:
            query = sa.select(jobs.c.generation_id).join(generations, generations.c.id == jobs.c.generation_id)
            waiting = jobs.c.status.in_([PENDING, PAUSED, PROCESSING])
            ids = (await connection.scalars(query.where(generations.c.batch_id == batch_id, waiting))).all()
            if not ids and await connection.scalar(sa.select(batches.c.id).where(batches.c.id == batch_id)) is None:
                raise NotFound("there is no such batch", "id")
        for start in range(0, len(ids), _CHUNK):
            await self._cancel_all(ids[start : start + _CHUNK])
        return len(ids)

    async def _cancel_all(self, ids: Sequence[str]) -> None:
        """What is over by now stays so."""
        these = jobs.c.generation_id.in_(ids)
        async with self.state.database.write() as connection:
            await connection.execute(
                sa.select(jobs.c.seq).where(these).order_by(jobs.c.generation_id).with_for_update()
            )
            waiting = (these, jobs.c.status.in_([PENDING, PAUSED]))
            await change(connection, waiting, CANCELLED, None, {"completed_at": utc_now()}, status=CANCELLED)
            await connection.execute(sa.update(jobs).where(these, jobs.c.status == PROCESSING).values(wish=CANCEL))

    async def _wish(self, job_id: str, wish: str) -> str:
        reached = CANCELLED if wish == CANCEL else PAUSED
        this = jobs.c.generation_id == job_id
        async with self.state.database.write() as connection:
            row = await _locked(connection, job_id)
            if row.status == PENDING or (row.status == PAUSED and wish == CANCEL):
                over = {"completed_at": utc_now()} if wish == CANCEL else {}
                await change(connection, [this], reached, None, over, status=reached)
                return reached
            if row.status == PROCESSING and row.wish != CANCEL:  # there is no way back from that
                await connection.execute(sa.update(jobs).where(this).values(wish=wish))
            return str(row.status) if row.status == reached else _unless_over(row, reached)

    async def _add(self, requests: Sequence[JobRequest], order: Order, batch_id: str | None) -> Added:
        with tracing.span("queue", "producer", atelier__jobs=len(requests)):
            return await self._write(requests, order, batch_id)

    async def _write(self, requests: Sequence[JobRequest], order: Order, batch_id: str | None) -> Added:
        requests = await self._terms.accepted(requests)
        ids = [new_id() for _ in requests]
        await self._quotas.check_storage(order.user_id)
        async with self._turns.taken(order.user_id), self.state.database.write() as connection:
            await lock_user(connection, order.user_id)
            if order.idempotency_key is not None:
                asked = [request.to_json() for request in requests]
                limit = [] if order.timeout_s is None else [order.timeout_s]
                body = digest([asked, order.priority, order.webhook_url, list(order.webhook_events), *limit])
                keep = timedelta(hours=self.state.settings.jobs.keep_keys_h)
                target = batch_id or ids[0]
                known = await idempotency.claim(connection, order.user_id, order.idempotency_key, body, target, keep)
                if known is not None:
                    if (again := await _known(connection, known, batch_id is not None)) is not None:
                        return again
                    await idempotency.renew(connection, order.user_id, order.idempotency_key, target)
            if batch_id is not None:
                row = {"id": batch_id, "user_id": order.user_id, "size": len(ids), "created_at": utc_now()}
                await connection.execute(batches.insert(), row)
            seeded = [_seeded(request) for request in requests]
            first, place = await insert_jobs(connection, ids, seeded, order, batch_id, self._bounds)
        return Added(ids, batch_id, row=first, place=place)


def _seeded(request: JobRequest) -> JobRequest:
    """What is drawn is decided now: another attempt, and a job that goes on elsewhere, draw the same."""
    return request if isinstance(request, VectorizeRequest) else request.seeded()


async def _known(connection: AsyncConnection, target: str, batch: bool) -> Added | None:
    """None when it was deleted since."""
    this = (generations.c.batch_id if batch else generations.c.id) == target
    ids = (await connection.scalars(sa.select(generations.c.id).where(this).order_by(generations.c.seq))).all()
    return Added(ids, target if batch else None, again=True) if ids else None


async def _locked(connection: AsyncConnection, job_id: str) -> sa.Row[Any]:
    query = sa.select(jobs).where(jobs.c.generation_id == job_id).with_for_update()
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        raise _unknown()
    return row


def _unknown() -> NotFound:
    return NotFound("there is no such job", "id")


def _unless_over(row: sa.Row[Any], what: str) -> str:
    if row.status in (COMPLETED, FAILED, CANCELLED):
        raise Conflict(f"is {row.status}: it cannot be {what} any more", "id")
    status: str = row.status
    return status
