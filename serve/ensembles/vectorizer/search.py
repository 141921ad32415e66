"""`Search`: trials of candidate parameters: traced in worker processes, ranked by fidelity and size, limited in number
and time.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy.typing as npt

from serve.ensembles.vectorizer import tasks
from serve.ensembles.vectorizer.candidates import coarser, parameters_from_row
from serve.ensembles.vectorizer.tasks import Trial
from serve.ensembles.vectorizer.tier_routing import excess
from serve.ensembles.vectorizer.vectorization import VectorizeOptions
from serve.ensembles.vectorizer.worker_pool import TaskFault, WorkerPool
from serve.errors import DeadlineExceeded, Overloaded
from serve.vector.coverage import Drawing
from serve.vector.image import ImageLimits
from serve.vector.parameters import (
    CoverageParameters,
    Parameters,
    PictorialParameters,
    VTracerParameters,
    utility,
)

LOGGER = logging.getLogger(__name__)

Task = asyncio.Task[Trial]

_MAX_COARSENING = 8
_BUDGET_MARGIN = 1.2  # a trial may take this much longer than the slowest so far


@dataclass(frozen=True)
class Source:
    """The encoded picture as input of worker tasks."""

    data: bytes
    limits: ImageLimits


@dataclass
class Search:
    """All trials of one request, by parameters. Times are by ``time.monotonic``.

    ``stop_at``: end of the time budget, if any. No trial starts that would end later, and running ones are cancelled
    then, except for the first. ``expected_s``: estimated duration of a trial until one is timed.
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
        """Run the trials of ``wanted`` that are new (or not measured yet), in parallel.

        Failed or slow trials are left out, and running ones are cancelled at the end of the time budget if there is a
        result. Raises DeadlineExceeded, Overloaded, and errors of the picture.
        """
        new = [p for p in dict.fromkeys(map(self._within_options, wanted)) if not self._is_tried(p, measure)]
        began = time.monotonic()
        running = [asyncio.create_task(self._run_trial(p, measure)) for p in new]
        try:
            late = await self._wait_for_trials(running)
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

    async def _wait_for_trials(self, running: Sequence[Task]) -> set[Task]:
        """Wait for ``running``, at most until the time budget ends and there is a result; returns the unfinished
        tasks."""
        left = set(running)
        while left:
            enough = bool(self.trials) or any(task.done() and not task.exception() for task in running)
            limit_s = max(0.0, self.stop_at - time.monotonic()) if enough and self.stop_at is not None else None
            done, left = await asyncio.wait(left, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                return left
        return left

    def _is_tried(self, parameters: Parameters, measure: bool) -> bool:
        trial = self.trials.get(parameters)
        return trial is not None and (trial.ssim is not None or not measure)

    async def _run_trial(self, parameters: Parameters, measure: bool) -> Trial:
        task = self.source.data, self.source.limits, parameters, measure, self._unrefined_drawing(parameters)
        return await self.workers.run(self.deadline, tasks.attempt, *task, limit_s=self.trace_timeout_s)

    def _unrefined_drawing(self, parameters: Parameters) -> Drawing | None:
        """The drawing of a trial that differs only in its refinement rounds."""
        if not isinstance(parameters, CoverageParameters):
            return None
        wanted = _unrefined(parameters)
        same = (t for p, t in self.trials.items() if isinstance(p, CoverageParameters) and _unrefined(p) == wanted)
        return next((trial.drawing for trial in same), None)

    async def fall_back_to_vtracer(self, *, measure: bool) -> bool:
        """Trace with VTracer's defaults if no trial succeeded; True if so. Raises TaskFault if that fails too."""
        if self.trials:
            return False
        await self.attempt([VTracerParameters()], measure=measure)
        if not self.trials:
            raise TaskFault("tracing the picture failed")
        return True

    def parameters_for(self, row: npt.ArrayLike) -> Parameters:
        """Parameters of a candidate row, limited to the requested number of paths."""
        parameters = parameters_from_row(row)
        if not isinstance(parameters, CoverageParameters) or self.options.max_paths is None:
            return parameters
        return replace(parameters, max_paths=min(parameters.max_paths, self.options.max_paths))

    def _within_options(self, parameters: Parameters) -> Parameters:
        """``parameters`` with what the request sets of them."""
        options = self.options
        if isinstance(parameters, VTracerParameters):
            precision = parameters.path_precision if options.precision is None else options.precision
            return replace(parameters, path_precision=precision)
        if isinstance(parameters, PictorialParameters):
            return replace(
                parameters,
                regions=min(parameters.regions, max(2, options.max_paths or parameters.regions)),
                max_colors=options.max_colors or parameters.max_colors,
                min_area=parameters.min_area if options.min_area_px is None else options.min_area_px,
            )
        return replace(
            parameters,
            max_colors=min(parameters.max_colors, options.max_colors or parameters.max_colors),
            min_area=parameters.min_area if options.min_area_px is None else options.min_area_px,
            decimals=parameters.decimals if options.precision is None else options.precision,
            shapes=int(options.shapes),
            reuse=int(options.reuse),
        )

    @staticmethod
    def estimate(trial: Trial) -> float | None:
        """Fidelity to the content: noisy or blurred pictures are compared with their restored version."""
        return trial.ssim if trial.restored_ssim is None else trial.restored_ssim

    def worth(self, trial: Trial) -> float:
        """Utility of a trial, of a photograph its likeness alone, since its tiers differ in bytes on purpose; -inf if
        it was not measured."""
        estimate = self.estimate(trial)
        if estimate is None:
            return float("-inf")
        if isinstance(trial.parameters, PictorialParameters):
            return round(estimate, 4)
        return round(float(utility(estimate, trial.bytes, self.reference_bytes)), 4)

    def excess(self, trial: Trial) -> float:
        return excess(self.options, trial.bytes, trial.paths)

    @property
    def best(self) -> Trial:
        """The trial of highest utility within the limits, or nearest to them; the first of equals."""
        return min(self.trials.values(), key=lambda trial: (self.excess(trial), -self.worth(trial)))

    @property
    def trial_s(self) -> float:
        """Duration of a trial: measured if possible, otherwise estimated."""
        return self.slowest_s or self.expected_s

    def has_time_for(self, count: int) -> bool:
        """Whether ``count`` more trials fit into the time budget."""
        if self.stop_at is None:
            return True
        rounds = -(-count // self.workers.count)
        return time.monotonic() + _BUDGET_MARGIN * rounds * self.trial_s <= self.stop_at

    async def shrink(self, *, measure: bool) -> None:
        """Retry with coarser parameters until the best trial is within the limits, or steps or time run out."""
        start = self.best.parameters
        for step in range(1, _MAX_COARSENING + 1):
            if self.excess(self.best) == 0.0 or not self.has_time_for(1):
                return
            await self.attempt([coarser(start, step)], measure=measure)


def _unrefined(parameters: CoverageParameters) -> CoverageParameters:
    return replace(parameters, refine=0)
