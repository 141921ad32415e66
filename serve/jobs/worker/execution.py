"""`JobExecutor`: runs a job with the ensembles, and reports its progress."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from serve.ensembles.captioner.captioner import Captioner, open_captioner
from serve.ensembles.captioner.describer import open_describer
from serve.ensembles.illustrator.encoding import Encoding, encode_preview
from serve.ensembles.illustrator.illustration import Illustration, no_illustrator_error
from serve.ensembles.illustrator.service import (
    Checkpoint,
    IllustratorService,
    Preview,
    Progress,
    StreamOptions,
    family_of,
)
from serve.ensembles.info_cache import EnsembleInfoCache
from serve.ensembles.requests import (
    CaptionRequest,
    IllustrateRequest,
    JobRequest,
    Outcome,
    RetrainRequest,
    VectorizeRequest,
)
from serve.ensembles.vectorizer.vectorization import VectorizerService
from serve.errors import BadImage, EngineFailure, OutOfSpace, StateUnavailable
from serve.jobs.direct.result_cache import CacheKey, ResultCache
from serve.jobs.outcomes import encode_illustration, vectorization_outcome
from serve.jobs.quality_samples import sample_writes
from serve.jobs.records import object_store_items
from serve.jobs.retraining import retrain
from serve.jobs.worker.claims import ClaimedJob
from serve.jobs.worker.leases import Leases
from serve.jobs.worker.progress import ProgressReporter
from serve.releases.experiments.assignment import Experiments, Exposure, expose
from serve.releases.fallback.serving import serving
from serve.releases.flags import Flags, unit_of
from serve.releases.rollouts.version_selector import R, VersionSelector, exposures_of
from serve.security.fetching.chat_service import remote_chat_at
from serve.security.signing.content_credentials import signer_of
from serve.state import State
from serve.state.objects.names import Stored
from serve.state.objects.objects import protect
from serve.state.write_batches import execute

PREVIEW = Encoding("webp", quality=75, metadata=False)


@dataclass(frozen=True, eq=False)
class JobResult:
    """``stored`` locates the files of ``outcome``; ``key`` is the key to cache it under; ``stage`` is the final stage,
    if the job reported any."""

    outcome: Outcome
    stored: Sequence[Stored]
    cached: bool = False
    key: CacheKey | None = None
    stage: Mapping[str, Any] | None = None


class JobExecutor:
    """Composes the ensembles; without an illustrator, illustrations fail with an error that says what to run."""

    def __init__(self, state: State, vectorizer: VectorizerService, illustrator: IllustratorService | None) -> None:
        self._state = state
        self._database = state.database
        self._objects = state.objects
        self._settings = state.settings
        self._limits = state.settings.jobs
        self._vectorizer = vectorizer
        self._illustrator = illustrator
        self._ensemble_info = EnsembleInfoCache(illustrator, vectorizer)
        self._result_cache = ResultCache(state, self._ensemble_info)
        self._experiments = Experiments(state.settings.experiments, Flags(state.settings.flags, state.database))
        self._version_selector = VersionSelector(state.database, self._ensemble_info)
        self._signer = signer_of(state.settings)
        self._captioner: Captioner | None = None
        self._preview = replace(PREVIEW, mark=state.settings.provenance.mark)

    async def run(self, job: ClaimedJob, leases: Leases) -> JobResult:
        """Raises the ensembles' errors, and LeaseLost."""
        request = await self._resolve_request(job)
        key = await self._result_cache.key_of(request)
        if key is not None and (cached := await self._cached_result(key)) is not None:
            return cached
        stage = None
        if isinstance(request, RetrainRequest):
            return JobResult(await retrain(self._state, self._vectorizer), [])
        if isinstance(request, CaptionRequest):
            return JobResult(await self._caption(request), [])
        if isinstance(request, VectorizeRequest):
            outcome = await self._vectorize(request)
        else:
            outcome, stage = await self._illustrate(job, request, leases)
        return JobResult(outcome, await self._store_files(outcome), key=key, stage=stage)

    async def record_result(self, connection: AsyncConnection, job: ClaimedJob, result: JobResult) -> None:
        """Caches the result and stores its sample, in the transaction that completes the job."""
        await execute(connection, sample_writes(job.id, result.outcome, self._settings))
        if result.key is not None:
            await self._result_cache.put(connection, result.key, result.outcome, result.stored)

    async def _resolve_request(self, job: ClaimedJob) -> JobRequest:
        """The request with its experiment arm, the family's defaults, and engine versions that stay fixed for all
        attempts; an unknown model is reported by the Illustrator."""
        if isinstance(job.request, CaptionRequest | RetrainRequest):
            return job.request
        unit = unit_of(job.user_id, job.id)
        if isinstance(job.request, VectorizeRequest):
            return await self._assign_versions(job, job.request, unit, [])
        families = await self._ensemble_info.families()
        request, exposure = await self._experiments.assign(job.request, job.user_id, families, unit)
        family = family_of(request.options, families)
        request = request if family is None else request.resolved(family)
        return await self._assign_versions(job, request, unit, [exposure] if exposure is not None else [])

    async def _assign_versions(self, job: ClaimedJob, request: R, unit: str, exposures: Sequence[Exposure]) -> R:
        """Recorded before the work starts, so that another attempt has the same."""
        if job.attempt > 1:
            async with self._database.read() as connection:
                request = await self._version_selector.resume(request, unit, connection, job.id)
        else:
            request = await self._version_selector.assign(request, unit)
        if all_exposures := [*exposures, *exposures_of(request, job.user_id)]:
            async with self._database.write() as connection:
                await expose(connection, all_exposures, job.id)
        return request

    async def _cached_result(self, key: CacheKey) -> JobResult | None:
        """The cached result of the same request, with its objects protected from deletion."""
        cached = await self._result_cache.get(key)
        if cached is None:
            return None
        async with self._database.write() as connection:
            held = await protect(connection, cached.objects)
        return JobResult(cached.outcome, cached.stored, cached=True) if held else None

    async def _vectorize(self, request: VectorizeRequest) -> Outcome:
        image = await self._objects.get(request.image)
        return vectorization_outcome(await self._vectorizer.vectorize(image, request.options))

    async def _caption(self, request: CaptionRequest) -> Outcome:
        """One picture after the other; a picture that cannot be read has its reason in place of a caption."""
        if self._captioner is None:
            own = self._settings
            describer = open_describer(own.director, remote_chat_at(own.director))
            self._captioner = await asyncio.to_thread(open_captioner, own.illustrator, self._illustrator, describer)
        began, captions = time.monotonic(), []
        for name in request.images:
            data = await self._objects.get(name)
            try:
                made = await self._captioner.caption(data, request.options)
                captions.append(made.to_json())
            except BadImage as error:
                captions.append({"error": error.message})
        models = request.options.models or self._captioner.models
        return Outcome([], {"captions": captions}, ", ".join(models), time.monotonic() - began)

    async def _illustrate(
        self, job: ClaimedJob, request: IllustrateRequest, leases: Leases
    ) -> tuple[Outcome, Mapping[str, Any]]:
        if self._illustrator is None:
            raise no_illustrator_error()
        request = request.with_inputs({name: await self._objects.get(name) for name in request.inputs})
        checkpoints = await leases.checkpoints(job)
        resume = [Checkpoint(place, step, data) for place, (step, data) in checkpoints.items()]
        options = replace(request.options, preview_every=self._preview_every(request))
        follow = StreamOptions(self._limits.checkpoint_every, max(0.001, self._limits.progress_s))
        illustration: Illustration | None = None
        async with (
            ProgressReporter(job, leases, self._limits.progress_s, self._store_preview) as reporter,
            contextlib.aclosing(serving(self._illustrator, job.user_id).stream(options, follow, resume)) as items,
        ):
            async for item in items:
                if isinstance(item, Illustration):
                    illustration = item
                elif isinstance(item, Progress | Checkpoint | Preview):
                    reporter.add(item)
        if illustration is None:
            raise EngineFailure("the drawing ended without a picture")
        illustration = (
            replace(illustration, cost=reporter.total_cost(illustration.cost)) if illustration.cost else illustration
        )
        outcome = await encode_illustration(illustration, request, self._vectorizer, self._signer)
        return outcome, reporter.last_stage

    async def _store_preview(self, preview: Preview) -> str:
        """Returns the object's name."""
        height, width = preview.pixels.shape[:2]
        data = await encode_preview(preview.pixels, (width, height), self._preview)
        return (await self._objects.put(data, self._preview.media_type)).name

    def _preview_every(self, request: IllustrateRequest) -> int:
        """Previews evenly spread over the steps of ``request``."""
        steps, previews = request.options.num_inference_steps or 0, self._limits.previews
        return max(1, -(-steps // (previews + 1))) if steps and previews else 0

    async def _store_files(self, outcome: Outcome) -> list[Stored]:
        """Stores the files; retries while the store is unavailable, since drawing again would cost more."""
        deadline = time.monotonic() + self._limits.timeout_s
        while True:
            try:
                return await self._objects.put_all(object_store_items(outcome.files))
            except (StateUnavailable, OutOfSpace):
                if time.monotonic() >= deadline:
                    raise
                await asyncio.sleep(self._limits.beat_s)
