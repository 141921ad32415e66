"""Conversion of one picture to SVG: analyse, choose a tier, optimise, trace, validate (D-054)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace

from serve.ensembles.vectorizer import tasks, tier_routing
from serve.ensembles.vectorizer.analysis import (
    ConversionContext,
    ImageAnalysis,
    ImageAnalyzer,
    Predictors,
    build_analysis,
)
from serve.ensembles.vectorizer.samples import sample_of
from serve.ensembles.vectorizer.search import Search, Source
from serve.ensembles.vectorizer.tasks import Trial
from serve.ensembles.vectorizer.tiers import Tiers
from serve.ensembles.vectorizer.vectorization import (
    PICTORIAL_IGNORES,
    TIME_BUDGET,
    QualitySample,
    TierForecast,
    Vectorization,
    VectorizeOptions,
    no_effect_note,
    unmet_note,
)
from serve.ensembles.vectorizer.worker_pool import WorkerPool
from serve.observability import tracing
from serve.vector.finishing import Finish
from serve.vector.image import ImageLimits
from serve.vector.parameters import CoverageParameters, PictorialParameters, reference_from_area
from serve.vector.rewrite.rewrite import MAX_SHAPES, Rewrite
from serve.vector.svg import count_paths
from serve.vector.trace import tracer_name

_BUDGET_SLACK = 1.05  # D-053: less than 5 % over


@dataclass(frozen=True)
class ConversionResources:
    """Shared resources of conversions."""

    workers: WorkerPool
    analyzer: ImageAnalyzer
    predictors: Predictors
    limits: ImageLimits
    label: Callable[[str, str], str]
    """The version label of an engine in answers."""
    trace_timeout_s: float
    collect_samples: bool = False


@dataclass
class Conversion:
    """One request. ``began``: by ``time.perf_counter``; ``context.deadline`` and ``stop_at``: by ``time.monotonic``."""

    resources: ConversionResources
    data: bytes
    options: VectorizeOptions
    context: ConversionContext
    began: float = field(default_factory=time.perf_counter)
    stop_at: float | None = None

    def __post_init__(self) -> None:
        if self.options.time_budget_s is not None:
            self.stop_at = time.monotonic() + self.options.time_budget_s

    async def run(self) -> Vectorization:
        return await (self._basic() if self.options.tier == "basic" else self._with_models())

    async def recommend_tier(self) -> tuple[ImageAnalysis, int, dict[str, TierForecast]]:
        """The picture's analysis, the tier that `auto` starts with, and the forecast of each tier."""
        tiers = await self._prepare()
        tier = await self._route(tiers)
        await tiers.score_candidates()
        return tiers.analysis, tier, {str(each): self._forecast(tiers, each) for each in (1, 2, 3)}

    def _forecast(self, tiers: Tiers, tier: int) -> TierForecast:
        """Tier 3 starts from tier 2's result, so its forecast is the same."""
        known = tiers.forecasts.get(min(tier, 2))
        return TierForecast(
            quality=known.quality if known else None,
            bytes=round(known.bytes) if known else None,
            seconds=tier_routing.duration_s(tier, tiers.planned_trial_s, self.resources.workers.count),
        )

    async def _basic(self) -> Vectorization:
        """VTracer with its defaults, coarser if limits require it; uses no engine."""
        analysis = build_analysis(await self.resources.analyzer.inspect(self.data, self.context))
        search = self._search(analysis)
        measure = self.options.validate
        await self.context.timed("trace", search.fall_back_to_vtracer(measure=measure))
        await self.context.timed("optimize", search.shrink(measure=measure))
        return await self._result(search, analysis, "basic", None)

    async def _with_models(self) -> Vectorization:
        tiers = await self._prepare()
        search = tiers.search
        measure = self.options.validate or self.options.tier == "auto"
        if isinstance(self.options.tier, int):
            tier = await tiers.run(self.options.tier, measure=measure)
        else:
            tier = await self._run_auto(tiers)
        if await search.fall_back_to_vtracer(measure=measure):
            failed = "pictorial" if tiers.analysis.pictorial else "coverage"
            self.context.degraded.append(f"the {failed} tracer failed: VTracer with its defaults")
        await self.context.timed("optimize", search.shrink(measure=measure or tier > 1))
        predicted = await self.context.timed("predict", tiers.prediction(search.best.parameters))
        name = str(tier) if tier > 1 or tiers.suggested else "fixed"
        return await self._result(search, tiers.analysis, name, predicted)

    async def _prepare(self) -> Tiers:
        analysis = await self.resources.analyzer.analyze(self.data, self.context)
        tiers = Tiers(
            self.resources.predictors.of(self.context.versions), self._search(analysis), analysis, self.context
        )
        await self.context.timed("route", tiers.prepare())
        return tiers

    async def _run_auto(self, tiers: Tiers) -> int:
        """The routed tier, then higher ones while the measured result is insufficient and time remains."""
        tier = await self.context.timed("route", self._route(tiers))
        await tiers.run(tier, measure=True)
        while tier < 3 and not self._satisfied(tiers.search):
            fit = self._affordable_tiers(tiers, tuple(range(tier + 1, 4)))
            if fit and fit[0] == 2 and not await tiers.score_candidates():
                fit = fit[1:]
            if not fit:
                break
            tier = await tiers.run(fit[0], measure=True)
        return tier

    async def _route(self, tiers: Tiers) -> int:
        fit = self._affordable_tiers(tiers, (1, 2, 3))
        tier = tier_routing.choose_tier(self.options, tiers.forecasts, fit)
        if tier > 1 and 2 in fit and not await tiers.score_candidates():
            fit = tuple(one for one in fit if one != 2)
        return tier_routing.choose_tier(self.options, tiers.forecasts, fit)

    def _affordable_tiers(self, tiers: Tiers, of: tuple[int, ...]) -> tuple[int, ...]:
        left_s = None if self.stop_at is None else self.stop_at - time.monotonic()
        trial_s = tiers.search.slowest_s or tiers.planned_trial_s
        return tier_routing.affordable_tiers(of, left_s, trial_s, self.resources.workers.count)

    def _satisfied(self, search: Search) -> bool:
        if not search.trials:
            return False
        return tier_routing.satisfies(self.options, search.estimate(search.best), search.best.bytes, search.best.paths)

    def _search(self, analysis: ImageAnalysis) -> Search:
        return Search(
            workers=self.resources.workers,
            source=Source(self.data, self.resources.limits),
            options=self.options,
            deadline=self.context.deadline,
            trace_timeout_s=self.resources.trace_timeout_s,
            reference_bytes=reference_from_area(analysis.width, analysis.height),
            stop_at=self.stop_at,
            expected_s=tier_routing.expected_trial_s(analysis.width, analysis.height),
        )

    async def _result(
        self, search: Search, analysis: ImageAnalysis, tier: str, predicted: float | None
    ) -> Vectorization:
        self.context.degraded += self._without_effect(search.best)
        best = await self._finished(search.best)
        spent_s = time.perf_counter() - self.began
        self.context.degraded += self._unmet_limits(best, search.estimate(best), spent_s)
        timings = {name: seconds for name, seconds in self.context.timings_s.items() if seconds > 0}
        if tier in ("1", "basic", "fixed") and best.measure_s:
            timings["validate"] = best.measure_s
            timings["trace"] = max(0.0, timings.get("trace", 0.0) - best.measure_s)
        tracing.note(
            atelier__tier=tier, atelier__tracer=tracer_name(best.parameters), atelier__logo_type=analysis.logo_type,
            atelier__trials=len(search.trials), atelier__width_px=analysis.width, atelier__height_px=analysis.height,
        )  # fmt: skip
        return Vectorization(
            svg=best.svg,
            logo_type=analysis.logo_type,
            confidence=analysis.confidence,
            tier=tier,
            tracer=tracer_name(best.parameters),
            predicted_quality=predicted,
            actual_quality=best.ssim,
            bytes=best.bytes,
            paths=best.paths,
            parameters=best.parameters.to_dict(),
            model_versions={
                name: self.resources.label(name, self.context.versions.get(name, ""))
                for name in sorted(self.context.used)
            },
            timings_s=timings,
            input_sha256=analysis.sha256,
            width=analysis.width,
            height=analysis.height,
            processing_time_s=spent_s,
            degraded=tuple(dict.fromkeys(self.context.degraded)),
            sample=self._sample(search, analysis) if predicted is not None else None,
        )

    def _sample(self, search: Search, analysis: ImageAnalysis) -> QualitySample | None:
        """None where samples are not collected, and for what candidate rows do not say: drawings without shapes or of
        another precision."""
        options = self.options
        if not self.resources.collect_samples or not options.shapes or options.precision is not None:
            return None
        return sample_of(search, analysis)

    async def _finished(self, trial: Trial) -> Trial:
        """``trial`` with what the request sets of `Finish`."""
        options = self.options
        finish = Finish(
            palette=options.palette.split(",") if options.palette else (),
            remove_background=options.background == "remove",
            classes=options.classes,
            title=options.title or "",
            id_prefix=options.id_prefix or "",
            rewrite=Rewrite(options.curves, options.stacking, options.group_by, options.draw),
        )
        if finish == Finish():
            return trial
        run, limit_s = self.resources.workers.run, self.resources.trace_timeout_s
        svg = await run(self.context.deadline, tasks.finish, trial.svg, finish, _decimals(trial), limit_s=limit_s)
        return replace(trial, svg=svg, bytes=len(svg.encode()), paths=count_paths(svg))

    def _without_effect(self, trial: Trial) -> list[str]:
        """Notes for options that do nothing to this drawing."""
        notes, set_options = [], self.options.drawing_options()
        if isinstance(trial.parameters, PictorialParameters):
            notes += [no_effect_note(name, "in photographs") for name in PICTORIAL_IGNORES if name in set_options]
        if trial.paths > MAX_SHAPES:
            reason = f"on more than {MAX_SHAPES} shapes"
            notes += [no_effect_note(one.name, reason) for one in fields(Rewrite) if one.name in set_options]
        return notes

    def _unmet_limits(self, best: Trial, quality: float | None, spent_s: float) -> list[str]:
        """Notes for requested limits that were not met."""
        options = self.options
        limits: list[tuple[str, float | None, float, bool]] = [
            ("max_bytes", options.max_bytes, best.bytes, best.bytes > (options.max_bytes or best.bytes)),
            ("max_paths", options.max_paths, best.paths, best.paths > (options.max_paths or best.paths)),
        ]
        if options.tier == "auto" and quality is not None:
            missed = quality < options.target_quality
            limits.append(("target_quality", options.target_quality, round(quality, 4), missed))
        if options.time_budget_s is not None:
            over = spent_s > options.time_budget_s * _BUDGET_SLACK
            limits.append((TIME_BUDGET, options.time_budget_s, round(spent_s, 3), over))
        return [unmet_note(name, wanted, got) for name, wanted, got, unmet in limits if unmet]


def _decimals(trial: Trial) -> int:
    parameters = trial.parameters
    if isinstance(parameters, PictorialParameters):
        return 1
    return parameters.decimals if isinstance(parameters, CoverageParameters) else min(3, parameters.path_precision)
