"""What is done for each kind of job: the ensembles are asked, and what they tell on the way is reported."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from serve.ensembles.illustrator.encoding import Encoding, encode_preview
from serve.ensembles.illustrator.illustration import (
    Checkpoint,
    Illustration,
    IllustratorService,
    Preview,
    Progress,
    StreamOptions,
    no_illustrator_error,
)
from serve.ensembles.info_cache import EnsembleInfoCache
from serve.ensembles.requests import IllustrateRequest, JobRequest, Outcome, VectorizeRequest
from serve.ensembles.vectorizer.vectorization import VectorizerService
from serve.errors import EngineFailure, OutOfSpace, StateUnavailable
from serve.jobs.direct.direct_request import encoded
from serve.jobs.direct.result_cache import Key, ResultCache
from serve.jobs.outcomes import of_vectorization
from serve.jobs.recording import as_stored
from serve.jobs.worker.leases import Claimed, Leases
from serve.jobs.worker.progress import ProgressReporter
from serve.releases.experiments.assignment import Experiments
from serve.releases.experiments.exposures import Exposure, expose
from serve.releases.fallback.serving import serving
from serve.releases.flags.flag import unit_of
from serve.releases.flags.store import Flags
from serve.releases.rollouts.version_selector import R, VersionSelector, exposures_of
from serve.security.signing.content_credentials import signer_of
from serve.state import State
from serve.state.objects import Stored, hold

PREVIEW = Encoding("webp", quality=75, metadata=False)


@dataclass(frozen=True, eq=False)
class JobResult:
    """``stored`` says where the files of ``outcome`` are; ``key`` what it is to be remembered by.

    ``stage`` is where the job stands at its end, if it told of that on the way.
    """

    outcome: Outcome
    stored: Sequence[Stored]
    cached: bool = False
    key: Key | None = None
    stage: Mapping[str, Any] | None = None


class JobExecutor:
    """Composes the ensembles; without an illustrator, illustrations fail and say what to run."""

    def __init__(self, state: State, vectorizer: VectorizerService, illustrator: IllustratorService | None) -> None:
        self._database = state.database
        self._objects = state.objects
        self._limits = state.settings.jobs
        self._vectorizer = vectorizer
        self._illustrator = illustrator
        self._known = EnsembleInfoCache(illustrator, vectorizer)
        self._memory = ResultCache(state, self._known)
        self._experiments = Experiments(state.settings.experiments, Flags(state.settings.flags, state.database))
        self._choosing = VersionSelector(state.database, self._known)
        self._signer = signer_of(state.settings)
        self._preview = replace(PREVIEW, mark=state.settings.provenance.mark)

    async def do(self, job: Claimed, leases: Leases) -> JobResult:
        """Raises the ensembles' errors, and LeaseLost. Cancelled, it asks for nothing any more."""
        request = await self._resolved(job)
        key = await self._memory.key_of(request)
        if key is not None and (known := await self._recalled(key)) is not None:
            return known
        stage = None
        if isinstance(request, VectorizeRequest):
            outcome = await self._vectorize(request)
        else:
            outcome, stage = await self._illustrate(job, request, leases)
        return JobResult(outcome, await self._keep(outcome), key=key, stage=stage)

    async def remember(self, connection: AsyncConnection, done: JobResult) -> None:
        """In the transaction that completes the job."""
        if done.key is not None:
            await self._memory.keep(connection, done.key, done.outcome, done.stored)

    async def _resolved(self, job: Claimed) -> JobRequest:
        """With its arm of an experiment, the family's defaults, and the versions of engines that it has to its end; who
        draws says that there is none such."""
        unit = unit_of(job.user_id, job.id)
        if isinstance(job.request, VectorizeRequest):
            return await self._with_versions(job, job.request, unit, [])
        families = await self._known.families()
        request, exposure = await self._experiments.assign(job.request, job.user_id, families, unit)
        named = [family for family in families if request.options.model in (None, family.name)]
        request = request.resolved(named[0]) if named else request
        return await self._with_versions(job, request, unit, [exposure] if exposure is not None else [])

    async def _with_versions(self, job: Claimed, request: R, unit: str, made: Sequence[Exposure]) -> R:
        """Written down before anything is done, so that another attempt has the same."""
        if job.attempt > 1:
            async with self._database.read() as connection:
                request = await self._choosing.resume(request, unit, connection, job.id)
        else:
            request = await self._choosing.assign(request, unit)
        if found := [*made, *exposures_of(request, job.user_id)]:
            async with self._database.write() as connection:
                await expose(connection, found, job.id)
        return request

    async def _recalled(self, key: Key) -> JobResult | None:
        """What the same request came to before, held for this one."""
        recalled = await self._memory.recall(key)
        if recalled is None:
            return None
        async with self._database.write() as connection:
            held = await hold(connection, recalled.objects)
        return JobResult(recalled.outcome, recalled.stored, cached=True) if held else None

    async def _vectorize(self, request: VectorizeRequest) -> Outcome:
        image = await self._objects.get(request.image)
        return of_vectorization(await self._vectorizer.vectorize(image, request.options))

    async def _illustrate(
        self, job: Claimed, request: IllustrateRequest, leases: Leases
    ) -> tuple[Outcome, Mapping[str, Any]]:
        if self._illustrator is None:
            raise no_illustrator_error()
        kept = await leases.checkpoints(job)
        resume = [Checkpoint(place, step, data) for place, (step, data) in kept.items()]
        options = replace(request.options, preview_every=self._preview_every(request))
        follow = StreamOptions(self._limits.checkpoint_every, max(0.001, self._limits.progress_s))
        drawn: Illustration | None = None
        async with (
            ProgressReporter(job, leases, self._limits.progress_s, self._show) as reporter,
            contextlib.aclosing(serving(self._illustrator, job.user_id).stream(options, follow, resume)) as items,
        ):
            async for item in items:
                if isinstance(item, Illustration):
                    drawn = item
                elif isinstance(item, Progress | Checkpoint | Preview):
                    reporter.take(item)
        if drawn is None:
            raise EngineFailure("the drawing ended without a picture")
        drawn = replace(drawn, cost=reporter.spent(drawn.cost)) if drawn.cost else drawn
        outcome = await encoded(drawn, request, self._vectorizer, self._signer)
        return outcome, reporter.last_stage

    async def _show(self, preview: Preview) -> str:
        """The name of the object that it becomes."""
        height, width = preview.pixels.shape[:2]
        data = await encode_preview(preview.pixels, (width, height), self._preview)
        return (await self._objects.put(data, self._preview.media_type)).name

    def _preview_every(self, request: IllustrateRequest) -> int:
        """Evenly over the steps, which ``request`` names."""
        steps, previews = request.options.num_inference_steps or 0, self._limits.previews
        return max(1, -(-steps // (previews + 1))) if steps and previews else 0

    async def _keep(self, outcome: Outcome) -> list[Stored]:
        """Puts the files where they stay; a store that is away is waited for, a picture is not drawn again for it."""
        deadline = time.monotonic() + self._limits.timeout_s
        while True:
            try:
                return await self._objects.put_all(as_stored(outcome.files))
            except (StateUnavailable, OutOfSpace):
                if time.monotonic() >= deadline:
                    raise
                await asyncio.sleep(self._limits.beat_s)
