"""`RequestHistory`: what is known of an errand before it is done, and what is written down once it is."""

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
    CacheWord,
    Caller,
    DirectRequest,
    seeded,
    unseeded,
)
from serve.jobs.direct.history import Entry, read_again, recent, write_done, write_undone
from serve.jobs.direct.in_flight import LEADS, OVER, InFlightRequests, JoinedRequest
from serve.jobs.direct.result_cache import CachedResult, Key, ResultCache
from serve.jobs.direct.single_flight import SingleFlight
from serve.jobs.queue import idempotency
from serve.jobs.recording import as_stored
from serve.jobs.worker.lease_reaper import LeaseReaper
from serve.observability import request_context, tracing
from serve.observability.metrics.catalogue import SHARED
from serve.security.limits.quotas import Quotas
from serve.state import State
from serve.state.cache import Cache
from serve.state.job_states import CANCELLED, FAILED, new_id
from serve.state.objects import hold


@dataclass(eq=False)
class Run:
    """An errand under way. ``began`` is of ``perf_counter``; ``key`` is set when its answer may be given again."""

    errand: DirectRequest
    boarded: JoinedRequest
    entry: Entry
    key: Key | None = None
    began: float = field(default_factory=time.perf_counter)

    @property
    def request(self) -> Any:
        """As it is done: its seed is drawn."""
        return self.entry.request


class RequestHistory:
    """For one event loop; `start` it, and `close` it. Methods raise StateUnavailable, OutOfSpace and KeyReused."""

    def __init__(self, state: State, known: EnsembleInfoCache, watch: LeaseReaper | None = None) -> None:
        self._state = state
        self._keep_keys = timedelta(hours=state.settings.jobs.keep_keys_h)
        self._memory = ResultCache(state, known)
        self._quotas = Quotas(state.database, state.settings.quotas)
        self._flights = InFlightRequests(state, watch)
        self._shared = SingleFlight[Answer](self._flights.is_followed, state.settings.jobs.poll_s)
        self._evicting: asyncio.Task[None] | None = None
        self._keeping: set[asyncio.Task[Answer]] = set()

    @property
    def cache(self) -> Cache:
        return self._memory.cache

    def start(self) -> None:
        self._flights.start()

    async def close(self) -> None:
        """What is under way is cancelled, and written down so."""
        await self._shared.close()
        await asyncio.gather(*self._keeping, return_exceptions=True)
        if self._evicting is not None:
            self._evicting.cancel()
            await asyncio.gather(self._evicting, return_exceptions=True)
        await self._flights.close()

    async def answer(self, errand: DirectRequest) -> Answer:
        """Of the same request that is under way here, if there is one. It ends once nobody waits for it any more."""
        body = errand.claim.body if errand.claim is not None else ""
        led = False

        async def lead() -> Answer:
            nonlocal led
            led = True
            return await self._do(errand)

        answer = await self._shared.do(errand.flight, body, lead, errand.caller.patience_s)
        tracing.note(atelier__cache=answer.cache)
        return answer if led else replace(answer, details=without_cost(answer.details))

    def looks_up(self, request: JobRequest, caller: Caller) -> bool:
        """Whether an answer of before would do."""
        return self.cache.enabled and request.repeatable and not caller.fresh

    async def known(self, errand: DirectRequest) -> Answer | None:
        """What the errand's key stands for already, else what the cache has, written down as another generation."""
        if errand.claim is not None and (done := await self._flights.again(errand.claim)) is not None:
            return await self._again(done, HIT)
        again = errand.caller.repeats and not errand.caller.fresh
        if again and (answer := await self._unheard(errand)) is not None:
            return answer
        if not self.looks_up(errand.request, errand.caller):
            return None
        if (key := await self._memory.key_of(errand.request, errand.document)) is None:
            return None
        began = time.perf_counter()
        recalled = await self._memory.recall(key)
        return None if recalled is None else await self._give_again(errand, key, recalled, began)

    async def board(self, errand: DirectRequest) -> JoinedRequest | Answer:
        """A flight that is the errand's own, or the answer of the one that was under way. Raises what that raised,
        QuotaExceeded, and TooManyJobs."""
        await self._quotas.check_storage(errand.caller.user_id)
        await self._quotas.check_running(errand.caller.user_id)
        deadline = request_context.current().until(errand.limit_s)
        while True:
            boarded = await self._flights.board(errand.flight, new_id(), errand.claim)
            if boarded.role == LEADS:
                return boarded
            if boarded.role != OVER:
                SHARED.add(1, "site")
                await self._flights.wait(boarded, errand.flight, deadline)
            answer = await self._again(boarded.generation_id, HIT if boarded.role == OVER else self._word(errand))
            if answer is not None:
                return answer

    @contextlib.asynccontextmanager
    async def undertaken(self, errand: DirectRequest, boarded: JoinedRequest) -> AsyncIterator[Run]:
        """Around the doing: what ends it early is written down. `keep` what it comes to."""
        entry = Entry(boarded.generation_id, errand.caller.user_id, seeded(errand.request), exposures=errand.exposures)
        run = Run(errand, boarded, entry)
        try:
            if errand.caller.store:
                run.key = await self._memory.key_of(errand.request, errand.document)
            async with self._quotas.working(errand.caller.user_id):
                yield run
        except BaseException as error:
            await self._write_undone(run, error)
            raise

    async def keep(self, run: Run, outcome: Outcome) -> Answer:
        """To its end, whoever stops waiting: what is made is kept."""
        keeping = asyncio.create_task(self._keep(run, outcome))
        self._keeping.add(keeping)
        keeping.add_done_callback(self._keeping.discard)
        return await asyncio.shield(keeping)

    async def _unheard(self, errand: DirectRequest) -> Answer | None:
        """What the same request of the same user came to a moment ago, also one that draws anew each time."""
        times = timedelta(seconds=errand.caller.patience_s), timedelta(seconds=errand.limit_s)
        wanted = unseeded(errand.document)
        async with self._state.database.read() as connection:
            rows = await recent(connection, errand.caller.user_id, errand.request.kind, *times)
        found = next((row.id for row in rows if unseeded(row.parameters) == wanted), None)
        return None if found is None else await self._again(found, HIT)

    async def _do(self, errand: DirectRequest) -> Answer:
        if (known := await self.known(errand)) is not None:
            return known
        boarded = await self.board(errand)
        if isinstance(boarded, Answer):
            return boarded
        async with self.undertaken(errand, boarded) as run:
            outcome = await errand.do(run.request)
        return await self.keep(run, outcome)

    async def _keep(self, run: Run, outcome: Outcome) -> Answer:
        errand, took_s = run.errand, time.perf_counter() - run.began
        try:
            kept = await self._state.objects.put_all([*errand.inputs, *as_stored(outcome.files)])
        except (StateUnavailable, OutOfSpace) as error:
            await self._write_undone(run, error)
            raise
        inputs, stored = kept[: len(errand.inputs)], kept[len(errand.inputs) :]
        made_from = [one.name for one in inputs]
        async with self._flights.landing(run.boarded) as connection:
            ids = await write_done(connection, run.entry, outcome, stored, made_from, took_s)
            if run.key is not None:
                await self._memory.keep(connection, run.key, outcome, stored, inputs)
        self._evict_if_over()
        return _answer(run.entry.generation_id, outcome, ids, took_s, self._word(errand))

    async def _write_undone(self, run: Run, error: BaseException) -> None:
        """What was the client's fault is no generation, but its flight has ended."""
        took_s = time.perf_counter() - run.began
        with contextlib.suppress(StateUnavailable, OutOfSpace):
            async with self._flights.landing(run.boarded) as connection:
                if isinstance(error, asyncio.CancelledError | GeneratorExit | Cancelled):
                    await write_undone(connection, run.entry, CANCELLED, None, took_s)
                elif not isinstance(error, AtelierError):
                    told = EngineFailure("an internal error; the log has it")
                    await write_undone(connection, run.entry, FAILED, told, took_s)
                elif error.status >= 500:
                    await write_undone(connection, run.entry, FAILED, error, took_s)

    async def _give_again(self, errand: DirectRequest, key: Key, recalled: CachedResult, began: float) -> Answer | None:
        """None when an object is being deleted just now."""
        entry = Entry(new_id(), errand.caller.user_id, errand.request, exposures=errand.exposures)
        results = {one.name for one in recalled.stored}
        async with self._state.database.write() as connection:
            if not await hold(connection, recalled.objects):
                gone = True
            else:
                gone = False
                if (claim := errand.claim) is not None:
                    body = (claim.user_id, claim.key, claim.body)
                    await idempotency.claim(connection, *body, entry.generation_id, self._keep_keys)
                made_from = set(recalled.objects) - results
                took_s = time.perf_counter() - began
                again = (entry, recalled.outcome, recalled.stored, made_from, took_s)
                ids = await write_done(connection, *again, cached=True)
        if gone:
            await self._memory.cache.forget(key.text)
            return None
        return _answer(entry.generation_id, recalled.outcome, ids, took_s, HIT)

    async def _again(self, generation_id: str, word: CacheWord) -> Answer | None:
        found = await read_again(self._state, generation_id)
        if found is None:
            return None
        free = replace(found.outcome, details=without_cost(found.outcome.details))
        return _answer(generation_id, free, found.ids, found.outcome.generation_time_s, word)

    def _word(self, errand: DirectRequest) -> CacheWord:
        """Of an answer that was made now."""
        return MISS if self.looks_up(errand.request, errand.caller) else BYPASS

    def _evict_if_over(self) -> None:
        if self.cache.is_over and (self._evicting is None or self._evicting.done()):
            self._evicting = asyncio.create_task(self._evict())

    async def _evict(self) -> None:
        with contextlib.suppress(StateUnavailable, OutOfSpace):  # it stays over, and the next answer tries again
            await self.cache.evict(self._state)


def _answer(generation_id: str, outcome: Outcome, ids: Sequence[str], took_s: float, word: CacheWord) -> Answer:
    return Answer(generation_id, outcome.files, ids, dict(outcome.details), took_s, word, kept=True)
