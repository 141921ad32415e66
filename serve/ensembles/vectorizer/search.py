"""The trials of one request: traced in worker processes, judged by fidelity and size, bounded in number and time."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy.typing as npt

from serve.ensembles.vectorizer import tasks
from serve.ensembles.vectorizer.candidates import coarser, parameters_of
from serve.ensembles.vectorizer.tasks import Trial
from serve.ensembles.vectorizer.tier_routing import excess
from serve.ensembles.vectorizer.vectorization import VectorizeOptions
from serve.ensembles.vectorizer.worker_pool import TaskFault, WorkerPool
from serve.errors import DeadlineExceeded, Overloaded
from serve.vector.coverage import Drawing
from serve.vector.image import ImageLimits
from serve.vector.parameters import CoverageParameters, Parameters, VTracerParameters
from serve.vector.utility import utility

LOGGER = logging.getLogger(__name__)

Task = asyncio.Task[Trial]

_MOST_COARSENING = 8
_BUDGET_MARGIN = 1.2  # a trial may take this much longer than the longest so far


@dataclass(frozen=True)
class Source:
    """The picture as worker tasks take it."""

    data: bytes
    limits: ImageLimits


@dataclass
class Search:
    """All trials of one request, by their parameters. Times are of ``time.monotonic``.

    ``stop_at`` is the end of the time budget, if there is one: no trial begins that would not end before it, and none
    goes on after it but the first.
    ``expected_s`` is what a trial should take, until one is timed.
    """

    workers: WorkerPool
    source: Source
    options: VectorizeOptions
    deadline: float
    trace_timeout_s: float
    reference_bytes: float
    stop_at: float | None = None
    expected_s: float = 0.0
    trials: dict[Parameters, Trial] = field(default_factory=dict)
    failed: int = 0
    slowest_s: float = 0.0

    async def attempt(self, wanted: Sequence[Parameters], *, measure: bool) -> None:
        """Trace with each of ``wanted`` that was not tried (or not measured) yet, in parallel.

        A trial that fails or takes too long is left out; and what is under way at the end of the time budget is given
        up, if there is a trial to answer with. Raises DeadlineExceeded and Overloaded, and what is wrong with the
        picture.
        """
        new = [p for p in dict.fromkeys(wanted) if not self._known(p, measure)]
        began = time.monotonic()
        running = [asyncio.create_task(self._one(p, measure)) for p in new]
        try:
            late = await self._late(running)
        finally:
            for task in running:
                task.cancel()
        outcomes = await asyncio.gather(*running, return_exceptions=True)
        for parameters, task, outcome in zip(new, running, outcomes, strict=True):
            if task in late:
                continue
            if isinstance(outcome, Trial):
                self.trials[parameters] = outcome
                self.slowest_s = max(self.slowest_s, outcome.trace_s + outcome.measure_s)
            elif isinstance(outcome, TaskFault | Overloaded | DeadlineExceeded) and time.monotonic() < self.deadline:
                self.failed += 1
                LOGGER.warning("a trial failed after %.1f s: %s", time.monotonic() - began, outcome)
                if isinstance(outcome, Overloaded) and not self.trials:
                    raise outcome
            else:
                raise outcome

    async def _late(self, running: Sequence[Task]) -> set[Task]:
        """Wait for all of ``running``, or until there is a trial and the time budget is spent: those not done then."""
        left = set(running)
        while left:
            enough = bool(self.trials) or any(task.done() and not task.exception() for task in running)
            limit_s = max(0.0, self.stop_at - time.monotonic()) if enough and self.stop_at is not None else None
            done, left = await asyncio.wait(left, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                return left
        return left

    def _known(self, parameters: Parameters, measure: bool) -> bool:
        known = self.trials.get(parameters)
        return known is not None and (known.ssim is not None or not measure)

    async def _one(self, parameters: Parameters, measure: bool) -> Trial:
        task = self.source.data, self.source.limits, parameters, measure, self._drawn(parameters)
        return await self.workers.run(self.deadline, tasks.attempt, *task, limit_s=self.trace_timeout_s)

    def _drawn(self, parameters: Parameters) -> Drawing | None:
        """The drawing of a trial that differed in nothing but its rounds of refinement."""
        if not isinstance(parameters, CoverageParameters):
            return None
        wanted = _unrefined(parameters)
        same = (t for p, t in self.trials.items() if isinstance(p, CoverageParameters) and _unrefined(p) == wanted)
        return next((trial.drawing for trial in same), None)

    async def or_stock(self, *, measure: bool) -> bool:
        """VTracer's defaults when no trial succeeded; whether that was needed. Raises TaskFault when it fails too."""
        if self.trials:
            return False
        await self.attempt([VTracerParameters()], measure=measure)
        if not self.trials:
            raise TaskFault("tracing the picture failed")
        return True

    def admit(self, row: npt.ArrayLike) -> Parameters:
        """The parameters of a candidate row, with the path budget that was asked for."""
        parameters = parameters_of(row)
        if isinstance(parameters, VTracerParameters) or self.options.max_paths is None:
            return parameters
        return replace(parameters, max_paths=min(parameters.max_paths, self.options.max_paths))

    @staticmethod
    def estimate(trial: Trial) -> float | None:
        """Fidelity to what the picture shows: a noisy or blurred one is a bad judge as it is, and is restored first."""
        return trial.ssim if trial.restored_ssim is None else trial.restored_ssim

    def worth(self, trial: Trial) -> float:
        """Utility of a measured trial; below all measured ones when it was not measured."""
        estimate = self.estimate(trial)
        if estimate is None:
            return float("-inf")
        return round(float(utility(estimate, trial.bytes, self.reference_bytes)), 4)

    def excess(self, trial: Trial) -> float:
        return excess(self.options, trial.bytes, trial.paths)

    @property
    def best(self) -> Trial:
        """Within the bounds, or nearest to them, the most useful; of equals the first tried."""
        return min(self.trials.values(), key=lambda trial: (self.excess(trial), -self.worth(trial)))

    @property
    def trial_s(self) -> float:
        """What a trial takes: measured once there is one."""
        return self.slowest_s or self.expected_s

    def time_for(self, count: int) -> bool:
        """Whether ``count`` more trials would end within the time budget."""
        if self.stop_at is None:
            return True
        rounds = -(-count // self.workers.count)
        return time.monotonic() + _BUDGET_MARGIN * rounds * self.trial_s <= self.stop_at

    async def shrink(self, *, measure: bool) -> None:
        """Coarser and coarser parameters until the best trial is within the bounds, or nothing more can be had."""
        start = self.best.parameters
        for step in range(1, _MOST_COARSENING + 1):
            if self.excess(self.best) == 0.0 or not self.time_for(1):
                return
            await self.attempt([coarser(start, step)], measure=measure)


def _unrefined(parameters: CoverageParameters) -> CoverageParameters:
    return replace(parameters, refine=0)
