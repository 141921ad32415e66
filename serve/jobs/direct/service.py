"""`DirectService`: synchronous requests with history, cache, single flight and idempotency (A-080).

The path is short: one read, one write before anything is done, and one after it with all that it came to. Without a
state everything is done as it is asked for, and nothing is kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from serve.ensembles.illustrator.illustration import (
    NO_PROGRESS,
    FamilyInfo,
    Illustration,
    IllustratorService,
    Preview,
    Progress,
    StreamOptions,
    no_illustrator_error,
)
from serve.ensembles.info_cache import EnsembleInfoCache
from serve.ensembles.requests import IllustrateRequest, Outcome, VectorizeRequest
from serve.ensembles.vectorizer.vectorization import VectorizeOptions, VectorizerService
from serve.errors import EngineFailure
from serve.jobs.direct.analyses import Analyses
from serve.jobs.direct.direct_request import (
    BYPASS,
    Answer,
    CacheWord,
    Caller,
    DirectRequest,
    drawn,
    encoded,
    traced,
    unit_for,
)
from serve.jobs.direct.request_history import RequestHistory
from serve.jobs.inputs import media_type_of
from serve.jobs.site_policy import SitePolicy
from serve.jobs.worker.lease_reaper import LeaseReaper
from serve.releases.experiments.assignment import Experiments
from serve.releases.fallback.serving import serving
from serve.releases.flags.flag import unit_of
from serve.releases.flags.store import Flags
from serve.releases.rollouts.version_selector import VersionSelector, exposures_of
from serve.security.signing.content_credentials import signer_of
from serve.settings import Settings
from serve.state import State
from serve.state.job_states import new_id
from serve.state.objects import name_of

__all__ = ["Answer", "Caller", "DirectService"]


class DirectService:
    """For one event loop; `start` it, and `close` it. ``watch`` looks after other gateways.

    Every method raises what the ensembles raise and, where there is a state, StateUnavailable before anything is done,
    OutOfSpace, and KeyReused when an idempotency key came with another request before.
    """

    def __init__(
        self,
        state: State | None,
        illustrator: IllustratorService | None,
        vectorizer: VectorizerService,
        settings: Settings,
        watch: LeaseReaper | None = None,
    ) -> None:
        self._illustrator = illustrator
        self._vectorizer = vectorizer
        self._settings = settings
        self._terms = SitePolicy(settings)
        self._signer = signer_of(settings)
        self._known = EnsembleInfoCache(illustrator, vectorizer)
        self._ledger = RequestHistory(state, self._known, watch) if state is not None else None
        flags = Flags(settings.flags, state.database) if state is not None else None
        self._experiments = Experiments(settings.experiments, flags) if flags is not None else None
        self.choosing = VersionSelector(state.database, self._known) if state is not None else None
        self._analyses = Analyses(state, self._ledger.cache, self._known) if state and self._ledger else None

    async def start(self) -> None:
        """From now on other gateways see that this one lives."""
        if self._ledger is not None:
            self._ledger.start()

    async def close(self) -> None:
        """What is under way is cancelled."""
        if self._ledger is not None:
            await self._ledger.close()

    async def families(self) -> Sequence[FamilyInfo]:
        """As of the Illustrator, a few seconds old at most; none where nothing draws."""
        return await self._known.families()

    async def draw(self, request: IllustrateRequest, caller: Caller) -> Answer:
        request = await self.accepted(request)
        if self._ledger is None:
            return _unkept(await drawn(request, self._draws(caller), self._vectorizer, self._signer))
        return await self._ledger.answer(await self._drawing(request, caller))

    async def accepted(self, request: IllustrateRequest) -> IllustrateRequest:
        """As the site takes it. Raises ModerationBlocked, and InvalidRequest for what it does not offer."""
        (found,) = await self._terms.accepted([request])
        assert isinstance(found, IllustrateRequest)
        return found

    async def recall(self, request: IllustrateRequest, caller: Caller) -> Answer | None:
        """What `draw` would answer without drawing: ask it before `stream`, which always draws."""
        request = await self.accepted(request)
        if self._ledger is None:
            return None
        return await self._ledger.known(await self._drawing(request, caller))

    def looks_up(self, request: IllustrateRequest, caller: Caller) -> bool:
        """Whether an answer of before would do."""
        return self._ledger is not None and self._ledger.looks_up(request, caller)

    async def stream(
        self,
        request: IllustrateRequest,
        caller: Caller,
        preview_every: int,
        progressed: Callable[[Progress], None] | None = None,
    ) -> AsyncGenerator[Preview | Answer, None]:
        """Previews as they come, after every so many steps, then the answer. Closing it ends the drawing.

        It joins a request of the same idempotency key, without previews, and no other. ``progressed`` is told now and
        then how many steps are made.
        """
        request = await self.accepted(request)
        if self._ledger is None:
            async for item in self._previewed(request, preview_every, caller, progressed):
                yield item if isinstance(item, Preview) else _unkept(item)
            return
        errand = replace(await self._drawing(request, caller), joins=False)
        boarded = await self._ledger.board(errand)
        if isinstance(boarded, Answer):
            yield boarded
            return
        outcome: Outcome | None = None
        async with self._ledger.undertaken(errand, boarded) as run:
            async with contextlib.aclosing(self._previewed(run.request, preview_every, caller, progressed)) as items:
                async for item in items:
                    if isinstance(item, Preview):
                        yield item
                    else:
                        outcome = item
            if outcome is None:
                raise EngineFailure("the drawing ended without a picture")
        yield await self._ledger.keep(run, outcome)

    async def vectorize(self, image: bytes, options: VectorizeOptions, caller: Caller) -> Answer:
        if self._ledger is None:
            return _unkept(await traced(image, options, self._vectorizer))
        media_type = media_type_of(image)
        asked = VectorizeRequest(await asyncio.to_thread(name_of, image, media_type), options)
        request, unit = asked, unit_for(asked, caller.user_id)
        if self.choosing is not None:
            request = await self.choosing.assign(asked, unit)
        limit_s = min(options.timeout_s or self._settings.vectorizer.timeout_s, self._settings.vectorizer.timeout_s)
        errand = DirectRequest(
            asked, request, caller, lambda made: traced(image, made.options, self._vectorizer), limit_s,
            inputs=[(image, media_type)], exposures=exposures_of(request, caller.user_id),
        )  # fmt: skip
        return await self._ledger.answer(errand)

    async def analyze(self, image: bytes, caller: Caller) -> tuple[Mapping[str, Any], CacheWord]:
        """An `Analysis` as JSON, and what the cache had to do with it; without history (D-014)."""
        if self._analyses is None:
            return asdict(await self._vectorizer.analyze(image)), BYPASS
        unit = unit_of(caller.user_id, await asyncio.to_thread(lambda: hashlib.sha256(image).hexdigest()))
        versions = await self.choosing.versions(unit, traces=True) if self.choosing is not None else {}
        return await self._analyses.of(image, self._vectorizer, caller, versions)

    async def _drawing(self, asked: IllustrateRequest, caller: Caller) -> DirectRequest:
        illustrator, families, exposure = self._draws(caller), await self._known.families(), None
        request, unit = asked, unit_for(asked, caller.user_id)
        if self._experiments is not None:
            request, exposure = await self._experiments.assign(asked, caller.user_id, families, unit)
        family = next((one for one in families if request.options.model in (None, one.name)), None)
        request = request if family is None else request.resolved(family)  # who draws says that there is none such
        if self.choosing is not None:
            request = await self.choosing.assign(request, unit)
        exposures = [*([exposure] if exposure is not None else []), *exposures_of(request, caller.user_id)]
        limit_s = self._settings.illustrator.timeout_s
        do = partial(drawn, illustrator=illustrator, vectorizer=self._vectorizer, signer=self._signer)
        limit_s = min(asked.options.timeout_s or limit_s, limit_s)
        return DirectRequest(asked, request, caller, do, limit_s, exposures=exposures)

    async def _previewed(
        self,
        request: IllustrateRequest,
        preview_every: int,
        caller: Caller,
        progressed: Callable[[Progress], None] | None,
    ) -> AsyncGenerator[Preview | Outcome, None]:
        options = replace(request.options, preview_every=preview_every)
        follow = (
            NO_PROGRESS if progressed is None else StreamOptions(progress_s=max(0.001, self._settings.jobs.progress_s))
        )
        async with contextlib.aclosing(self._draws(caller).stream(options, follow)) as items:
            async for item in items:
                if isinstance(item, Preview):
                    yield item
                elif isinstance(item, Progress) and progressed is not None:
                    progressed(item)
                elif isinstance(item, Illustration):
                    yield await encoded(item, request, self._vectorizer, self._signer)

    def _draws(self, caller: Caller) -> IllustratorService:
        if self._illustrator is None:
            raise no_illustrator_error()
        return serving(self._illustrator, caller.user_id)


def _unkept(outcome: Outcome) -> Answer:
    ids = [new_id() for _ in outcome.files]
    return Answer(new_id(), outcome.files, ids, dict(outcome.details), outcome.generation_time_s)
