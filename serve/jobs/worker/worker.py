"""`Worker`: claims jobs from the queue, runs them with the ensembles, and records the results.

It holds a lease on each job (`serve.jobs.worker.leases`). While the database is unavailable it continues to work, and
writes its reports later.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

from serve.errors import AtelierError, DeadlineExceeded, EngineFailure, OutOfSpace, StateUnavailable
from serve.jobs.queue.expiry import remaining_s
from serve.jobs.worker.claims import ClaimedJob
from serve.jobs.worker.execution import JobExecutor, JobResult
from serve.jobs.worker.lease_reaper import DatabaseTimeout, LeaseReaper
from serve.jobs.worker.leases import LeaseLost, Leases
from serve.observability import request_context, tracing
from serve.observability.metrics.catalogue import BEATS, JOB_SECONDS, JOBS_ENDED
from serve.observability.request_context import RequestContext
from serve.state import State
from serve.state.event_watch import EventPoll
from serve.state.job_states import COMPLETED

T = TypeVar("T")

LOGGER = logging.getLogger(__name__)

CLAIM_TIMEOUT_FACTOR = 12.0
"""Time limit of a claim, in ``database.timeout_s``: up to six queries, each of which may take twice that."""


class Worker:
    """For one event loop; `start` it, and `close` it."""

    def __init__(self, state: State, executor: JobExecutor) -> None:
        self._limits = state.settings.jobs
        self._leases = Leases(state, self._limits.slots)
        self._lease_reaper = LeaseReaper(state)
        self._executor = executor
        self._running: dict[str, tuple[ClaimedJob, asyncio.Task[None]]] = {}
        self._requested_changes: dict[str, str] = {}
        self._claim_lock = asyncio.Lock()
        # The worker does not restart, with another id, during a claim.
        self._loops: list[asyncio.Task[None]] = []
        self._timeout = DatabaseTimeout(cancels=True)
        self._claim_s = CLAIM_TIMEOUT_FACTOR * state.settings.database.timeout_s
        self._claim_abandoned = False
        # A claim timed out that may have taken jobs all the same.
        self._last_cleanup = -math.inf
        self._unavailable = False
        self._poll = EventPoll(state.database.event_marker)
        self._has_jobs = asyncio.Event()

    @property
    def worker_id(self) -> str:
        return self._leases.worker_id

    async def start(self) -> None:
        """Raises StateUnavailable when the database does not answer."""
        await self._leases.register()
        self._loops = [
            asyncio.create_task(self._loop(self._renew_lease, self._limits.beat_s)),
            asyncio.create_task(self._loop(self._claim, self._limits.poll_s)),
            asyncio.create_task(self._loop(self._apply_requested_changes, self._limits.poll_s)),
        ]

    async def close(self) -> None:
        """Running jobs go back to the queue, with their checkpoints."""
        await _cancel(self._loops)
        await asyncio.gather(self._lease_reaper.close(), self._timeout.close())
        await _cancel([task for _, task in self._running.values()])
        with contextlib.suppress(StateUnavailable, OutOfSpace):
            await self._leases.unregister()

    @property
    def is_running(self) -> bool:
        """Whether its loops run; an unavailable database does not end them."""
        return bool(self._loops) and not any(loop.done() for loop in self._loops)

    async def _loop(self, action: Callable[[], Awaitable[None]], pause_s: float) -> None:
        while True:
            worker_id = self.worker_id
            try:
                try:
                    await action()
                except LeaseLost:
                    await self._restart(worker_id)
                if self._unavailable:
                    LOGGER.warning("the database answers again")
                self._unavailable = False
            except (StateUnavailable, OutOfSpace) as error:
                if not self._unavailable:
                    LOGGER.warning("the worker continues without the database: %s", error)
                self._unavailable = True
            except Exception:
                LOGGER.exception("a worker's loop failed, and continues")
            await asyncio.sleep(pause_s)

    async def _renew_lease(self) -> None:
        await self._lease_reaper.reap_within_lease(self._heartbeat())

    async def _heartbeat(self) -> None:
        await self._leases.renew()
        BEATS.add(1)

    async def _restart(self, lost_worker_id: str) -> None:
        """After its lease as ``lost_worker_id`` was reaped: all its jobs belong to other workers by now."""
        async with self._claim_lock:
            if self.worker_id != lost_worker_id:
                return  # another loop was first
            LOGGER.warning("this worker lost its lease; it restarts without jobs")
            await _cancel([task for _, task in self._running.values()])
            await self._timeout.run(self._claim_s, self._leases.register())

    async def _claim(self) -> None:
        if self._claim_abandoned or time.monotonic() >= self._last_cleanup + self._limits.beat_s:
            await self._requeue_orphans()
        if not await self._poll.has_to_look():
            return
        for lane, slots in self._limits.slots.items():
            free = slots - sum(job.request.lane == lane for job, _ in self._running.values())
            if free <= 0:
                continue
            async with self._claim_lock:
                for job in await self._claim_jobs(lane, free):
                    self._running[job.id] = (job, asyncio.create_task(self._run(job)))
                    self._has_jobs.set()

    async def _claim_jobs(self, lane: str, limit: int) -> list[ClaimedJob]:
        try:
            return await self._timeout.run(self._claim_s, self._leases.claim(lane, limit))
        except StateUnavailable:
            self._claim_abandoned = True
            raise

    async def _requeue_orphans(self) -> None:
        """Requeues jobs that are assigned to this worker but not running here. An abandoned claim does not count as a
        failed attempt."""
        had_ended = self._timeout.is_idle
        reason = None if self._claim_abandoned else "its worker forgot it"
        await self._timeout.run(self._claim_s, self._leases.requeue_orphans(list(self._running), reason))
        self._claim_abandoned = self._claim_abandoned and not had_ended
        self._last_cleanup = time.monotonic()

    async def _apply_requested_changes(self) -> None:
        """Cancels running jobs whose users requested a cancel or pause."""
        if not self._running:
            self._has_jobs.clear()
            await self._has_jobs.wait()
        for job_id, requested in (await self._leases.requested_changes()).items():
            if job_id in self._running and job_id not in self._requested_changes:
                self._requested_changes[job_id] = requested
                self._running[job_id][1].cancel()

    async def _run(self, job: ClaimedJob) -> None:
        about: dict[str, str | int] = {"atelier__job__id": job.id, "atelier__job__attempt": job.attempt}
        with tracing.entry_span(f"job {job.request.kind}", job.context, "consumer", **about) as span:
            await self._run_in_span(job, span)

    async def _run_in_span(self, job: ClaimedJob, span: tracing.entry_span) -> None:
        started, outcome = time.monotonic(), "let_go"
        try:
            outcome = await self._attempt(job, started, span)
        except LeaseLost:
            outcome = "lost"
            LOGGER.warning("job %s was given to another worker", job.id)
        except asyncio.CancelledError:
            if job.id not in self._requested_changes:
                raise  # the worker ends or restarts
            with contextlib.suppress(LeaseLost):
                await self._retry_write(lambda: self._leases.release(job))
        finally:
            JOBS_ENDED.add(1, job.request.lane, outcome)
            JOB_SECONDS.observe(time.monotonic() - started, job.request.lane, outcome)
            self._requested_changes.pop(job.id, None)
            self._running.pop(job.id, None)
            self._poll.look_again()  # the job's last event may have been seen while it still had the slot

    async def _attempt(self, job: ClaimedJob, started: float, span: tracing.entry_span) -> str:
        """The outcome, as metrics name it."""
        limit_s = remaining_s(job.expires_at, self._limits.timeout_s)
        request_context.set_current(RequestContext(priority=job.priority).with_timeout(limit_s))
        try:
            try:
                async with asyncio.timeout(limit_s):
                    result = await self._executor.run(job, self._leases)
            except TimeoutError:
                raise DeadlineExceeded(f"was not done within {max(0.0, limit_s):.3g} s") from None
            except (AtelierError, LeaseLost):
                raise
            except Exception as error:
                LOGGER.exception("job %s failed", job.id)
                raise EngineFailure("an internal error; the log has it under the job's id") from error
        except AtelierError as error:
            failure = error
            if error.status >= 500:
                span.failed(error.label())
                LOGGER.warning("job %s, attempt %d: %s: %s", job.id, job.attempt, error.label(), error)
            return await self._retry_write(lambda: self._leases.fail(job, failure, time.monotonic() - started))
        await self._retry_write(lambda: self._complete(job, result))
        return COMPLETED

    async def _complete(self, job: ClaimedJob, result: JobResult) -> None:
        record_result = partial(self._executor.record_result, job=job, result=result)
        await self._leases.complete(
            job, result.outcome, result.stored, cached=result.cached, stage=result.stage, and_then=record_result
        )

    async def _retry_write(self, write: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Retries until the write succeeds or the task is cancelled, which takes effect only between two tries."""
        while True:
            try:
                return await asyncio.shield(write())
            except (StateUnavailable, OutOfSpace):
                await asyncio.sleep(min(1.0, self._limits.beat_s))


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
