"""The three tiers: parameters from features, a predictor over many candidates, and search on real renders.

Each tier adds trials to the same `Search` and begins from what the one below it found, so a higher tier is never worse
in what is measured.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from serve.ensembles.vectorizer import candidates, tier_routing
from serve.ensembles.vectorizer.analysis import Account, ImageAnalysis
from serve.ensembles.vectorizer.predictors import Predictors, Scores
from serve.ensembles.vectorizer.search import Search
from serve.ensembles.vectorizer.tier_routing import Forecast
from serve.ensembles.vectorizer.vectorization import POLICY, QUALITY, TIER1
from serve.vector.parameters import MAX_REFINE, CoverageParameters, Parameters
from serve.vector.utility import reference_from_area, reference_parameters, utility

Floats = npt.NDArray[np.float32]

_SEARCH_REFINE = 1
_SCREENED = 64
_FIRST_SPREAD = 0.15
_SHRINK = 0.6
_MOST_GENERATIONS = 16
_BOUND_PENALTY = 10.0
_MEASURE_S_PER_MEGAPIXEL = 0.08
_REFERENCE_SHARE = 0.45  # of what VTracer's drawing should weigh: half of it (`utility`), less what the forecast errs


@dataclass
class Tiers:
    """One request's way through the tiers. Call `prepare` first."""

    predictors: Predictors
    search: Search
    insight: ImageAnalysis
    account: Account
    suggestion: Floats = field(init=False)
    by_rule: Floats = field(init=False)
    """The row of `candidates.fixed_parameters`: also tried in tiers 2 and 3, for predictions may all be wrong."""
    suggested: bool = False
    """Whether ``suggestion`` came from the `tier1` engine."""
    predicted: dict[Parameters, float] = field(default_factory=dict)
    forecasts: dict[int, Forecast] = field(default_factory=dict)
    plan_s: float = 0.0
    """What a trial should take, from size or prediction alone: it decides how many there are."""
    _picks: list[Floats] = field(default_factory=list)

    async def prepare(self) -> None:
        """Tier 1's parameters, their forecast, and the size that drawings are measured against."""
        insight, search = self.insight, self.search
        self.plan_s = tier_routing.expected_trial_s(insight.width, insight.height)
        self.by_rule = self.suggestion = candidates.row_of(candidates.fixed_parameters(insight.features))
        search.reference_bytes = reference_from_area(insight.width, insight.height)
        embedding = insight.embedding
        if embedding is not None:
            row = await self.account.or_without(
                TIER1, "fixed parameters", lambda: self.predictors.suggest(embedding, self.account.deadline)
            )
            self.suggested = row is not None
            self.suggestion = candidates.on_grid(row) if row is not None else self.suggestion
            reference = candidates.row_of(reference_parameters())
            scores = await self._score(np.stack([reference, self.suggestion]), "no prediction")
            if scores is not None:
                search.reference_bytes = _REFERENCE_SHARE * float(scores.bytes[0])
                self._remember([self.search.admit(self.suggestion)], scores[1:])
                self.forecasts[1] = self._forecast(scores[1:])
                megapixels = insight.width * insight.height / 1e6
                self.plan_s = float(scores.seconds[1]) + _MEASURE_S_PER_MEGAPIXEL * megapixels
        search.expected_s = self.plan_s

    async def consider(self) -> bool:
        """Score some 1,000 candidates at once and keep the few to trace; False when nothing can score them."""
        if self._picks:
            return True
        starts = np.stack([self.suggestion, self.by_rule, candidates.row_of(CoverageParameters())])
        rows = candidates.consider(self.insight.sha256, starts, _SEARCH_REFINE)
        scores = await self._score(rows, "tier 1's parameters") if self.forecasts else None
        if scores is None:
            return False
        worth = self._worth(scores)
        count = tier_routing.trials_of(2, self.plan_s)
        known = starts[: min(2, count - 1)]  # pictures that take long do without the rules
        chosen = candidates.pick(rows, worth, count - len(known), taken=known)
        self._remember([self.search.admit(rows[i]) for i in chosen], scores[chosen])
        self._picks = [*known, *(rows[i] for i in chosen)]
        self.forecasts[2] = self._forecast(scores[[int(np.argmax(np.round(worth, 4)))]])
        return True

    async def run(self, tier: int, *, measure: bool) -> int:
        """Make the trials of ``tier``; the tier that could be run."""
        began = time.perf_counter()
        if tier == 2 and not await self.consider():
            self.account.degraded.append("tier 2 needs the quality engine: tier 1")
            tier = 1
        if tier == 1:
            await self.search.attempt([self.search.admit(self.suggestion)], measure=measure)
        elif tier == 2:
            await self._try_and_refine(self._picks)
        else:
            await self._local_search()
        self.account.spend("trace" if tier == 1 else "optimize", began)
        return tier

    async def _try_and_refine(self, rows: Sequence[Floats]) -> None:
        """All ``rows``, and the best of them refined further. Of an odd number the last is tried beside the refinement
        of what is best before it: nobody waits for one tracing alone."""
        wanted = [self.search.admit(row) for row in rows]
        even = len(wanted) // 2 * 2
        await self._try_in_time(wanted[:even])
        await self._refine_best(wanted[even:])

    async def _local_search(self) -> None:
        """Tier 3: from the policy's parameters and the best predicted ones, to better ones near the best measured."""
        await self.consider()
        start, spread = await self._start()
        picks = self._picks or [self.suggestion, self.by_rule]
        left = tier_routing.trials_of(3, self.plan_s) - 1 - len(picks)
        if not self._goes_on(left, 1):
            await self._try_and_refine([start, *picks])
            return
        await self._try_in_time([self.search.admit(row) for row in (start, *picks)])
        if not self.search.trials:
            return
        generation = 1
        while self._goes_on(left, generation):
            rows = await self._neighbours(generation, spread * _SHRINK ** (generation - 1))
            few = rows[:left] if self.search.stop_at is None else rows
            await self._try_in_time([self.search.admit(row) for row in few])
            left -= tier_routing.TIER3_TRIALS
            generation += 1
        await self._refine_best()

    def _goes_on(self, left: int, generation: int) -> bool:
        """By count without a time budget, and by time with one."""
        if self.search.stop_at is None:
            return left > 1
        return generation <= _MOST_GENERATIONS and self.search.time_for(tier_routing.TIER3_TRIALS + 1)

    async def _start(self) -> tuple[Floats, Floats]:
        """The policy's row and spread; without a policy, tier 1's row and a spread of ours."""
        embedding = self.insight.embedding
        spread = np.full(8, _FIRST_SPREAD, np.float32)
        if embedding is None:
            return self.suggestion, spread
        action = await self.account.or_without(
            POLICY, "tier 1's parameters", lambda: self.predictors.act(embedding, self.account.deadline)
        )
        if action is None:
            return self.suggestion, spread
        row = np.concatenate([[0.0], action[0], [_SEARCH_REFINE / MAX_REFINE]]).astype(np.float32)
        return candidates.on_grid(row), np.clip(action[1], 0.05, 0.3)

    async def _neighbours(self, generation: int, spread: Floats) -> list[Floats]:
        """The few rows to trace near the best: the best predicted of many, or without a predictor the first few."""
        best = candidates.row_of(self.search.best.parameters)
        rows = candidates.around(self.insight.sha256, generation, best, spread, _SCREENED)
        scores = await self._score(rows, "unscreened neighbours") if self.forecasts else None
        if scores is None:
            return list(rows[: tier_routing.TIER3_TRIALS])
        chosen = candidates.pick(rows, self._worth(scores), tier_routing.TIER3_TRIALS)
        chosen += [i for i in range(len(rows)) if i not in chosen][: tier_routing.TIER3_TRIALS - len(chosen)]
        self._remember([self.search.admit(rows[i]) for i in chosen], scores[chosen])
        return [rows[i] for i in chosen]

    async def _refine_best(self, beside: Sequence[Parameters] = ()) -> None:
        """The best once more, with the most rounds of boundary refinement, and what is to be tried ``beside`` it."""
        wanted = list(beside)
        if self.search.trials:
            best = self.search.best.parameters
            if isinstance(best, CoverageParameters) and best.refine < MAX_REFINE:
                wanted.append(replace(best, refine=MAX_REFINE))
        if wanted and self.search.time_for(len(wanted)):
            await self.search.attempt(wanted, measure=True)

    async def _try_in_time(self, wanted: list[Parameters]) -> None:
        """All at once; with a time budget, in rounds of as many as there are workers, while time lasts."""
        if self.search.stop_at is None:
            await self.search.attempt(wanted, measure=True)
            return
        for first in range(0, len(wanted), self.search.workers.count):
            if self.search.trials and not self.search.time_for(1):
                return
            await self.search.attempt(wanted[first : first + self.search.workers.count], measure=True)

    async def prediction(self, parameters: Parameters) -> float | None:
        """The SSIM that was, or now is, predicted for ``parameters``; None when nothing can predict it."""
        if parameters not in self.predicted and self.forecasts:
            scores = await self._score(candidates.row_of(parameters)[None], "no prediction")
            if scores is not None:
                self._remember([parameters], scores)
        return self.predicted.get(parameters)

    async def _score(self, rows: Floats, instead: str) -> Scores | None:
        embedding = self.insight.embedding
        if embedding is None:
            return None
        scores = await self.account.or_without(
            QUALITY, instead, lambda: self.predictors.score(embedding, rows, self.account.deadline)
        )
        return scores

    def _remember(self, parameters: Sequence[Parameters], scores: Scores) -> None:
        self.predicted.update(zip(parameters, map(float, scores.ssim), strict=True))

    def _worth(self, scores: Scores) -> npt.NDArray[np.float64]:
        """Predicted utility, less what lies beyond the bounds."""
        worth = utility(scores.fidelity, scores.bytes, self.search.reference_bytes)
        options = self.search.options
        for values, bound in ((scores.bytes, options.max_bytes), (scores.paths, options.max_paths)):
            if bound is not None:
                worth = worth - _BOUND_PENALTY * np.maximum(0, np.log(values / bound))
        return worth

    def _forecast(self, scores: Scores) -> Forecast:
        return Forecast(float(scores.ssim[0]), float(scores.bytes[0]), float(scores.paths[0]))
