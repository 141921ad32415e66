"""One picture on its way to an SVG: analyse, route, optimise, trace, validate, and say how it was done (D-054)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from serve.ensembles.vectorizer import tier_routing
from serve.ensembles.vectorizer.analysis import Account, ImageAnalysis, ImageAnalyzer, described
from serve.ensembles.vectorizer.predictors import Predictors
from serve.ensembles.vectorizer.search import Search, Source
from serve.ensembles.vectorizer.tasks import Trial
from serve.ensembles.vectorizer.tiers import Tiers
from serve.ensembles.vectorizer.vectorization import (
    TIME_BUDGET,
    TierForecast,
    Vectorization,
    VectorizeOptions,
    not_reached,
)
from serve.ensembles.vectorizer.worker_pool import WorkerPool
from serve.observability import tracing
from serve.vector.image import ImageLimits
from serve.vector.trace import tracer_name
from serve.vector.utility import reference_from_area

_STOCK = "the coverage tracer failed: VTracer with its defaults"
_BUDGET_SLACK = 1.05  # D-053: less than 5 % over


@dataclass(frozen=True)
class ConversionResources:
    """What conversions share."""

    workers: WorkerPool
    observer: ImageAnalyzer
    predictors: Predictors
    limits: ImageLimits
    label: Callable[[str, str], str]
    """What an engine's version is called in answers."""
    trace_timeout_s: float


@dataclass
class Conversion:
    """One request. ``began`` is of ``time.perf_counter``; ``account.deadline`` and ``stop_at`` are of ``monotonic``."""

    studio: ConversionResources
    data: bytes
    options: VectorizeOptions
    account: Account
    began: float = field(default_factory=time.perf_counter)
    stop_at: float | None = None

    def __post_init__(self) -> None:
        if self.options.time_budget_s is not None:
            self.stop_at = time.monotonic() + self.options.time_budget_s

    async def run(self) -> Vectorization:
        return await (self._basic() if self.options.tier == "basic" else self._with_models())

    async def recommended(self) -> tuple[ImageAnalysis, int, dict[str, TierForecast]]:
        """The picture's insight, the tier that `auto` would begin with, and what each tier should give."""
        tiers = await self._prepared()
        tier = await self._route(tiers)
        await tiers.consider()
        return tiers.insight, tier, {str(each): self._forecast(tiers, each) for each in (1, 2, 3)}

    def _forecast(self, tiers: Tiers, tier: int) -> TierForecast:
        """Tier 3 begins with what tier 2 finds, so it promises the same."""
        known = tiers.forecasts.get(min(tier, 2))
        return TierForecast(
            quality=known.quality if known else None,
            bytes=round(known.bytes) if known else None,
            seconds=tier_routing.duration_s(tier, tiers.plan_s, self.studio.workers.count),
        )

    async def _basic(self) -> Vectorization:
        """VTracer with its defaults, coarser where bounds ask for it; no engine is asked."""
        insight = described(await self.studio.observer.inspect(self.data, self.account))
        search = self._search(insight)
        measure = self.options.validate
        await self.account.timed("trace", search.or_stock(measure=measure))
        await self.account.timed("optimize", search.shrink(measure=measure))
        return self._answer(search, insight, "basic", None)

    async def _with_models(self) -> Vectorization:
        tiers = await self._prepared()
        search = tiers.search
        measure = self.options.validate or self.options.tier == "auto"
        if isinstance(self.options.tier, int):
            tier = await tiers.run(self.options.tier, measure=measure)
        else:
            tier = await self._automatic(tiers)
        if await search.or_stock(measure=measure):
            self.account.degraded.append(_STOCK)
        await self.account.timed("optimize", search.shrink(measure=measure or tier > 1))
        predicted = await self.account.timed("predict", tiers.prediction(search.best.parameters))
        name = str(tier) if tier > 1 or tiers.suggested else "fixed"
        return self._answer(search, tiers.insight, name, predicted)

    async def _prepared(self) -> Tiers:
        insight = await self.studio.observer.look(self.data, self.account)
        tiers = Tiers(self.studio.predictors.of(self.account.versions), self._search(insight), insight, self.account)
        await self.account.timed("route", tiers.prepare())
        return tiers

    async def _automatic(self, tiers: Tiers) -> int:
        """The routed tier, then the next as long as the measured result is not as asked and there is time."""
        tier = await self.account.timed("route", self._route(tiers))
        await tiers.run(tier, measure=True)
        while tier < 3 and not self._satisfied(tiers.search):
            fit = self._fitting(tiers, tuple(range(tier + 1, 4)))
            if fit and fit[0] == 2 and not await tiers.consider():
                fit = fit[1:]
            if not fit:
                break
            tier = await tiers.run(fit[0], measure=True)
        return tier

    async def _route(self, tiers: Tiers) -> int:
        fit = self._fitting(tiers, (1, 2, 3))
        tier = tier_routing.choose(self.options, tiers.forecasts, fit)
        if tier > 1 and 2 in fit and not await tiers.consider():
            fit = tuple(one for one in fit if one != 2)
        return tier_routing.choose(self.options, tiers.forecasts, fit)

    def _fitting(self, tiers: Tiers, of: tuple[int, ...]) -> tuple[int, ...]:
        left_s = None if self.stop_at is None else self.stop_at - time.monotonic()
        trial_s = tiers.search.slowest_s or tiers.plan_s
        return tier_routing.fitting(of, left_s, trial_s, self.studio.workers.count)

    def _satisfied(self, search: Search) -> bool:
        if not search.trials:
            return False
        return tier_routing.satisfies(self.options, search.estimate(search.best), search.best.bytes, search.best.paths)

    def _search(self, insight: ImageAnalysis) -> Search:
        return Search(
            workers=self.studio.workers,
            source=Source(self.data, self.studio.limits),
            options=self.options,
            deadline=self.account.deadline,
            trace_timeout_s=self.studio.trace_timeout_s,
            reference_bytes=reference_from_area(insight.width, insight.height),
            stop_at=self.stop_at,
            expected_s=tier_routing.expected_trial_s(insight.width, insight.height),
        )

    def _answer(self, search: Search, insight: ImageAnalysis, tier: str, predicted: float | None) -> Vectorization:
        best = search.best
        spent_s = time.perf_counter() - self.began
        self.account.degraded += self._unmet(best, search.estimate(best), spent_s)
        timings = {name: seconds for name, seconds in self.account.timings_s.items() if seconds > 0}
        if tier in ("1", "basic", "fixed") and best.measure_s:
            timings["validate"] = best.measure_s
            timings["trace"] = max(0.0, timings.get("trace", 0.0) - best.measure_s)
        tracing.note(
            atelier__tier=tier, atelier__tracer=tracer_name(best.parameters), atelier__logo_type=insight.logo_type,
            atelier__trials=len(search.trials), atelier__width_px=insight.width, atelier__height_px=insight.height,
        )  # fmt: skip
        return Vectorization(
            svg=best.svg,
            logo_type=insight.logo_type,
            confidence=insight.confidence,
            tier=tier,
            tracer=tracer_name(best.parameters),
            predicted_quality=predicted,
            actual_quality=best.ssim,
            bytes=best.bytes,
            paths=best.paths,
            parameters=best.parameters.to_dict(),
            model_versions={
                name: self.studio.label(name, self.account.versions.get(name, "")) for name in sorted(self.account.used)
            },
            timings_s=timings,
            input_sha256=insight.sha256,
            width=insight.width,
            height=insight.height,
            processing_time_s=spent_s,
            degraded=tuple(dict.fromkeys(self.account.degraded)),
        )

    def _unmet(self, best: Trial, quality: float | None, spent_s: float) -> list[str]:
        """What was asked for and could not be had."""
        options = self.options
        asked: list[tuple[str, float | None, float, bool]] = [
            ("max_bytes", options.max_bytes, best.bytes, best.bytes > (options.max_bytes or best.bytes)),
            ("max_paths", options.max_paths, best.paths, best.paths > (options.max_paths or best.paths)),
        ]
        if options.tier == "auto" and quality is not None:
            missed = quality < options.target_quality
            asked.append(("target_quality", options.target_quality, round(quality, 4), missed))
        if options.time_budget_s is not None:
            over = spent_s > options.time_budget_s * _BUDGET_SLACK
            asked.append((TIME_BUDGET, options.time_budget_s, round(spent_s, 3), over))
        return [not_reached(name, wanted, got) for name, wanted, got, unmet in asked if unmet]
