"""What checkpoints cost an illustration: a worker with the real Illustrator draws the same, with them and without.

They take turns, picture by picture, and what is compared is each with its neighbour: the median of the ratios.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from loadtests.queue.backlog import request
from loadtests.queue.report import quantiles_ms, verdict
from loadtests.vectorize.table import UNMEASURED, markdown
from serve.ensembles.illustrator.service import IllustratorService
from serve.ensembles.vectorizer.vectorization import VectorizerService
from serve.jobs.queue.events import EventFollower
from serve.jobs.queue.generation_queue import GenerationQueue
from serve.jobs.queue.insertion import JobOptions
from serve.jobs.queue.views import JobViews
from serve.jobs.worker.execution import JobExecutor
from serve.jobs.worker.worker import Worker
from serve.settings import Settings
from serve.state import State
from serve.state.job_states import COMPLETED

GOAL = 0.03
"""Of an illustration."""
NEVER = 1000
"""Steps between two checkpoints: more than there are."""
EVERY = (5, 1)
RESAMPLES = 2000
LIMIT_S = 120.0


@dataclass(frozen=True)
class Plan:
    """``steps`` of each illustration; None: those of its family."""

    rounds: int = 100
    steps: int | None = None


@dataclass(frozen=True)
class Cost:
    """``ratio`` to the same without checkpoints: the median over pairs, with a bootstrap 95 % interval."""

    database: str
    every: int
    pairs: int
    p50_ms: float
    p50_without_ms: float
    ratio: float
    low: float
    high: float


async def measure(database: str, settings: Settings, illustrator: IllustratorService, plan: Plan) -> list[Cost]:
    taken: dict[int, list[float]] = {every: [] for every in (NEVER, *EVERY)}
    order = list(taken)
    for round_ in range(plan.rounds + 1):  # the first of each does not count
        for every in order[round_ % 3 :] + order[: round_ % 3]:
            seconds = await _draw(_with(settings, every), illustrator, round_, plan.steps)
            if round_:
                taken[every].append(seconds)
    return [_cost(database, every, taken[every], taken[NEVER]) for every in EVERY]


class _Nothing:
    """In a Vectorizer's place: pictures need none."""

    async def versions(self) -> dict[str, str]:
        return {}


def _with(settings: Settings, every: int) -> Settings:
    jobs = settings.jobs.model_copy(update={"checkpoint_every": every})
    cache = settings.cache.model_copy(update={"enabled": False})
    return settings.model_copy(update={"jobs": jobs, "cache": cache})


async def _draw(settings: Settings, illustrator: IllustratorService, seed: int, steps: int | None) -> float:
    """Seconds from a job's start to its end."""
    state = await State.open(settings)
    worker = Worker(state, JobExecutor(state, cast(VectorizerService, _Nothing()), illustrator))
    await worker.start()
    try:
        job_request = request("red apple, flat", seed, num_inference_steps=steps)
        (job_id,) = (await GenerationQueue(state).add(job_request, JobOptions("ada"))).ids
        await EventFollower(state).wait_until_finished(job_id, 0, LIMIT_S)
        view = await JobViews(state.database).get(job_id)
        if view.status != COMPLETED or view.completed_at is None or view.started_at is None:
            raise ValueError(f"the job is {view.status}: {view.error}")
        return (view.completed_at - view.started_at).total_seconds()
    finally:
        await worker.close()
        await state.close()


def _cost(database: str, every: int, taken: Sequence[float], without: Sequence[float]) -> Cost:
    ratios = np.divide(taken, without)
    draws = np.random.default_rng(0).choice(ratios, (RESAMPLES, len(ratios)))
    low, high = np.quantile(np.median(draws, axis=1), [0.025, 0.975])
    medians = quantiles_ms(taken)[0], quantiles_ms(without)[0]
    return Cost(database, every, len(ratios), *medians, float(np.median(ratios)), float(low), float(high))


def table(costs: Sequence[Cost]) -> str:
    rows = []
    for one in sorted(costs, key=lambda one: -one.every):
        middle = [f"{one.p50_ms:.0f}", f"{one.p50_without_ms:.0f}", f"{100 * (one.ratio - 1):+.1f} %"]
        interval = f"{100 * (one.low - 1):+.1f} to {100 * (one.high - 1):+.1f} %"
        goal = [f"{100 * GOAL:.0f} %", verdict(one.ratio - 1 < GOAL)] if one.every == EVERY[0] else [UNMEASURED] * 2
        rows.append([f"every {one.every} steps", one.database, f"{one.pairs}", *middle, interval, *goal])
    header = ["a checkpoint", "database", "pairs", "ms an illustration", "ms without", "cost", "95 % interval"]
    return markdown([*header, "goal", "met"], rows)
