"""Candidate parameters and their trials: traced in worker processes, ranked by fidelity and size, limited in number
and time.

Rows are candidate rows of `serve.vector.parameters`, shape (n, 10). Sampling is seeded by the picture's hash, and
values lie on a grid of 1/256, so that results do not depend on chance or on the last bit of a prediction.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from serve.ensembles.vectorizer import tasks
from serve.ensembles.vectorizer.tasks import Trial
from serve.ensembles.vectorizer.tier_routing import excess
from serve.ensembles.vectorizer.vectorization import VectorizeOptions
from serve.ensembles.vectorizer.worker_pool import TaskFault, WorkerPool
from serve.errors import DeadlineExceeded, Overloaded
from serve.vector.coverage import Drawing
from serve.vector.features import Features, degradation
from serve.vector.image import ImageLimits
from serve.vector.parameters import (
    CANDIDATE_WIDTH,
    LEARNED,
    CoverageParameters,
    Parameters,
    VTracerParameters,
    from_candidate,
    to_candidate,
    utility,
)

Floats = npt.NDArray[np.float32]

SAMPLED = 1000
_GRID = 256
_VTRACER_SHARE = 0.05
_UNIFORM_SHARE = 0.35
_NEAR_SPREAD = 0.12
_DISTINCT = 0.15  # rows that differ less than this in every value count as equal

# The best of about 40 on icons of the `train` split, by utility against the clean picture.
_FIXED = {
    "none": CoverageParameters(refine=1),
    "noisy": CoverageParameters(
        denoise=24.0, flatness=20.0, palette_distance=0.065, max_colors=16, tolerance=0.25, refine=1
    ),
    "blurred": CoverageParameters(tolerance=0.21, refine=1),
}


def generator(sha256: str, stage: int) -> np.random.Generator:
    """A generator that depends only on the picture and the search stage."""
    return np.random.default_rng([int(sha256[:16], 16), stage])


def fixed_parameters(features: Features) -> CoverageParameters:
    """Parameters without a model: defaults for clean pictures, a pre-filter and wider thresholds for noisy ones."""
    return _FIXED[degradation(features)]


def on_grid(rows: npt.ArrayLike) -> Floats:
    """Round values to the grid, the tracer to 0 or 1, refinement to whole rounds; any leading shape."""
    values = np.clip(np.asarray(rows, np.float32), 0, 1)
    snapped = np.round(values * _GRID) / np.float32(_GRID)
    snapped[..., 0] = values[..., 0] >= 0.5
    snapped[..., -1] = np.round(values[..., -1] * 3) / np.float32(3)
    return np.asarray(snapped, np.float32)


def parameters_from_row(row: npt.ArrayLike) -> Parameters:
    return from_candidate(on_grid(row))


def sample(sha256: str, starts: Floats, refine: int, count: int = SAMPLED) -> Floats:
    """``starts`` (shape (k, 10)) and samples, ``count`` rows in total: partly uniform, the rest near the starts."""
    rng = generator(sha256, 0)
    free = count - len(starts)
    rows = np.empty((free, CANDIDATE_WIDTH), np.float32)
    rows[:, 1:-1] = starts[np.arange(free) % len(starts), 1:-1] + rng.normal(0, _NEAR_SPREAD, (free, LEARNED))
    everywhere = rng.random(free) < _UNIFORM_SHARE
    rows[everywhere, 1:-1] = rng.random((int(everywhere.sum()), LEARNED))
    rows[:, 0] = rng.random(free) < _VTRACER_SHARE
    rows[:, -1] = np.where(rows[:, 0] == 1, 0, refine / 3)
    return np.concatenate([on_grid(starts), on_grid(rows)])


def sample_near(sha256: str, stage: int, row: Floats, spread: Floats, count: int) -> Floats:
    """``count`` rows near ``row`` (shape (10,)); ``spread`` (shape (8,)): standard deviations in unit values."""
    rng = generator(sha256, stage)
    rows = np.repeat(row[None], count, axis=0)
    moved = rng.random((count, LEARNED)) < 0.6
    rows[:, 1:-1] += moved * rng.normal(0, 1, (count, LEARNED)) * spread
    return on_grid(rows)


def select_diverse(rows: Floats, worth: npt.NDArray[np.float64], count: int, taken: Floats | None = None) -> list[int]:
    """Indices of up to ``count`` rows with the highest ``worth`` that differ from each other and from ``taken``.

    Worths that agree to 1e-4 are ordered by index.
    """
    chosen: list[int] = []
    avoided = [*taken] if taken is not None else []
    for index in np.lexsort((np.arange(len(rows)), -np.round(worth, 4))):
        if len(chosen) == count:
            break
        if all(_differ(rows[index], other) for other in avoided):
            chosen.append(int(index))
            avoided.append(rows[index])
    return chosen


def _differ(a: Floats, b: Floats) -> bool:
    return bool(a[0] != b[0] or np.abs(a[1:] - b[1:]).max() >= _DISTINCT)


def row_from_parameters(parameters: Parameters) -> Floats:
    return on_grid(to_candidate(parameters))


def coarser(parameters: Parameters, step: int) -> Parameters:
    """Parameters for fewer bytes and paths, more so with each ``step`` from 1 on."""
    if isinstance(parameters, VTracerParameters):
        return replace(
            parameters,
            filter_speckle=min(16, parameters.filter_speckle + 2 * step),
            color_precision=max(1, parameters.color_precision - step // 2),
            layer_difference=min(128, parameters.layer_difference + 12 * step),
            path_precision=0,
            mode="polygon" if step >= 4 else parameters.mode,
        )
    return replace(
        parameters,
        tolerance=min(1.0, parameters.tolerance * 1.3**step),
        min_area=min(12.0, parameters.min_area * 1.5**step),
        palette_distance=min(0.12, parameters.palette_distance * 1.2**step),
        max_colors=max(2, round(parameters.max_colors * 0.75**step)),
        max_paths=max(1, round(parameters.max_paths * 0.7**step)),
        gradient_rms=parameters.gradient_rms if step < 4 else 0.0,
        decimals=min(parameters.decimals, 1 if step < 2 else 0),
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
        new = [p for p in dict.fromkeys(wanted) if not self._is_tried(p, measure)]
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
        if isinstance(parameters, VTracerParameters) or self.options.max_paths is None:
            return parameters
        return replace(parameters, max_paths=min(parameters.max_paths, self.options.max_paths))

    @staticmethod
    def estimate(trial: Trial) -> float | None:
        """Fidelity to the content: noisy or blurred pictures are compared with their restored version."""
        return trial.ssim if trial.restored_ssim is None else trial.restored_ssim

    def worth(self, trial: Trial) -> float:
        """Utility of a trial; -inf if it was not measured."""
        estimate = self.estimate(trial)
        if estimate is None:
            return float("-inf")
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
