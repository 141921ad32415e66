"""Shadow traffic of a retrained `quality`: what it predicts of the site's conversions, before any user gets it (D-083).

A version that is loaded, at no percentage, is sent what the current one was: embedding and parameters of the
conversions since then, through the engines that serve. Its answers reach nobody; they are compared with what was
measured.
"""

from __future__ import annotations

from datetime import datetime

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa

from serve.engines.service import InferenceClient
from serve.ensembles.vectorizer.vectorization import QUALITY
from serve.state.database import Database
from serve.state.tables import quality_samples
from serve.vector.parameters import CANDIDATE_WIDTH

ShadowClient = InferenceClient
"""What reaches the engines that serve."""
MAX_SHADOWED = 1_000
"""Conversions of one comparison, the newest."""
_BATCH = 16
"""`max_batch_size` of the engine."""
_TIMEOUT_S = 10.0
_s = quality_samples.c


async def shadowed(
    database: Database, client: InferenceClient, version: str, label: str, since: datetime
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Absolute errors of SSIM on the same conversions, (N,) each: those of the version ``label``, which served them,
    and those of the candidate ``version``. Predictions that are not finite have an error of 1.

    Raises the errors of the engine.
    """
    query = sa.select(_s.embedding, _s.trials, _s.engine_versions, _s.prediction_error, _s.actual_quality)
    async with database.read() as connection:
        rows = (await connection.execute(query.where(_s.created_at >= since).order_by(_s.seq.desc()).limit(4000))).all()
    rows = [row for row in rows if row.engine_versions.get(QUALITY) == label][:MAX_SHADOWED]
    predicted: list[float] = []
    for start in range(0, len(rows), _BATCH):
        part = rows[start : start + _BATCH]
        inputs = {
            "embedding": np.stack([np.frombuffer(row.embedding, "<f2") for row in part]).astype(np.float32),
            "parameters": np.array([row.trials[0][:CANDIDATE_WIDTH] for row in part], np.float32)[:, None],
        }
        found = await client.infer(QUALITY, inputs, outputs=["ssim"], timeout_s=_TIMEOUT_S, version=version)
        predicted += [float(value) for value in found["ssim"][:, 0]]
    actual = np.array([row.actual_quality for row in rows], np.float64)
    errors = np.abs(actual - np.clip(np.array(predicted, np.float64), 0, 1))
    own = np.array([abs(row.prediction_error) for row in rows], np.float64)
    return own, np.where(np.isfinite(errors), errors, 1.0)


async def conversions_since(database: Database, label: str, since: datetime) -> int:
    """How many the version ``label`` has served since then, up to `MAX_SHADOWED`."""
    query = sa.select(_s.engine_versions).where(_s.created_at >= since).order_by(_s.seq.desc()).limit(4000)
    async with database.read() as connection:
        rows = (await connection.execute(query)).all()
    return min(MAX_SHADOWED, len([row for row in rows if row.engine_versions.get(QUALITY) == label]))
