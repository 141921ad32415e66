"""`Drawing`: one request, drawn by one family: pictures concurrently, the best of candidates, the second pass."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from serve.diffusion.noise import derived_seeds
from serve.ensembles.illustrator.checkpoints import fingerprint, stages_to_resume
from serve.ensembles.illustrator.finishing.post_processing import PostProcessing
from serve.ensembles.illustrator.growth import Growth, plan_growth
from serve.ensembles.illustrator.illustration import IllustrateOptions, Illustration, Picture, Pixels
from serve.ensembles.illustrator.pipeline.candidates import check_can_choose, choose
from serve.ensembles.illustrator.pipeline.pipeline import DiffusionPipeline
from serve.ensembles.illustrator.pipeline.plan import Plan, resolve
from serve.ensembles.illustrator.progress import ProgressReporter
from serve.ensembles.illustrator.second_pass import SecondPass, plan_second_pass
from serve.ensembles.illustrator.service import Checkpoint, StreamOptions
from serve.ensembles.progress_stream import ProgressOutbox
from serve.errors import InvalidRequest
from serve.observability import request_context, tracing

MAX_PREVIEWS = 1000
"""Maximum previews per request."""


@dataclass(frozen=True)
class Drawing:
    """``label`` gives the version of an engine in answers (`EngineVersions.label`). ``outbox`` None: progress is not
    reported."""

    pipeline: DiffusionPipeline
    post_processing: PostProcessing
    label: Callable[[str, str], str]
    options: IllustrateOptions
    stream_options: StreamOptions
    resume: Sequence[Checkpoint]
    outbox: ProgressOutbox | None

    async def draw(self, limit_s: float, chosen: Mapping[str, str]) -> Illustration:
        """With the engine versions ``chosen``, within ``limit_s``. Raises as `Illustrator.draw`."""
        began = time.perf_counter()
        pipeline, options = self.pipeline, self.options
        if options.candidates > 1:
            check_can_choose(pipeline)
        post_engines = self.post_processing.engines(options)
        seeds = derived_seeds(options.resolve_seed(), options.n * options.candidates)
        with tracing.span("prompt"):
            growth = plan_growth(options)
            first = options if growth is None else growth.first
            plan = await pipeline.plan(first, seeds[0], request_context.current().until(limit_s), chosen)
        parameters = plan.parameters if growth is None else resolve(pipeline.family, options, seeds[0])
        _check_previews(options, plan, growth)
        second = plan_second_pass(pipeline, self.post_processing.finishing, options, parameters)
        versions = {
            engine: self.label(engine, chosen.get(engine, ""))
            for engine in (*pipeline.engines(plan), *(() if second is None else second.engines), *post_engines)
        }
        fingerprints = [fingerprint(replace(plan.parameters, seed=seed), versions) for seed in seeds]
        planned = time.perf_counter()
        pictures = await self._drawn(plan, growth, second, seeds, fingerprints)
        drawn = time.perf_counter()
        pictures = await self.post_processing.processed(pictures, options, plan.deadline, chosen)
        ended = time.perf_counter()
        return Illustration(
            pictures=pictures,
            parameters=replace(parameters, seed=pictures[0].seed),
            tokens=plan.tokens,
            negative_tokens=plan.negative_tokens,
            evaluations=len(plan.trajectory) + _more(plan, growth, second),
            model_versions=versions,
            timings_s={
                "prompt": planned - began,
                "draw": drawn - planned,
                **({"finish": ended - drawn} if options.finish or options.restyle else {}),
            },
            processing_time_s=ended - began,
        )

    async def _drawn(
        self,
        plan: Plan,
        growth: Growth | None,
        second: SecondPass | None,
        seeds: Sequence[int],
        fingerprints: Sequence[str],
    ) -> Sequence[Picture]:
        """The pictures of ``seeds``: of each group of candidates the best, after all passes."""
        pipeline, options = self.pipeline, self.options
        resumed = {}
        if self.resume:
            shape, evaluations = pipeline.latents_shape(plan), len(plan.trajectory)
            resumed = await asyncio.to_thread(stages_to_resume, self.resume, fingerprints, shape, evaluations)
        report = None
        if self.outbox is not None:
            more = _more(plan, growth, second)
            frames = () if growth is None else (1 + len(growth.later), growth.framed)
            report = ProgressReporter(
                self.outbox, self.stream_options, fingerprints, plan.trajectory, resumed, more, *frames
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
        if growth is not None:
            observers_of = [
                partial(_no_observer if report is None else report.later_pass, i) for i in range(len(pictures))
            ]
            grown = await _gather(
                [
                    growth.grown(pipeline, plan, picture, observer_of)
                    for picture, observer_of in zip(pictures, observers_of, strict=True)
                ]
            )
            pictures = [replace(picture, pixels=pixels) for picture, pixels in zip(pictures, grown, strict=True)]
        if second is not None:
            pictures = await self._draw_again(second, plan, pictures, report)
        return pictures

    async def _draw_again(
        self, second: SecondPass, plan: Plan, pictures: Sequence[Picture], report: ProgressReporter | None
    ) -> list[Picture]:
        """``pictures`` enlarged and drawn from again."""
        finishing = self.post_processing.finishing
        drawn = await _gather(
            [
                second.paint(self.pipeline, finishing, plan, picture, None if report is None else report.second_pass())
                for picture in pictures
            ]
        )
        return [replace(picture, pixels=pixels) for picture, pixels in zip(pictures, drawn, strict=True)]


def _more(plan: Plan, growth: Growth | None, second: SecondPass | None) -> int:
    """Evaluations of a picture after its first pass."""
    later = 0 if growth is None else len(growth.later) * len(plan.trajectory)
    return later + (0 if second is None else second.evaluations)


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


def _first_error(error: BaseException) -> BaseException:
    return _first_error(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


def _no_observer(_picture: int, _number: int) -> None:
    """Of drawings whose progress is not reported."""


def _check_previews(options: IllustrateOptions, plan: Plan, growth: Growth | None) -> None:
    every, steps = options.preview_every, len(plan.trajectory)
    passes = 1 if growth is None else 1 + len(growth.later)
    count = options.n * passes * ((steps - 1) // every) if every else 0
    if count > MAX_PREVIEWS:
        what = f"{options.n} pictures of {steps} evaluations would have {count}"
        raise InvalidRequest(f"at most {MAX_PREVIEWS} previews fit one request; {what}: show fewer", "preview_every")
