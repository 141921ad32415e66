"""`RequestHistory`: answers synchronous requests from the history or the cache, and records those that run."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from serve.ensembles.info_cache import EnsembleInfoCache
from serve.ensembles.requests import JobRequest, Outcome, without_cost
from serve.errors import AtelierError, Cancelled, EngineFailure, OutOfSpace, StateUnavailable
from serve.jobs.direct.direct_request import (
    BYPASS,
    HIT,
    MISS,
    Answer,
    CacheStatus,
    Caller,
    DirectRequest,
    with_seed,
    without_seed,
)
from serve.jobs.direct.in_flight import FINISHED, LEADER, FlightTicket, IdempotencyClaim, InFlightRequests
from serve.jobs.direct.result_cache import CachedResult, CacheKey, ResultCache
from serve.jobs.direct.single_flight import SingleFlight
from serve.jobs.quality_samples import sample_writes
from serve.jobs.queue import insertion
from serve.jobs.records import (
    HistoryEntry,
    completed_writes,
    insert_unfinished,
    object_store_items,
    read_stored,
    recent_generations,
)
from serve.jobs.worker.lease_reaper import LeaseReaper
from serve.observability import request_context, tracing
from serve.observability.metrics.catalogue import SHARED
from serve.security.limits.quotas import Quotas
from serve.state import State
from serve.state.cache import Cache
from serve.state.job_states import CANCELLED, FAILED, new_id
from serve.state.objects.objects import protect, protect_writes
from serve.state.write_batches import execute


@dataclass(eq=False)
class Run:
    """A request that is running. ``started`` is of ``perf_counter``; ``key`` is set when the answer may be cached."""

    direct: DirectRequest
    ticket: FlightTicket
    entry: HistoryEntry
    key: CacheKey | None = None
    started: float = field(default_factory=time.perf_counter)

    @property
    def request(self) -> Any:
        """As executed: with its seed."""
        return self.entry.request


class RequestHistory:
    """For one event loop; `start` it, and `close` it. Methods raise StateUnavailable, OutOfSpace and KeyReused."""

    def __init__(self, state: State, ensemble_info: EnsembleInfoCache, lease_reaper: LeaseReaper | None = None) -> None:
        self._state = state
        self._keep_keys = timedelta(hours=state.settings.jobs.keep_keys_h)
        self._result_cache = ResultCache(state, ensemble_info)
        self._quotas = Quotas(state.database, state.settings.quotas)
        self._in_flight = InFlightRequests(state, lease_reaper)
        self._single_flight = SingleFlight[Answer](self._in_flight.has_followers, state.settings.jobs.poll_s)
        self._eviction: asyncio.Task[None] | None = None
        self._storing: set[asyncio.Task[Answer]] = set()

    @property
    def cache(self) -> Cache:
        return self._result_cache.cache

    def start(self) -> None:
        self._in_flight.start()

    async def close(self) -> None:
        """Cancels the running requests, and records them as cancelled."""
        await self._single_flight.close()
        await asyncio.gather(*self._storing, return_exceptions=True)
        if self._eviction is not None:
            self._eviction.cancel()
            await asyncio.gather(self._eviction, return_exceptions=True)
        await self._in_flight.close()

    async def answer(self, direct: DirectRequest) -> Answer:
        """Runs the request, or joins an identical one in flight. It is cancelled once nothing waits for it."""
        body = direct.claim.body if direct.claim is not None else ""
        is_leader = False

        async def run_as_leader() -> Answer:
            nonlocal is_leader
            is_leader = True
            return await self._run(direct)

        answer = await self._single_flight.run(direct.flight_key, body, run_as_leader, direct.caller.grace_s)
        tracing.note(atelier__cache=answer.cache)
        return answer if is_leader else replace(answer, details=without_cost(answer.details))

    def may_use_cache(self, request: JobRequest, caller: Caller) -> bool:
        """Whether a cached answer is acceptable."""
        return self.cache.enabled and request.repeatable and not caller.bypass_cache

    async def completed(self, claim: IdempotencyClaim | None) -> Answer | None:
        """The completed answer of an idempotency key; None also where it is no longer kept."""
        done = None if claim is None else await self._in_flight.completed_generation(claim)
        return None if done is None else await self._stored_answer(done, HIT)

    async def lookup(self, direct: DirectRequest) -> Answer | None:
        """The completed answer of the idempotency key; else the cached answer, recorded as another generation."""
        if direct.claim is not None and (done := await self._in_flight.completed_generation(direct.claim)) is not None:
            return await self._stored_answer(done, HIT)
        retry = direct.caller.is_retry and not direct.caller.bypass_cache
        if retry and (answer := await self._recent_answer(direct)) is not None:
            return answer
        if not self.may_use_cache(direct.request, direct.caller):
            return None
        if (key := await self._result_cache.key_of(direct.request, direct.document)) is None:
            return None
        started = time.perf_counter()
        cached = await self._result_cache.get(key)
        return None if cached is None else await self._answer_from_cache(direct, key, cached, started)

    async def join_or_lead(self, direct: DirectRequest) -> FlightTicket | Answer:
        """A flight that this request leads, or the answer of the flight that it followed. Raises the error of that
        flight, QuotaExceeded, and TooManyJobs."""
        await self._quotas.check_storage(direct.caller.user_id)
        await self._quotas.check_running(direct.caller.user_id)
        deadline = request_context.current().until(direct.timeout_s)
        while True:
            ticket = await self._in_flight.join(direct.flight_key, new_id(), direct.claim)
            if ticket.role == LEADER:
                return ticket
            if ticket.role != FINISHED:
                SHARED.add(1, "site")
                await self._in_flight.wait(ticket, direct.flight_key, deadline)
            answer = await self._stored_answer(
                ticket.generation_id, HIT if ticket.role == FINISHED else self._cache_status(direct)
            )
            if answer is not None:
                return answer

    @contextlib.asynccontextmanager
    async def running(self, direct: DirectRequest, ticket: FlightTicket) -> AsyncIterator[Run]:
        """Context of the execution: records what ends it early. Call `store_outcome` with its outcome."""
        entry = HistoryEntry(
            ticket.generation_id, direct.caller.user_id, with_seed(direct.request), exposures=direct.exposures
        )
        run = Run(direct, ticket, entry)
        try:
            if direct.caller.store:
                run.key = await self._result_cache.key_of(direct.request, direct.document)
            async with self._quotas.running_request(direct.caller.user_id):
                yield run
        except BaseException as error:
            await self._record_failure(run, error)
            raise

    async def store_outcome(self, run: Run, outcome: Outcome) -> Answer:
        """Stores the outcome even when the caller is cancelled."""
        storing = asyncio.create_task(self._store_outcome(run, outcome))
        self._storing.add(storing)
        storing.add_done_callback(self._storing.discard)
        return await asyncio.shield(storing)

    async def _recent_answer(self, direct: DirectRequest) -> Answer | None:
        """The answer of an identical request that the same user completed a moment ago, even with a random seed."""
        times = timedelta(seconds=direct.caller.grace_s), timedelta(seconds=direct.timeout_s)
        expected = without_seed(direct.document)
        async with self._state.database.read() as connection:
            rows = await recent_generations(connection, direct.caller.user_id, direct.request.kind, *times)
        found = next((row.id for row in rows if without_seed(row.parameters) == expected), None)
        return None if found is None else await self._stored_answer(found, HIT)

    async def _run(self, direct: DirectRequest) -> Answer:
        if (answer := await self.lookup(direct)) is not None:
            return answer
        ticket = await self.join_or_lead(direct)
        if isinstance(ticket, Answer):
            return ticket
        async with self.running(direct, ticket) as run:
            outcome = await direct.run(run.request)
        return await self.store_outcome(run, outcome)

    async def _store_outcome(self, run: Run, outcome: Outcome) -> Answer:
        direct, duration_s = run.direct, time.perf_counter() - run.started
        try:
            stored_objects = await self._state.objects.put_all([*direct.inputs, *object_store_items(outcome.files)])
        except (StateUnavailable, OutOfSpace) as error:
            await self._record_failure(run, error)
            raise
        inputs, stored = stored_objects[: len(direct.inputs)], stored_objects[len(direct.inputs) :]
        input_objects = [one.name for one in inputs]
        writes, result_ids = completed_writes(
            run.entry, outcome, stored, input_objects, duration_s, self._state.database.dialect
        )
        writes += sample_writes(run.entry.generation_id, outcome, self._state.settings)
        if run.key is not None:
            writes += self._result_cache.writes(run.key, outcome, stored, inputs)
        await self._in_flight.finish(run.ticket, writes)
        self._evict_if_over()
        return _answer(run.entry.generation_id, outcome, result_ids, duration_s, self._cache_status(direct))

    async def _record_failure(self, run: Run, error: BaseException) -> None:
        """Ends the flight; client errors (4xx) are not recorded as generations."""
        duration_s = time.perf_counter() - run.started
        with contextlib.suppress(StateUnavailable, OutOfSpace):
            async with self._in_flight.finishing(run.ticket) as connection:
                if isinstance(error, asyncio.CancelledError | GeneratorExit | Cancelled):
                    await insert_unfinished(connection, run.entry, CANCELLED, None, duration_s)
                elif not isinstance(error, AtelierError):
                    failure = EngineFailure("an internal error; the log has it")
                    await insert_unfinished(connection, run.entry, FAILED, failure, duration_s)
                elif error.status >= 500:
                    await insert_unfinished(connection, run.entry, FAILED, error, duration_s)

    async def _answer_from_cache(
        self, direct: DirectRequest, key: CacheKey, cached: CachedResult, started: float
    ) -> Answer | None:
        """None when an object of the answer is being deleted."""
        entry = HistoryEntry(new_id(), direct.caller.user_id, direct.request, exposures=direct.exposures)
        results = {one.name for one in cached.stored}
        duration_s = time.perf_counter() - started
        writes, result_ids = completed_writes(
            entry, cached.outcome, cached.stored, set(cached.objects) - results, duration_s,
            self._state.database.dialect, cached=True,
        )  # fmt: skip
        if (claim := direct.claim) is None:
            is_kept = await self._state.database.write_batch([*protect_writes(cached.objects), *writes])
        else:
            async with self._state.database.write() as connection:
                if is_kept := await protect(connection, cached.objects):
                    body = (claim.user_id, claim.key, claim.body)
                    await insertion.claim(connection, *body, entry.generation_id, self._keep_keys)
                    await execute(connection, writes)
        if not is_kept:
            await self._result_cache.delete(key)
            return None
        return _answer(entry.generation_id, cached.outcome, result_ids, duration_s, HIT)

    async def _stored_answer(self, generation_id: str, status: CacheStatus) -> Answer | None:
        found = await read_stored(self._state, generation_id)
        if found is None:
            return None
        outcome_without_cost = replace(found.outcome, details=without_cost(found.outcome.details))
        return _answer(generation_id, outcome_without_cost, found.result_ids, found.outcome.generation_time_s, status)

    def _cache_status(self, direct: DirectRequest) -> CacheStatus:
        """The cache status of a freshly computed answer."""
        return MISS if self.may_use_cache(direct.request, direct.caller) else BYPASS

    def _evict_if_over(self) -> None:
        if self.cache.needs_eviction and (self._eviction is None or self._eviction.done()):
            self._eviction = asyncio.create_task(self._evict())

    async def _evict(self) -> None:
        with contextlib.suppress(StateUnavailable, OutOfSpace):  # the next answer tries again
            await self.cache.evict(self._state)


def _answer(
    generation_id: str, outcome: Outcome, result_ids: Sequence[str], duration_s: float, status: CacheStatus
) -> Answer:
    return Answer(generation_id, outcome.files, result_ids, dict(outcome.details), duration_s, status, kept=True)
