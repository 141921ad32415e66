"""The trials of a request and its time budget, on stand-in workers whose traces take set times."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from waiting import until

from serve.ensembles.vectorizer.search import Search, Source
from serve.ensembles.vectorizer.tasks import Trial
from serve.ensembles.vectorizer.vectorization import VectorizeOptions
from serve.errors import BadImage
from serve.vector.coverage import Drawing
from serve.vector.coverage.paints import PaintTable
from serve.vector.image import ImageLimits
from serve.vector.parameters import CoverageParameters, Parameters

QUICK, SLOW, SLOWEST = (CoverageParameters(tolerance=tolerance) for tolerance in (0.2, 0.3, 0.4))


class TimedWorkers:
    """Traces take ``seconds[parameters]``; ``cancelled`` lists the cancelled ones."""

    count = 2

    def __init__(self, seconds: dict[Parameters, float]) -> None:
        self.seconds = seconds
        self.cancelled: list[Parameters] = []
        self.began_with: dict[Parameters, Drawing | None] = {}

    async def run(
        self,
        deadline: float,
        task: Any,
        data: bytes,
        limits: Any,
        parameters: Parameters,
        measure: bool,
        drawing: Drawing | None,
        limit_s: float,
    ) -> Trial:
        self.began_with[parameters] = drawing
        try:
            await asyncio.sleep(self.seconds[parameters])
        except asyncio.CancelledError:
            self.cancelled.append(parameters)
            raise
        if data == b"bad":
            raise BadImage("no pixels")
        drawn = drawing or Drawing([], PaintTable.solid(np.zeros((0, 4), np.float32)), (1, 1))
        return Trial(parameters, "<svg/>", 6, 1, self.seconds[parameters], ssim=0.9, drawing=drawn)


def search(workers: TimedWorkers, budget_s: float | None, data: bytes = b"good") -> Search:
    now = time.monotonic()
    return Search(
        workers=workers,  # type: ignore[arg-type]
        source=Source(data, ImageLimits()),
        options=VectorizeOptions(time_budget_s=budget_s),
        deadline=now + 60,
        trace_timeout_s=60,
        reference_bytes=1000,
        stop_at=None if budget_s is None else now + budget_s,
    )


async def test_trials_running_at_the_end_of_the_budget_are_cancelled() -> None:
    """D-053."""
    workers = TimedWorkers({QUICK: 0.0, SLOW: 600, SLOWEST: 600})
    trials = search(workers, budget_s=1.0)
    began = time.monotonic()
    await trials.attempt([QUICK, SLOW, SLOWEST], measure=True)
    assert 0.95 < time.monotonic() - began < 60
    assert list(trials.trials) == [QUICK]
    assert workers.cancelled == [SLOW, SLOWEST]
    assert trials.failed == 0
    await trials.attempt([SLOW], measure=True)
    assert list(trials.trials) == [QUICK]


async def test_first_trial_is_awaited_beyond_the_budget() -> None:
    workers = TimedWorkers({SLOW: 0.3, SLOWEST: 600})
    trials = search(workers, budget_s=0.05)
    began = time.monotonic()
    await trials.attempt([SLOWEST, SLOW], measure=True)
    assert 0.25 < time.monotonic() - began < 60
    assert list(trials.trials) == [SLOW]
    assert workers.cancelled == [SLOWEST]


async def test_without_a_budget_all_trials_are_awaited() -> None:
    trials = search(TimedWorkers({QUICK: 0.01, SLOW: 0.2}), budget_s=None)
    await trials.attempt([QUICK, SLOW], measure=True)
    assert list(trials.trials) == [QUICK, SLOW]
    assert trials.slowest_s == 0.2


async def test_refinement_begins_with_the_trials_drawing() -> None:
    refined = replace(QUICK, refine=3)
    workers = TimedWorkers({QUICK: 0.0, SLOW: 0.0, refined: 0.0})
    trials = search(workers, budget_s=None)
    await trials.attempt([QUICK, SLOW], measure=True)
    await trials.attempt([refined], measure=True)
    assert workers.began_with[QUICK] is None
    assert workers.began_with[refined] is trials.trials[QUICK].drawing


async def test_error_in_the_picture_is_raised() -> None:
    with pytest.raises(BadImage):
        await search(TimedWorkers({QUICK: 0.0}), budget_s=0.2, data=b"bad").attempt([QUICK], measure=True)


async def test_cancellation_cancels_the_trials() -> None:
    workers = TimedWorkers({QUICK: 30, SLOW: 30})
    running = asyncio.create_task(search(workers, budget_s=None).attempt([QUICK, SLOW], measure=True))
    await until(lambda: len(workers.began_with) == 2)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert workers.cancelled == [QUICK, SLOW]
