"""`Illustrator`: prompt to pictures, every denoising step a request of its own to the UNet's engine.

Triton's batcher merges the steps of whatever pictures are under way, at whatever timesteps; nothing is batched here.
So a request joins at the next step, and one that is cancelled or late is gone at the next step.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

import numpy.typing as npt

from serve.diffusion.bounds import check_engine_inputs
from serve.diffusion.family import families_in, parse
from serve.diffusion.noise import derived_seeds
from serve.engines.client import EngineClient
from serve.engines.engine_set import EngineSet, EngineSetService
from serve.engines.service import EngineAddress
from serve.ensembles.illustrator.candidates import choose, judge_of
from serve.ensembles.illustrator.checkpoints import Stage, fingerprint, unpack
from serve.ensembles.illustrator.families import available_engines, find_missing_files, read_manifest
from serve.ensembles.illustrator.illustration import (
    HOW_TO_BUILD,
    ILLUSTRATE,
    NO_PROGRESS,
    Checkpoint,
    FamilyInfo,
    IllustrateOptions,
    Illustration,
    Picture,
    Pixels,
    StreamItem,
    StreamOptions,
    no_illustrator_error,
)
from serve.ensembles.illustrator.pipeline import DiffusionPipeline, Plan
from serve.ensembles.illustrator.progress import MAX_WAITING_PREVIEWS, ProgressReporter, pack_item
from serve.ensembles.measurements import measured
from serve.ensembles.progress_stream import ProgressOutbox, stream_progress
from serve.ensembles.vectorizer.vectorization import NO_VERSIONS
from serve.errors import EngineUnavailable, InvalidRequest, NotFound
from serve.observability import request_context, tracing
from serve.observability.metrics import catalogue
from serve.settings import IllustratorSettings

LOGGER = logging.getLogger(__name__)

MAX_PREVIEWS = 1000
"""Maximum previews per request."""


class Illustrator(EngineSetService):
    """Composes the engines of all its families; a plain class, for one event loop.

    Without ``engines`` it owns a Triton, unless the settings name an external one. Without any family it starts, and
    drawing raises an error with the command to run. Call `start` first; it raises EngineUnavailable with the reason.
    """

    def __init__(
        self,
        settings: IllustratorSettings,
        engines: EngineClient | None = None,
        others: Sequence[str] = (),
        engine_versions: Mapping[str, str] = NO_VERSIONS,
    ) -> None:
        """``others``: engines served besides the families'. ``engine_versions``: initial versions by engine."""
        self._settings = settings
        self._others = tuple(others)
        repository = settings.model_repository
        manifests = {name: read_manifest(repository, name) for name in settings.families or families_in(repository)}
        known = {name: parse(manifest) for name, manifest in manifests.items()}
        owned = engines is None and settings.engines_url is None
        for engine in others if owned else ():
            if not (repository / engine / "config.pbtxt").is_file():
                raise EngineUnavailable(f"there is no engine '{engine}' in {repository.name}/", "moderation.engine")
        self._missing_files = {
            name: gone for name, family in known.items() if (gone := find_missing_files(repository, family, owned))
        }
        for name, gone in self._missing_files.items():
            LOGGER.error("model '%s' is not served: it lacks %s; %s", name, ", ".join(gone), HOW_TO_BUILD)
        families = {name: family for name, family in known.items() if name not in self._missing_files}
        super().__init__(
            EngineSet(
                repository,
                [*(engine for one in families.values() for engine in available_engines(repository, one)), *others],
                url=settings.engines_url,
                timeout_s=settings.engine_timeout_s,
                start_timeout_s=settings.engine_start_timeout_s,
                client=engines,
                tritonserver=settings.tritonserver,
                ensemble=ILLUSTRATE,
                gpus=settings.num_gpus,
                current=engine_versions,
            )
        )
        limit_s = settings.engine_timeout_s
        self._pipelines = {
            name: DiffusionPipeline(family, repository, self.engine_set.client, engine_timeout_s=limit_s)
            for name, family in families.items()
        }
        created = {name: datetime.fromisoformat(str(manifest["created"])) for name, manifest in manifests.items()}
        self._created = {name: int(created[name].timestamp()) for name in self._pipelines}

    async def start(self) -> None:
        """Raises EngineUnavailable if an engine does not start; everything is closed then."""
        try:
            await self.engine_set.start()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        await self.engine_set.close()

    async def families(self) -> Sequence[FamilyInfo]:
        """The families; the first is the default."""
        label = self.engine_set.versions.label
        pipelines = self._pipelines.items()
        return tuple(pipeline.info(label(pipeline.family.unet), self._created[name]) for name, pipeline in pipelines)

    async def draw(self, options: IllustrateOptions) -> Illustration:
        """Draw the pictures of ``options`` concurrently.

        The same options and seed give the same pictures regardless of the load, up to the engines' rounding. Raises
        InvalidRequest, NotFound (unknown family), DeadlineExceeded, Overloaded, EngineUnavailable, EngineFailure.
        Cancelling the call stops before the next step.
        """
        return await self._draw(options, NO_PROGRESS, (), None)

    async def stream(
        self, options: IllustrateOptions, stream_options: StreamOptions = NO_PROGRESS, resume: Sequence[Checkpoint] = ()
    ) -> AsyncGenerator[StreamItem]:
        """Stream items, then the Illustration; closing the iterator cancels the drawing."""
        stream = stream_progress(partial(self._draw, options, stream_options, resume), MAX_WAITING_PREVIEWS)
        async with contextlib.aclosing(stream) as items:
            async for item in items:
                yield await pack_item(item)

    def check_inputs(self, engine: str, inputs: Mapping[str, npt.NDArray[Any]]) -> None:
        """Inputs may be no larger than those of the largest picture. Raises InvalidRequest."""
        for pipeline in self._pipelines.values():
            check_engine_inputs(pipeline.family, engine, inputs)

    async def engine_address(self) -> EngineAddress | None:
        """Without the families' engines, whose inputs `check_inputs` bounds."""
        address = await super().engine_address()
        if address is None:
            return None
        return replace(address, engines=self._others)

    async def _draw(
        self,
        options: IllustrateOptions,
        stream_options: StreamOptions,
        resume: Sequence[Checkpoint],
        outbox: ProgressOutbox | None,
    ) -> Illustration:
        pipeline = self._pipeline(options.model)
        with measured(ILLUSTRATE, pipeline.family.name) as bill:
            async with self.engine_set.versions.using(options.engine_versions) as chosen:
                drawn = await self._paint(pipeline, options, stream_options, resume, outbox, chosen)
            catalogue.PICTURES.add(len(drawn.pictures), pipeline.family.name)
            for name, seconds in drawn.timings_s.items():
                catalogue.STAGE_SECONDS.observe(seconds, ILLUSTRATE, name)
            return replace(drawn, cost=bill.to_json())

    async def _paint(
        self,
        pipeline: DiffusionPipeline,
        options: IllustrateOptions,
        stream_options: StreamOptions,
        resume: Sequence[Checkpoint],
        outbox: ProgressOutbox | None,
        chosen: Mapping[str, str],
    ) -> Illustration:
        began = time.perf_counter()
        limit_s = min(options.timeout_s or self._settings.timeout_s, self._settings.timeout_s)
        if options.candidates > 1:
            judge_of(pipeline)
        seeds = derived_seeds(options.resolve_seed(), options.n * options.candidates)
        with tracing.span("prompt"):
            plan = await pipeline.plan(options, seeds[0], request_context.current().until(limit_s), chosen)
        _check_previews(options, plan)
        versions = {
            engine: self.engine_set.versions.label(engine, chosen.get(engine, "")) for engine in pipeline.engines(plan)
        }
        fingerprints = [fingerprint(replace(plan.parameters, seed=seed), versions) for seed in seeds]
        planned = time.perf_counter()
        resumed = await asyncio.to_thread(_stages_to_resume, resume, fingerprints, plan, pipeline) if resume else {}
        report = (
            ProgressReporter(outbox, stream_options, fingerprints, plan.trajectory, resumed)
            if outbox is not None
            else None
        )
        observers = [None if report is None else report.of(i, options.candidates) for i in range(len(seeds))]
        tracing.note(**_span_attributes(plan, options.n))
        painted = await _gather(
            [
                _paint_traced(i, partial(pipeline.paint, plan, seed, observers[i], resumed.get(i)))
                for i, seed in enumerate(seeds)
            ]
        )
        pictures = [Picture(pixels, seed) for pixels, seed in zip(painted, seeds, strict=True)]
        if options.candidates > 1:
            pictures = await choose(pipeline, plan, pictures, options.candidates)
        ended = time.perf_counter()
        return Illustration(
            pictures=pictures,
            parameters=replace(plan.parameters, seed=pictures[0].seed),
            tokens=plan.tokens,
            negative_tokens=plan.negative_tokens,
            evaluations=len(plan.trajectory),
            model_versions=versions,
            timings_s={"prompt": planned - began, "draw": ended - planned},
            processing_time_s=ended - began,
        )

    def _pipeline(self, name: str | None) -> DiffusionPipeline:
        wanted = next(iter(self._pipelines or self._missing_files), None) if name is None else name
        if wanted in self._pipelines:
            return self._pipelines[wanted]
        if wanted in self._missing_files:
            what = ", ".join(self._missing_files[wanted])
            raise NotFound(f"model '{wanted}' lacks {what}; {HOW_TO_BUILD}", "model")
        if not self._pipelines:
            raise no_illustrator_error()
        known = ", ".join(self._pipelines)
        raise NotFound(f"there is no model {str(wanted)[:64]!a}; there are: {known}. {HOW_TO_BUILD}", "model")


async def _paint_traced(place: int, paint: Callable[[], Awaitable[Pixels]]) -> Pixels:
    """Trace one picture as a span; its steps are events."""
    with tracing.span("paint", atelier__picture=place):
        return await paint()


def _span_attributes(plan: Plan, pictures: int) -> dict[str, str | int]:
    p = plan.parameters
    return {
        "atelier__model": p.model, "atelier__sampler": p.sampler, "atelier__steps": len(plan.trajectory),
        "atelier__width_px": p.width, "atelier__height_px": p.height, "atelier__pictures": pictures,
        "atelier__tokens": plan.tokens,
    }  # fmt: skip


async def _gather(paintings: Sequence[Coroutine[Any, Any, Pixels]]) -> list[Pixels]:
    """Run concurrently; the first error cancels the others and is raised unwrapped."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(painting) for painting in paintings]
    except BaseExceptionGroup as errors:
        raise _first_error(errors) from None
    return [task.result() for task in tasks]


def _check_previews(options: IllustrateOptions, plan: Plan) -> None:
    every, steps = options.preview_every, len(plan.trajectory)
    count = options.n * ((steps - 1) // every) if every else 0
    if count > MAX_PREVIEWS:
        what = f"{options.n} pictures of {steps} evaluations would have {count}"
        raise InvalidRequest(f"at most {MAX_PREVIEWS} previews fit one request; {what}: show fewer", "preview_every")


def _first_error(error: BaseException) -> BaseException:
    return _first_error(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


def _stages_to_resume(
    resume: Sequence[Checkpoint], fingerprints: Sequence[str], plan: Plan, pipeline: DiffusionPipeline
) -> dict[int, Stage]:
    """Stages of the pictures that have a matching checkpoint; the last checkpoint of each picture is used."""
    newest = {checkpoint.index: checkpoint for checkpoint in resume}
    shape, evaluations = pipeline.latents_shape(plan), len(plan.trajectory)
    found = {
        index: unpack(newest[index], mark, shape, evaluations)
        for index, mark in enumerate(fingerprints)
        if index in newest
    }
    return {index: stage for index, stage in found.items() if stage is not None}
