"""`DirectService`: synchronous requests with history, cache, single flight and idempotency (A-080).

The path is short: one read and one write before the work starts, and one write after it with the outcome. Without a
state, requests just run and nothing is stored.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from serve.ensembles.illustrator.illustration import IllustrateOptions, Illustration, no_illustrator_error
from serve.ensembles.illustrator.service import (
    NO_PROGRESS,
    FamilyInfo,
    IllustratorService,
    Preview,
    Progress,
    StreamOptions,
    family_of,
)
from serve.ensembles.info_cache import EnsembleInfoCache
from serve.ensembles.requests import IllustrateRequest, Outcome, VectorizeRequest
from serve.ensembles.vectorizer.vectorization import VectorizeOptions, VectorizerService
from serve.errors import EngineFailure
from serve.jobs.direct.direct_request import (
    BYPASS,
    Answer,
    CacheStatus,
    Caller,
    DirectRequest,
    assignment_unit,
    claim_of,
)
from serve.jobs.direct.request_history import RequestHistory
from serve.jobs.direct.result_cache import AnalysisCache
from serve.jobs.loras import resolve_loras
from serve.jobs.outcomes import draw_illustration, encode_illustration, trace_image
from serve.jobs.site_policy import SitePolicy
from serve.jobs.worker.lease_reaper import LeaseReaper
from serve.releases.experiments.assignment import Experiments
from serve.releases.fallback.serving import serving
from serve.releases.flags import Flags, unit_of
from serve.releases.rollouts.version_selector import VersionSelector, exposures_of
from serve.security.signing.content_credentials import signer_of
from serve.settings import Settings
from serve.state import State
from serve.state.job_states import new_id
from serve.state.loras import LoraStore
from serve.state.objects.names import media_type_of, named

__all__ = ["Answer", "Caller", "DirectService"]


class DirectService:
    """For one event loop; `start` it, and `close` it. ``lease_reaper`` recovers the leases of dead gateways.

    Methods raise the errors of the ensembles and, where there is a state, StateUnavailable before any work starts,
    OutOfSpace, and KeyReused when an idempotency key was used for another request.
    """

    def __init__(
        self,
        state: State | None,
        illustrator: IllustratorService | None,
        vectorizer: VectorizerService,
        settings: Settings,
        lease_reaper: LeaseReaper | None = None,
    ) -> None:
        self._illustrator = illustrator
        self._vectorizer = vectorizer
        self._settings = settings
        self._state = state
        self._site_policy = SitePolicy(settings)
        self._signer = signer_of(settings)
        self._ensemble_info = EnsembleInfoCache(illustrator, vectorizer)
        self._history = RequestHistory(state, self._ensemble_info, lease_reaper) if state is not None else None
        flags = Flags(settings.flags, state.database) if state is not None else None
        self._experiments = Experiments(settings.experiments, flags) if flags is not None else None
        self.version_selector = VersionSelector(state.database, self._ensemble_info) if state is not None else None
        self._analysis_cache = (
            AnalysisCache(state, self._history.cache, self._ensemble_info) if state and self._history else None
        )

    async def start(self) -> None:
        """Starts the heartbeat that other gateways see."""
        if self._history is not None:
            self._history.start()

    async def close(self) -> None:
        """Cancels the running requests."""
        if self._history is not None:
            await self._history.close()

    async def families(self) -> Sequence[FamilyInfo]:
        """The model families of the Illustrator, at most a few seconds old; none without an Illustrator."""
        return await self._ensemble_info.families()

    async def draw(self, request: IllustrateRequest, caller: Caller) -> Answer:
        request = await self.apply_policy(request)
        if self._history is None:
            request = await self._with_lora_files(request)
            return _unstored_answer(
                await draw_illustration(request, self._illustrator_for(caller), self._vectorizer, self._signer)
            )
        if (answer := await self._completed(request, caller)) is not None:
            return answer
        return await self._history.answer(await self._direct_request(request, caller))

    async def with_known_loras(self, options: IllustrateOptions) -> IllustrateOptions:
        """``options``, which say for which models their LoRAs are, as far as the site has these."""
        return await resolve_loras(options, self._state, needed=False)

    async def known_loras(self, names: Collection[str]) -> Collection[str]:
        """Those of ``names`` that the site has."""
        return () if self._state is None or not names else await LoraStore(self._state).named(names)

    async def apply_policy(self, request: IllustrateRequest) -> IllustrateRequest:
        """The request under the site's policy. Raises ModerationBlocked, and InvalidRequest for what the site does not
        offer."""
        (found,) = await self._site_policy.apply([request])
        assert isinstance(found, IllustrateRequest)
        return found

    async def cached_answer(self, request: IllustrateRequest, caller: Caller) -> Answer | None:
        """The answer that `draw` would return without drawing. Call it before `stream`, which always draws."""
        request = await self.apply_policy(request)
        if self._history is None:
            await self._with_lora_files(request)  # raises before `stream` begins
            return None
        if (answer := await self._completed(request, caller)) is not None:
            return answer
        return await self._history.lookup(await self._direct_request(request, caller))

    async def _completed(self, request: IllustrateRequest, caller: Caller) -> Answer | None:
        """The answer of the caller's idempotency key to a request with LoRAs, which may be gone by now."""
        if self._history is None or not request.options.all_loras:
            return None
        return await self._history.completed(claim_of(request, caller))

    async def _with_lora_files(self, request: IllustrateRequest) -> IllustrateRequest:
        return replace(request, options=await resolve_loras(request.options, self._state))

    def may_use_cache(self, request: IllustrateRequest, caller: Caller) -> bool:
        """Whether a cached answer is acceptable."""
        return self._history is not None and self._history.may_use_cache(request, caller)

    async def stream(
        self,
        request: IllustrateRequest,
        caller: Caller,
        preview_every: int,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> AsyncGenerator[Preview | Answer, None]:
        """Yields previews every ``preview_every`` steps, then the answer. Closing the generator cancels the drawing.

        It joins a request with the same idempotency key, without previews, and no other. ``on_progress`` is called with
        the number of completed steps.
        """
        request = await self.apply_policy(request)
        if self._history is None:
            request = await self._with_lora_files(request)
            async for item in self._stream_previews(request, preview_every, caller, on_progress):
                yield item if isinstance(item, Preview) else _unstored_answer(item)
            return
        direct = replace(await self._direct_request(request, caller), joinable=False)
        ticket = await self._history.join_or_lead(direct)
        if isinstance(ticket, Answer):
            yield ticket
            return
        outcome: Outcome | None = None
        async with self._history.running(direct, ticket) as run:
            async with contextlib.aclosing(
                self._stream_previews(run.request, preview_every, caller, on_progress)
            ) as items:
                async for item in items:
                    if isinstance(item, Preview):
                        yield item
                    else:
                        outcome = item
            if outcome is None:
                raise EngineFailure("the drawing ended without a picture")
        yield await self._history.store_outcome(run, outcome)

    async def vectorize(self, image: bytes, options: VectorizeOptions, caller: Caller) -> Answer:
        if self._history is None:
            return _unstored_answer(await trace_image(image, options, self._vectorizer))
        media_type = media_type_of(image)
        (stored,) = await named([(image, media_type)])
        original = VectorizeRequest(stored.name, options)
        request, unit = original, assignment_unit(original, caller.user_id)
        if self.version_selector is not None:
            request = await self.version_selector.assign(original, unit)
        timeout_s = min(options.timeout_s or self._settings.vectorizer.timeout_s, self._settings.vectorizer.timeout_s)
        direct = DirectRequest(
            original, request, caller, lambda resolved: trace_image(image, resolved.options, self._vectorizer),
            timeout_s,            inputs=[(image, media_type)], exposures=exposures_of(request, caller.user_id),
        )  # fmt: skip
        return await self._history.answer(direct)

    async def analyze(self, image: bytes, caller: Caller) -> tuple[Mapping[str, Any], CacheStatus]:
        """An `Analysis` as JSON, and the cache status; not part of the history (D-014)."""
        if self._analysis_cache is None:
            return asdict(await self._vectorizer.analyze(image)), BYPASS
        unit = unit_of(caller.user_id, await asyncio.to_thread(lambda: hashlib.sha256(image).hexdigest()))
        versions = await self.version_selector.versions(unit, traces=True) if self.version_selector is not None else {}
        return await self._analysis_cache.analyze(image, self._vectorizer, caller, versions)

    async def _direct_request(self, original: IllustrateRequest, caller: Caller) -> DirectRequest:
        original = await self._with_lora_files(original)
        illustrator, families, exposure = self._illustrator_for(caller), await self._ensemble_info.families(), None
        request, unit = original, assignment_unit(original, caller.user_id)
        if self._experiments is not None:
            request, exposure = await self._experiments.assign(original, caller.user_id, families, unit)
        family = family_of(request.options, families)
        request = request if family is None else request.resolved(family)  # else the Illustrator reports it
        if self.version_selector is not None:
            request = await self.version_selector.assign(request, unit)
        exposures = [*([exposure] if exposure is not None else []), *exposures_of(request, caller.user_id)]
        timeout_s = self._settings.illustrator.timeout_s
        run = partial(draw_illustration, illustrator=illustrator, vectorizer=self._vectorizer, signer=self._signer)
        timeout_s = min(original.options.timeout_s or timeout_s, timeout_s)
        inputs = [(one.data, media_type_of(one.data)) for one in original.options.input_pictures]
        return DirectRequest(original, request, caller, run, timeout_s, inputs=inputs, exposures=exposures)

    async def _stream_previews(
        self,
        request: IllustrateRequest,
        preview_every: int,
        caller: Caller,
        on_progress: Callable[[Progress], None] | None,
    ) -> AsyncGenerator[Preview | Outcome, None]:
        options = replace(request.options, preview_every=preview_every)
        follow = (
            NO_PROGRESS if on_progress is None else StreamOptions(progress_s=max(0.001, self._settings.jobs.progress_s))
        )
        async with contextlib.aclosing(self._illustrator_for(caller).stream(options, follow)) as items:
            async for item in items:
                if isinstance(item, Preview):
                    yield item
                elif isinstance(item, Progress) and on_progress is not None:
                    on_progress(item)
                elif isinstance(item, Illustration):
                    yield await encode_illustration(item, request, self._vectorizer, self._signer)

    def _illustrator_for(self, caller: Caller) -> IllustratorService:
        if self._illustrator is None:
            raise no_illustrator_error()
        return serving(self._illustrator, caller.user_id)


def _unstored_answer(outcome: Outcome) -> Answer:
    ids = [new_id() for _ in outcome.files]
    return Answer(new_id(), outcome.files, ids, dict(outcome.details), outcome.generation_time_s)
