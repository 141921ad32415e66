"""`Leases`: how a worker gets jobs, keeps them, and loses them.

A worker has a row with a number that it counts up, its beat; `lease_reaper` takes the jobs of workers whose beat
stands still. Every write of a worker names itself and the attempt, so that one that comes back late changes nothing.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from serve.ensembles.requests import JobRequest, Outcome, from_json
from serve.errors import AtelierError, EngineLost, EngineUnavailable, OutOfSpace, Overloaded, StateUnavailable
from serve.jobs.queue import user_concurrency
from serve.jobs.queue.expiry import is_over
from serve.jobs.recording import ended, measure, put_results
from serve.jobs.worker.lease_reaper import forget, requeue
from serve.observability.costs import CPU, GPU, total
from serve.observability.metrics.catalogue import JOB_WAIT_SECONDS
from serve.observability.request_context import Priority
from serve.state import State
from serve.state.job_states import (
    CANCEL,
    COMPLETED,
    FAILED,
    PAUSE,
    PAUSED,
    PENDING,
    PROCESSING,
    carry_out,
    changing,
    new_id,
)
from serve.state.objects import Stored
from serve.state.tables import UtcTime, checkpoints, jobs, lanes, utc_now, workers

PASSING = (Overloaded, EngineUnavailable, StateUnavailable, OutOfSpace)
"""Faults that are not the job's."""


NOTHING: Mapping[str, float] = {}
_FREE: Mapping[str, Any] = {"worker_id": None, "wish": None}


class LeaseLost(Exception):
    """The job, or every job, is somebody else's by now: what was made of it is not wanted."""


@dataclass(frozen=True)
class Claimed:
    """A job that is this worker's until `Leases` says otherwise."""

    id: str
    user_id: str
    request: JobRequest
    attempt: int
    webhook_url: str | None
    context: Mapping[str, str] = field(default_factory=dict)
    """What the request carried that asked for it (`serve.observability.tracing.carrier`)."""
    priority: Priority = Priority.NORMAL
    """At the ensembles' doors: the queue has seen to who comes first among jobs, and they displace nobody else."""
    expires_at: datetime | None = None
    spent: Mapping[str, float] = field(default_factory=dict)
    """By attempts before this one, as `serve.observability.costs` has it."""


class Leases:
    """Of one worker; `register` first. Every method raises StateUnavailable, and LeaseLost where it writes."""

    def __init__(self, state: State, slots: Mapping[str, int]) -> None:
        self.worker_id = ""
        self._state = state
        self._database = state.database
        self._limits = state.settings.jobs
        self._most_running = state.settings.quotas.max_running
        self._slots = dict(slots)
        self._fruitful: set[str] = set()
        """Lanes that had jobs when they were last asked for some."""

    async def register(self) -> None:
        """As a new worker, with no jobs."""
        worker_id = new_id()
        row = {"id": worker_id, "beat": 0, "slots": self._slots, "started_at": utc_now()}
        async with self._database.write() as connection:
            await connection.execute(workers.insert(), row)
        self.worker_id = worker_id

    async def beat(self) -> None:
        """Shows that the worker lives. Raises LeaseLost when it was taken for dead: then nothing that it has is its any
        more."""
        async with self._database.write() as connection:
            mine = workers.c.id == self.worker_id
            row = await connection.execute(sa.update(workers).where(mine).values(beat=workers.c.beat + 1))
            if row.rowcount == 0:
                raise LeaseLost

    async def return_strays(self, held: Collection[str], reason: str | None) -> None:
        """Jobs that are said to be this worker's and that it does not hold go back to the queue; a ``reason`` counts as
        a failed attempt. Not while it claims: what it takes then is held only afterwards."""
        stray = (jobs.c.worker_id == self.worker_id, jobs.c.generation_id.not_in(list(held)))
        async with self._database.read("poll") as connection:  # there are hardly ever any, and that needs no writer
            if not await connection.scalar(sa.select(sa.exists().where(*stray))):
                return
        async with self._database.write() as connection:
            await requeue(connection, stray, reason, self._limits.max_failures)

    async def leave(self) -> None:
        """The end of this worker; what it still has goes back to the queue as it is."""
        async with self._database.write() as connection:
            await requeue(connection, [jobs.c.worker_id == self.worker_id], None, self._limits.max_failures)
            await forget(connection, self.worker_id)

    async def claim(self, lane: str, most: int) -> list[Claimed]:
        """Up to ``most`` jobs of ``lane``, in its order, which are this worker's from now on.

        Raises LeaseLost when it was taken for dead.
        """
        now = utc_now()
        first: dict[str, Any] = {"lane": lane, "now": now, "far": now + timedelta(seconds=2 * self._limits.retry_max_s)}
        waiting, claiming = (_FIRST, _CLAIM) if not self._most_running else (_FIRST_OF_WHO_MAY, _CLAIM_OF_WHO_MAY)
        if self._most_running:
            first["most_running"] = self._most_running
        if lane not in self._fruitful:  # most often there is nothing, and that needs no writer
            async with self._database.read("poll") as connection:
                if await connection.scalar(waiting, {**first, "most": 1}) is None:
                    return []
        async with self._database.write() as connection:
            if self._most_running:
                await user_concurrency.take_turns(connection)
            rows = (await connection.execute(claiming, {**first, "most": most, "me": self.worker_id})).all()
            if rows and self._most_running:
                rows = await user_concurrency.as_many_as_may(connection, rows, self._most_running)
            if not rows:
                if await connection.scalar(_ALIVE, {"me": self.worker_id}) is None:
                    raise LeaseLost
                self._fruitful.discard(lane)
                return []
            mine = {"ids": [row.generation_id for row in rows], "me": self.worker_id}
            told = {"status": PROCESSING, "started_at": now}
            await carry_out(connection, _START, mine, "started", None, told)
        self._fruitful.add(lane)
        for row in rows:
            JOB_WAIT_SECONDS.observe(max(0.0, (now - row.available_at).total_seconds()), lane)
        return [_claimed(row) for row in rows]

    async def wishes(self) -> dict[str, str]:
        """What is wished of this worker's jobs, by their ids."""
        async with self._database.read("poll") as connection:
            rows = await connection.execute(_WISHES, {"me": self.worker_id})
            return {row.generation_id: row.wish for row in rows}

    async def report(
        self,
        job: Claimed,
        event: str,
        stage: Mapping[str, Any],
        progress: float,
        kept: Mapping[int, tuple[int, bytes]],
        cost: Mapping[str, float] = NOTHING,
    ) -> None:
        """How far ``job`` is. ``stage`` joins what is told of it; ``kept`` has (step, data) by a picture's place;
        ``cost`` is what this attempt has spent."""
        values: dict[str, Any] = {"stage": dict(stage), "progress": progress, **total(job.spent, cost)}
        if kept:
            values["failures"] = 0  # whatever comes now, this attempt was not for nothing
        async with self._database.write() as connection:
            await self._change(connection, job, event, None, None, **values)
            if kept:
                places = checkpoints.c.place.in_(list(kept))
                await connection.execute(sa.delete(checkpoints).where(checkpoints.c.generation_id == job.id, places))
                rows = [
                    {"generation_id": job.id, "place": place, "step": step, "data": data}
                    for place, (step, data) in kept.items()
                ]
                await connection.execute(checkpoints.insert(), rows)

    async def checkpoints(self, job: Claimed) -> dict[int, tuple[int, bytes]]:
        """(step, data) by a picture's place."""
        query = sa.select(checkpoints).where(checkpoints.c.generation_id == job.id)
        async with self._database.read() as connection:
            return {row.place: (row.step, row.data) for row in await connection.execute(query)}

    async def complete(
        self,
        job: Claimed,
        outcome: Outcome,
        stored: Sequence[Stored],
        *,
        cached: bool = False,
        stage: Mapping[str, Any] | None = None,
        also: Callable[[AsyncConnection], Awaitable[None]] | None = None,
    ) -> None:
        """Nothing completes twice: who is too late gets LeaseLost, and his results are not kept.

        ``also`` writes more in the same transaction.
        """
        cost = total(job.spent, {} if cached else outcome.cost)
        values: dict[str, Any] = {"status": COMPLETED, "worker_id": None, "wish": None, "progress": 1.0, **cost}
        if stage is not None:
            values["stage"] = dict(stage)
        async with self._database.write() as connection:
            await self._change(connection, job, COMPLETED, None, ended(outcome, cached=cached), **values)
            await put_results(connection, job.id, outcome, stored)
            await measure(connection, job.id, outcome.generation_time_s)
            if also is not None:
                await also(connection)

    async def fail(self, job: Claimed, error: AtelierError, took_s: float) -> str:
        """Another attempt when the fault may pass and there were not too many; else ``failed``.

        What became of the job: retried, failed or let_go.

        What is only full or away at the moment does not count: the job waits for it.
        """
        told = error_details(error)
        counts = isinstance(error, EngineLost) or not isinstance(error, PASSING)
        async with self._database.write() as connection:
            query = sa.select(jobs.c.failures, jobs.c.wish, jobs.c.expires_at).where(*self._mine(job)).with_for_update()
            row = (await connection.execute(query)).one_or_none()
            if row is None:
                raise LeaseLost
            if row.wish == CANCEL:
                await self._give_back(connection, job)
                return "let_go"
            if not is_over(row.expires_at) and (
                not counts or (error.status >= 500 and row.failures + 1 < self._limits.max_failures)
            ):
                due_at = utc_now() + timedelta(seconds=self._backoff_s(row.failures if counts else job.attempt - 1))
                again = PAUSED if row.wish == PAUSE else PENDING
                values = {"status": again, "available_at": due_at, "failures": row.failures + int(counts)}
                await self._change(connection, job, "retrying", {"error": told}, None, **values, **_FREE)
                return "retried"
            over = {"error": told, "completed_at": utc_now(), "generation_time_s": took_s}
            await self._change(connection, job, FAILED, {"error": told}, over, status=FAILED, **_FREE)
            await measure(connection, job.id, took_s, error=str(error))
            return FAILED

    async def let_go(self, job: Claimed) -> None:
        """As its user wishes by now: cancelled, paused with its checkpoint, or to the queue if that was taken back."""
        async with self._database.write() as connection:
            await self._give_back(connection, job)

    async def _give_back(self, connection: AsyncConnection, job: Claimed) -> None:
        if not await requeue(connection, self._mine(job), None, self._limits.max_failures):
            raise LeaseLost

    def _mine(self, job: Claimed) -> tuple[sa.ColumnElement[bool], ...]:
        """Whether the job still is this worker's, and this attempt the last one."""
        return _mine(job.id, self.worker_id, job.attempt)

    async def _change(
        self,
        connection: AsyncConnection,
        job: Claimed,
        event: str,
        told: Mapping[str, Any] | None,
        generation: Mapping[str, Any] | None,
        **values: Any,
    ) -> None:
        mine = {"my_job": job.id, "me": self.worker_id, "my_attempt": job.attempt}
        new = {f"new_{name}": value for name, value in values.items()}
        kept = dict(generation or {}) | ({"status": values["status"]} if "status" in values else {})
        if not await carry_out(connection, _of_mine(tuple(values)), {**mine, **new}, event, told, kept):
            raise LeaseLost

    def _backoff_s(self, failures: int) -> float:
        """Twice as long each time, and up to half as long again, so that not all come back at once."""
        longest_s = min(self._limits.retry_max_s, self._limits.retry_s * 2.0 ** min(failures, 32))
        return longest_s * random.uniform(1.0, 1.5)


def _claimed(row: sa.Row[Any]) -> Claimed:
    return Claimed(
        id=row.generation_id,
        user_id=row.user_id,
        request=from_json(row.request),
        attempt=row.attempt + 1,
        webhook_url=row.webhook_url,
        context=row.context or {},
        priority=Priority.LOW if row.rank > 0 else Priority.NORMAL,
        expires_at=row.expires_at,
        spent={CPU: row.cpu_seconds, GPU: row.gpu_seconds},
    )


def _first() -> sa.Select[Any]:
    """``most`` jobs of ``lane`` that can start ``now``, in its order."""
    now, far = (sa.bindparam(name, type_=UtcTime) for name in ("now", "far"))
    # Further ahead than any time that is ever set: the clock was put back since.
    ready = (jobs.c.available_at <= now) | (jobs.c.available_at > far)
    useful = jobs.c.expires_at.is_(None) | (jobs.c.expires_at > now)
    runs = ~sa.exists().where(lanes.c.lane == sa.bindparam("lane"), lanes.c.paused)
    return (
        sa.select(*(jobs.c[name] for name in _CLAIMED))
        .where(jobs.c.lane == sa.bindparam("lane"), jobs.c.status == PENDING, ready, useful, runs)
        .order_by(jobs.c.rank, jobs.c.round, jobs.c.seq)
        .limit(sa.bindparam("most"))
    )


_CLAIMED = ("generation_id", "user_id", "request", "attempt", "webhook_url", "available_at", "context",
            "rank", "expires_at", CPU, GPU)  # fmt: skip
_FIRST = _first()
_ALIVE = sa.select(workers.c.id).where(workers.c.id == sa.bindparam("me"))
_STAYS = _ALIVE.with_for_update(read=True).cte("stays").prefix_with("MATERIALIZED", dialect="postgresql")
"""The worker's row, which nobody takes away meanwhile."""
_CLAIM = _FIRST.where(sa.exists(sa.select(_STAYS.c.id))).with_for_update(skip_locked=True, of=jobs)
_FIRST_OF_WHO_MAY, _CLAIM_OF_WHO_MAY = user_concurrency.of_who_may(_FIRST), user_concurrency.of_who_may(_CLAIM)
"""The same where users have a quota of running jobs."""
_START = changing(jobs.c.generation_id.in_(sa.bindparam("ids", expanding=True))).values(
    status=PROCESSING, worker_id=sa.bindparam("me"), attempt=jobs.c.attempt + 1, wish=None
)


_WISHES = sa.select(jobs.c.generation_id, jobs.c.wish).where(
    jobs.c.worker_id == sa.bindparam("me"), jobs.c.wish.is_not(None)
)


def _mine(job: Any, me: Any, attempt: Any) -> tuple[sa.ColumnElement[bool], ...]:
    j = jobs.c
    return j.generation_id == job, j.worker_id == me, j.attempt == attempt, j.status == PROCESSING


@functools.cache
def _of_mine(names: tuple[str, ...]) -> sa.Update:
    """Sets the columns ``names`` of a job of this worker to what is bound as ``new_`` and the name."""
    new = {name: sa.bindparam(f"new_{name}", type_=jobs.c[name].type) for name in names}
    return changing(*_mine(*(sa.bindparam(name) for name in ("my_job", "me", "my_attempt")))).values(new)


def error_details(error: AtelierError) -> dict[str, Any]:
    told = {"type": type(error).__name__, "status": error.status, "detail": error.message, "field": error.field}
    return {**told, **error.extra_fields}
