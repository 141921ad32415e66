"""What the measured trials of a conversion are to training: their candidate rows beside what came of them."""

from __future__ import annotations

import numpy as np

from serve.ensembles.vectorizer.analysis import ImageAnalysis
from serve.ensembles.vectorizer.search import Search
from serve.ensembles.vectorizer.tasks import Trial
from serve.ensembles.vectorizer.vectorization import MAX_TRIALS, QualitySample
from serve.vector.parameters import to_candidate


def sample_of(search: Search, analysis: ImageAnalysis) -> QualitySample | None:
    """None without an embedding, or where the chosen trial was not measured."""
    best = search.best
    if analysis.embedding is None or best.ssim is None:
        return None
    measured = [trial for trial in search.trials.values() if trial is not best and trial.ssim is not None]
    embedding = np.asarray(analysis.embedding, "<f2").reshape(-1)
    return QualitySample(embedding.tobytes(), [_values(trial) for trial in (best, *measured)[:MAX_TRIALS]])


def _values(trial: Trial) -> tuple[float, ...]:
    row = (round(float(value), 5) for value in to_candidate(trial.parameters))
    return (*row, round(float(trial.ssim or 0.0), 6), trial.bytes, trial.paths)
