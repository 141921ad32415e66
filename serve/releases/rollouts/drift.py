"""Drift of the engine `quality`: its errors on the site's conversions against the error in its manifest (D-080)."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import sqlalchemy as sa

from serve.engines.triton.manifests import manifest_path, version_label, version_numbers
from serve.ensembles.vectorizer.vectorization import QUALITY
from serve.state import State
from serve.state.tables import quality_samples

MAX_SAMPLES = 50_000
"""The newest that are looked at."""
_ENOUGH = 30
"""Conversions in a window, without which nothing is said about drift."""
_Z95 = 1.96


@dataclass(frozen=True)
class ErrorWindow:
    """Consecutive conversions. Errors are of SSIM, measured less predicted; ``low`` and ``high`` bound the mean
    absolute error with 95 % confidence. ``drifted``: they lie above the error of the manifest."""

    since: datetime
    until: datetime
    conversions: int
    mean_error: float
    spread: float
    mean_absolute_error: float
    low: float
    high: float
    drifted: bool


@dataclass(frozen=True)
class VersionDrift:
    """``validation_error``: mean absolute error on the test split, from the version's manifest; None if unknown."""

    version: str
    validation_error: float | None
    windows: Sequence[ErrorWindow]

    @property
    def drifted(self) -> bool:
        """Whether the newest window with enough conversions has drifted."""
        enough = [one for one in self.windows if one.conversions >= _ENOUGH]
        return bool(enough) and enough[0].drifted


async def drift(state: State, window: int) -> list[VersionDrift]:
    """By version label, the most recently used first; windows of ``window`` conversions, the newest first."""
    s = quality_samples.c
    query = sa.select(s.engine_versions, s.prediction_error, s.created_at).order_by(s.seq.desc()).limit(MAX_SAMPLES)
    async with state.database.read() as connection:
        rows = (await connection.execute(query)).all()
    found: dict[str, list[tuple[float, datetime]]] = {}
    for row in rows:
        found.setdefault(str(row.engine_versions.get(QUALITY, "")), []).append((row.prediction_error, row.created_at))
    engine = state.settings.vectorizer.model_repository / QUALITY
    known = await asyncio.to_thread(lambda: {label: validation_error(engine, label) for label in found})
    return [
        VersionDrift(label, known[label], [_window(errors[i : i + window], known[label])
                                           for i in range(0, len(errors), window)])
        for label, errors in found.items()
    ]  # fmt: skip


def validation_error(engine: Path, label: str) -> float | None:
    """Of the version of the folder ``engine`` that its manifest calls ``label``."""
    for version in version_numbers(engine):
        path = manifest_path(engine, version)
        if path is not None and version_label(engine, version) == label:
            found = json.loads(path.read_text()).get("metrics", {}).get("ssim", {}).get("mean_absolute_error")
            return float(found) if isinstance(found, int | float) else None
    return None


def _window(newest_first: Sequence[tuple[float, datetime]], expected: float | None) -> ErrorWindow:
    errors = np.array([error for error, _ in newest_first])
    absolute, count = np.abs(errors), len(errors)
    mean = float(absolute.mean())
    half = _Z95 * float(absolute.std(ddof=1)) / math.sqrt(count) if count > 1 else math.inf
    low, high = max(0.0, mean - half), min(1.0, mean + half)
    return ErrorWindow(
        since=newest_first[-1][1],
        until=newest_first[0][1],
        conversions=count,
        mean_error=float(errors.mean()),
        spread=float(errors.std()),
        mean_absolute_error=mean,
        low=low,
        high=high,
        drifted=count >= _ENOUGH and expected is not None and low > expected,
    )
