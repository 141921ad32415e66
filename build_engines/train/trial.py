"""Trying candidates for real: traces in several processes, and what they are worth."""

from __future__ import annotations

import math
import multiprocessing
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from build_engines.data import draw
from build_engines.labels.candidates import BASELINE
from build_engines.labels.collect import Drawn, start_worker
from build_engines.labels.measure import Judge
from build_engines.train.reward import true_reward
from serve.vector.parameters import from_candidate

Floats = npt.NDArray[np.float32]
_Job = tuple[Drawn, Floats, Floats | None]


def _measure(job: _Job) -> tuple[Floats, Floats]:
    """Measures of the baseline (5,) and of every candidate row (K, 5)."""
    picture, rows, baseline = job
    judge = Judge(draw(picture.icon, picture.seed))
    first = judge.measure(BASELINE).to_row() if baseline is None else baseline
    return first, np.stack([judge.measure(from_candidate(row)).to_row() for row in rows])


class Trials:
    """A pool of tracing workers. Baselines are measured once per picture and remembered."""

    def __init__(self, processes: int) -> None:
        self._pool = multiprocessing.get_context("spawn").Pool(processes, start_worker)
        self._baselines: dict[str, Floats] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._pool.terminate()
        self._pool.join()

    def measure(self, pictures: Sequence[Drawn], rows: Floats) -> tuple[Floats, Floats]:
        """``rows`` (N, K, 10) → measures of the baselines (N, 5) and of the candidates (N, K, 5)."""
        jobs: list[_Job] = [(p, r, self._baselines.get(p.name)) for p, r in zip(pictures, rows, strict=True)]
        bar = tqdm(self._pool.imap(_measure, jobs, chunksize=2), total=len(jobs), desc="trials", leave=False)
        answers = list(bar)
        for picture, (baseline, _) in zip(pictures, answers, strict=True):
            self._baselines[picture.name] = baseline
        return np.stack([a[0] for a in answers]), np.stack([a[1] for a in answers])

    def rewards(self, pictures: Sequence[Drawn], rows: Floats, limit_ms: float = math.inf) -> Floats:
        """(N, K) true rewards of candidate ``rows`` (N, K, 10)."""
        baselines, measures = self.measure(pictures, rows)
        return true_reward(measures, baselines, limit_ms)
