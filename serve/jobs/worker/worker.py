"""`Worker`: takes jobs from the queue, has the ensembles do them, and writes down what they came to.

It holds a lease on each job (`serve.jobs.worker.leases`). While the database is away it goes on working and keeps its
reports until they can be written.
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
from serve.jobs.queue.expiry import left_s
from serve.jobs.worker.database_timeout import DatabaseTimeout
from serve.jobs.worker.execution import JobExecutor, JobResult
from serve.jobs.worker.lease_reaper import LeaseReaper
from serve.jobs.worker.leases import Claimed, LeaseLost, Leases
from serve.observability import request_context, tracing
from serve.observability.metrics.catalogue import BEATS, JOB_SECONDS, JOBS_ENDED
from serve.observability.request_context import RequestContext
from serve.state import State
from serve.state.job_states import COMPLETED

T = TypeVar("T")

LOGGER = logging.getLogger(__name__)

CLAIM_WAITS = 12.0
"""A claim may take so many times ``database.timeout_s``: it asks up to six questions, which have twice that each."""


class Worker:
    """For one event loop; `start` it, and `close` it."""

    def __init__(self, state: State, work: JobExecutor) -> None:
        self._limits = state.settings.jobs
        self._leases = Leases(state, self._limits.slots)
        self._watch = LeaseReaper(state)
        self._work = work
        self._doing: dict[str, tuple[Claimed, asyncio.Task[None]]] = {}
        self._wishes: dict[str, str] = {}
        self._claiming = asyncio.Lock()
        """What is claimed belongs to who began to claim: nobody starts over meanwhile."""
        self._loops: list[asyncio.Task[None]] = []
        self._patience = DatabaseTimeout(cancels=True)
        self._claim_s = CLAIM_WAITS * state.settings.database.timeout_s
        self._unsure = False
        """Whether a claim was given up that may have taken jobs all the same."""
        self._tidied = -math.inf
        self._away = False

    @property
    def worker_id(self) -> str:
        return self._leases.worker_id

    async def start(self) -> None:
        """Raises StateUnavailable when the database does not answer."""
        await self._leases.register()
        self._loops = [
            asyncio.create_task(self._often(self._beat, self._limits.beat_s)),
            asyncio.create_task(self._often(self._claim, self._limits.poll_s)),
            asyncio.create_task(self._often(self._heed, self._limits.poll_s)),
        ]

    async def close(self) -> None:
        """Jobs that are under way go back to the queue, with their checkpoints."""
        await _end(self._loops)
        await asyncio.gather(self._watch.close(), self._patience.close())
        await _end([task for _, task in self._doing.values()])
        with contextlib.suppress(StateUnavailable, OutOfSpace):
            await self._leases.leave()

    @property
    def is_running(self) -> bool:
        """Whether its loops go round; a database that is away does not end them."""
        return bool(self._loops) and not any(loop.done() for loop in self._loops)

    async def _often(self, act: Callable[[], Awaitable[None]], pause_s: float) -> None:
        while True:
            me = self.worker_id
            try:
                try:
                    await act()
                except LeaseLost:
                    await self._start_over(me)
                if self._away:
                    LOGGER.warning("the database answers again")
                self._away = False
            except (StateUnavailable, OutOfSpace) as error:
                if not self._away:
                    LOGGER.warning("the worker goes on without the database: %s", error)
                self._away = True
            except Exception:
                LOGGER.exception("a worker's loop failed, and goes on")
            await asyncio.sleep(pause_s)

    async def _beat(self) -> None:
        await self._watch.look_in_time(self._show_life())

    async def _show_life(self) -> None:
        await self._leases.beat()
        BEATS.add(1)

    async def _start_over(self, lost: str) -> None:
        """It was taken for dead as ``lost``: all that it did is somebody else's by now."""
        async with self._claiming:
            if self.worker_id != lost:
                return  # another loop has seen it first
            LOGGER.warning("this worker was taken for dead; it starts over with nothing")
            await _end([task for _, task in self._doing.values()])
            await self._patience.within(self._claim_s, self._leases.register())

    async def _claim(self) -> None:
        if self._unsure or time.monotonic() >= self._tidied + self._limits.beat_s:
            await self._tidy()
        for lane, slots in self._limits.slots.items():
            free = slots - sum(job.request.lane == lane for job, _ in self._doing.values())
            if free <= 0:
                continue
            async with self._claiming:
                for job in await self._taken(lane, free):
                    self._doing[job.id] = (job, asyncio.create_task(self._do(job)))

    async def _taken(self, lane: str, most: int) -> list[Claimed]:
        try:
            return await self._patience.within(self._claim_s, self._leases.claim(lane, most))
        except StateUnavailable:
            self._unsure = True
            raise

    async def _tidy(self) -> None:
        """What it has and knows nothing of goes back. A job is not to blame for a claim that was given up."""
        were_over = self._patience.is_idle
        reason = None if self._unsure else "its worker forgot it"
        await self._patience.within(self._claim_s, self._leases.return_strays(list(self._doing), reason))
        self._unsure = self._unsure and not were_over
        self._tidied = time.monotonic()

    async def _heed(self) -> None:
        """What users wish of the jobs that are under way."""
        if not self._doing:
            return
        for job_id, wish in (await self._leases.wishes()).items():
            if job_id in self._doing and job_id not in self._wishes:
                self._wishes[job_id] = wish
                self._doing[job_id][1].cancel()

    async def _do(self, job: Claimed) -> None:
        about: dict[str, str | int] = {"atelier__job__id": job.id, "atelier__job__attempt": job.attempt}
        with tracing.entry_span(f"job {job.request.kind}", job.context, "consumer", **about) as span:
            await self._do_within(job, span)

    async def _do_within(self, job: Claimed, span: tracing.entry_span) -> None:
        began, outcome = time.monotonic(), "let_go"
        try:
            outcome = await self._attempt(job, began, span)
        except LeaseLost:
            outcome = "lost"
            LOGGER.warning("job %s is somebody else's by now", job.id)
        except asyncio.CancelledError:
            if job.id not in self._wishes:
                raise  # the worker ends, or starts over
            with contextlib.suppress(LeaseLost):
                await self._insist(lambda: self._leases.let_go(job))
        finally:
            JOBS_ENDED.add(1, job.request.lane, outcome)
            JOB_SECONDS.observe(time.monotonic() - began, job.request.lane, outcome)
            self._wishes.pop(job.id, None)
            self._doing.pop(job.id, None)

    async def _attempt(self, job: Claimed, began: float, span: tracing.entry_span) -> str:
        """What became of it, as metrics name it."""
        limit_s = left_s(job.expires_at, self._limits.timeout_s)
        request_context.set_current(RequestContext(priority=job.priority).with_timeout(limit_s))
        try:
            try:
                async with asyncio.timeout(limit_s):
                    done = await self._work.do(job, self._leases)
            except TimeoutError:
                raise DeadlineExceeded(f"was not done within {max(0.0, limit_s):.3g} s") from None
            except (AtelierError, LeaseLost):
                raise
            except Exception as error:
                LOGGER.exception("job %s failed", job.id)
                raise EngineFailure("an internal error; the log has it under the job's id") from error
        except AtelierError as error:
            failed = error
            if error.status >= 500:
                span.failed(type(error).__name__)
                LOGGER.warning("job %s, attempt %d: %s: %s", job.id, job.attempt, type(error).__name__, error)
            return await self._insist(lambda: self._leases.fail(job, failed, time.monotonic() - began))
        await self._insist(lambda: self._complete(job, done))
        return COMPLETED

    async def _complete(self, job: Claimed, done: JobResult) -> None:
        also = partial(self._work.remember, done=done)
        await self._leases.complete(job, done.outcome, done.stored, cached=done.cached, stage=done.stage, also=also)

    async def _insist(self, write: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Until it is written, or nobody waits for it any more. Cancelled only between two tries."""
        while True:
            try:
                return await asyncio.shield(write())
            except (StateUnavailable, OutOfSpace):
                await asyncio.sleep(min(1.0, self._limits.beat_s))


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
