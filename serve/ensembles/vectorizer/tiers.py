"""The three tiers: suggested parameters, prediction over many candidates, local search on measured trials.

Each tier adds trials to the same `Search` and starts from the result of the one below, so measured quality never
decreases.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from serve.ensembles.vectorizer import tier_routing
from serve.ensembles.vectorizer.analysis import ConversionContext, ImageAnalysis, Predictors, Scores
from serve.ensembles.vectorizer.candidates import (
    fixed_parameters,
    on_grid,
    pictorial_parameters,
    row_from_parameters,
    sample,
    sample_near,
    select_diverse,
)
from serve.ensembles.vectorizer.search import Search
from serve.ensembles.vectorizer.tier_routing import Forecast
from serve.ensembles.vectorizer.vectorization import POLICY, QUALITY, TIER1
from serve.vector.parameters import (
    MAX_REFINE,
    CoverageParameters,
    Parameters,
    reference_from_area,
    reference_parameters,
    utility,
)

Floats = npt.NDArray[np.float32]

_SEARCH_REFINE = 1
_NEIGHBOURS_SCORED = 64
_FIRST_SPREAD = 0.15
_SHRINK = 0.6
_MAX_GENERATIONS = 16
_BOUND_PENALTY = 10.0
_MEASURE_S_PER_MEGAPIXEL = 0.08
_SHORT_TRIAL_S = 0.5
_REFERENCE_SHARE = 0.45  # of VTracer's predicted bytes: half (`utility`), less the forecast's error


@dataclass
class Tiers:
    """The tiers of one request. Call `prepare` first."""

    predictors: Predictors
    search: Search
    analysis: ImageAnalysis
    context: ConversionContext
    suggestion: Floats = field(init=False)
    rule_based: Floats = field(init=False)
    """The row of `candidates.fixed_parameters`, also tried in tiers 2 and 3 in case all predictions are wrong."""
    suggested: bool = False
    """Whether tier 1's parameters came from the engine `tier1`, or need none, as those of a photograph."""
    predicted: dict[Parameters, float] = field(default_factory=dict)
    forecasts: dict[int, Forecast] = field(default_factory=dict)
    planned_trial_s: float = 0.0
    """Predicted duration of a trial, from size or prediction alone; decides the number of trials."""
    _selected: list[Floats] = field(default_factory=list)

    async def prepare(self) -> None:
        """Compute tier 1's parameters, their forecast, and the reference size of drawings."""
        analysis, search = self.analysis, self.search
        self.planned_trial_s = tier_routing.expected_trial_s(analysis.width, analysis.height)
        self.rule_based = self.suggestion = row_from_parameters(fixed_parameters(analysis.features))
        search.reference_bytes = reference_from_area(analysis.width, analysis.height)
        embedding = analysis.embedding
        if analysis.pictorial:
            self.suggested = True
        elif embedding is not None:
            row = await self.context.run_or_degrade(
                TIER1, "fixed parameters", lambda: self.predictors.suggest(embedding, self.context.deadline)
            )
            self.suggested = row is not None
            self.suggestion = on_grid(row) if row is not None else self.suggestion
            reference = row_from_parameters(reference_parameters())
            scores = await self._score(np.stack([reference, self.suggestion]), "no prediction")
            if scores is not None:
                search.reference_bytes = _REFERENCE_SHARE * float(scores.bytes[0])
                self._store_predictions([self.search.parameters_for(self.suggestion)], scores[1:])
                self.forecasts[1] = self._forecast(scores[1:])
                megapixels = analysis.width * analysis.height / 1e6
                self.planned_trial_s = float(scores.seconds[1]) + _MEASURE_S_PER_MEGAPIXEL * megapixels
        search.expected_s = self.planned_trial_s

    async def score_candidates(self) -> bool:
        """Score about 1,000 candidates and keep the best few; False if they cannot be scored."""
        if self._selected or self.analysis.pictorial:
            return True
        starts = np.stack([self.suggestion, self.rule_based, row_from_parameters(CoverageParameters())])
        rows = sample(self.analysis.sha256, starts, _SEARCH_REFINE)
        scores = await self._score(rows, "tier 1's parameters") if self.forecasts else None
        if scores is None:
            return False
        worth = self._predicted_utility(scores)
        count = tier_routing.trial_count(2, self.planned_trial_s)
        known = starts[: min(2, count - 1)]  # slow pictures skip the rule-based start
        chosen = select_diverse(rows, worth, count - len(known), taken=known)
        self._store_predictions([self.search.parameters_for(rows[i]) for i in chosen], scores[chosen])
        self._selected = [*known, *(rows[i] for i in chosen)]
        self.forecasts[2] = self._forecast(scores[[int(np.argmax(np.round(worth, 4)))]])
        return True

    async def run(self, tier: int, *, measure: bool) -> int:
        """Run the trials of ``tier``; returns the tier that could be run."""
        began = time.perf_counter()
        if tier == 2 and not await self.score_candidates():
            self.context.degraded.append("tier 2 needs the quality engine: tier 1")
            tier = 1
        if self.analysis.pictorial:
            await self._trace_pictorial(tier, measure=measure)
        elif tier == 1:
            await self.search.attempt([self.search.parameters_for(self.suggestion)], measure=measure)
        elif tier == 2:
            await self._try_and_refine(self._selected)
        else:
            await self._local_search()
        self.context.add_time("trace" if tier == 1 else "optimize", began)
        return tier

    async def _trace_pictorial(self, tier: int, *, measure: bool) -> None:
        """The tier's drawing; of pictures that take little time those of the tiers below too, so that the best is never
        worse than theirs."""
        size = self.analysis.width, self.analysis.height
        first = 1 if self.planned_trial_s < _SHORT_TRIAL_S else tier
        wanted: list[Parameters] = [pictorial_parameters(*size, one) for one in range(first, tier + 1)]
        await self.search.attempt(wanted, measure=measure or len(wanted) > 1)

    async def _try_and_refine(self, rows: Sequence[Floats]) -> None:
        """Try ``rows``, then refine the best. Of an odd number, the last row is tried beside the refinement, so that no
        worker idles."""
        wanted = [self.search.parameters_for(row) for row in rows]
        even = len(wanted) // 2 * 2
        await self._run_trials(wanted[:even])
        await self._refine_best(wanted[even:])

    async def _local_search(self) -> None:
        """Tier 3: start from the policy's and the best predicted parameters, then search near the best measured."""
        await self.score_candidates()
        start, spread = await self._start()
        picks = self._selected or [self.suggestion, self.rule_based]
        left = tier_routing.trial_count(3, self.planned_trial_s) - 1 - len(picks)
        if not self._has_trials_left(left, 1):
            await self._try_and_refine([start, *picks])
            return
        await self._run_trials([self.search.parameters_for(row) for row in (start, *picks)])
        if not self.search.trials:
            return
        generation = 1
        while self._has_trials_left(left, generation):
            rows = await self._neighbours(generation, spread * _SHRINK ** (generation - 1))
            few = rows[:left] if self.search.stop_at is None else rows
            await self._run_trials([self.search.parameters_for(row) for row in few])
            left -= tier_routing.TIER3_TRIALS
            generation += 1
        await self._refine_best()

    def _has_trials_left(self, left: int, generation: int) -> bool:
        """Limited by count, or by time if there is a time budget."""
        if self.search.stop_at is None:
            return left > 1
        return generation <= _MAX_GENERATIONS and self.search.has_time_for(tier_routing.TIER3_TRIALS + 1)

    async def _start(self) -> tuple[Floats, Floats]:
        """The policy's row and spread; without a policy, tier 1's row and a default spread."""
        embedding = self.analysis.embedding
        spread = np.full(8, _FIRST_SPREAD, np.float32)
        if embedding is None:
            return self.suggestion, spread
        action = await self.context.run_or_degrade(
            POLICY, "tier 1's parameters", lambda: self.predictors.act(embedding, self.context.deadline)
        )
        if action is None:
            return self.suggestion, spread
        row = np.concatenate([[0.0], action[0], [_SEARCH_REFINE / MAX_REFINE]]).astype(np.float32)
        return on_grid(row), np.clip(action[1], 0.05, 0.3)

    async def _neighbours(self, generation: int, spread: Floats) -> list[Floats]:
        """The rows to trace near the best trial: the best predicted of many, or the first few without a predictor."""
        best = row_from_parameters(self.search.best.parameters)
        rows = sample_near(self.analysis.sha256, generation, best, spread, _NEIGHBOURS_SCORED)
        scores = await self._score(rows, "unscreened neighbours") if self.forecasts else None
        if scores is None:
            return list(rows[: tier_routing.TIER3_TRIALS])
        chosen = select_diverse(rows, self._predicted_utility(scores), tier_routing.TIER3_TRIALS)
        chosen += [i for i in range(len(rows)) if i not in chosen][: tier_routing.TIER3_TRIALS - len(chosen)]
        self._store_predictions([self.search.parameters_for(rows[i]) for i in chosen], scores[chosen])
        return [rows[i] for i in chosen]

    async def _refine_best(self, beside: Sequence[Parameters] = ()) -> None:
        """Repeat the best trial with the maximum refinement, together with the trials ``beside``."""
        wanted = list(beside)
        if self.search.trials:
            best = self.search.best.parameters
            if isinstance(best, CoverageParameters) and best.refine < MAX_REFINE:
                wanted.append(replace(best, refine=MAX_REFINE))
        if wanted and self.search.has_time_for(len(wanted)):
            await self.search.attempt(wanted, measure=True)

    async def _run_trials(self, wanted: list[Parameters]) -> None:
        """Run all at once; with a time budget, in rounds of one per worker while time remains."""
        if self.search.stop_at is None:
            await self.search.attempt(wanted, measure=True)
            return
        for first in range(0, len(wanted), self.search.workers.count):
            if self.search.trials and not self.search.has_time_for(1):
                return
            await self.search.attempt(wanted[first : first + self.search.workers.count], measure=True)

    async def prediction(self, parameters: Parameters) -> float | None:
        """Predicted SSIM of ``parameters``; None if it cannot be predicted."""
        if parameters not in self.predicted and self.forecasts:
            scores = await self._score(row_from_parameters(parameters)[None], "no prediction")
            if scores is not None:
                self._store_predictions([parameters], scores)
        return self.predicted.get(parameters)

    async def _score(self, rows: Floats, instead: str) -> Scores | None:
        embedding = self.analysis.embedding
        if embedding is None:
            return None
        scores = await self.context.run_or_degrade(
            QUALITY, instead, lambda: self.predictors.score(embedding, rows, self.context.deadline)
        )
        return scores

    def _store_predictions(self, parameters: Sequence[Parameters], scores: Scores) -> None:
        self.predicted.update(zip(parameters, map(float, scores.ssim), strict=True))

    def _predicted_utility(self, scores: Scores) -> npt.NDArray[np.float64]:
        """Predicted utility minus a penalty for exceeding the limits."""
        worth = utility(scores.fidelity, scores.bytes, self.search.reference_bytes)
        options = self.search.options
        for values, bound in ((scores.bytes, options.max_bytes), (scores.paths, options.max_paths)):
            if bound is not None:
                worth = worth - _BOUND_PENALTY * np.maximum(0, np.log(values / bound))
        return worth

    def _forecast(self, scores: Scores) -> Forecast:
        return Forecast(float(scores.ssim[0]), float(scores.bytes[0]), float(scores.paths[0]))
