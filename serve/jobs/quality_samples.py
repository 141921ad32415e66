"""The row that a conversion leaves for training (D-080), written with its answer; and their export as one file."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa

from serve.ensembles.requests import Outcome
from serve.ensembles.vectorizer.vectorization import EMBEDDER, EMBEDDING_WIDTH, QUALITY
from serve.settings import Settings
from serve.state import State
from serve.state.tables import inputs, quality_samples, utc_now
from serve.state.write_batches import Write

MAX_EXPORTED = 100_000
"""The newest."""
_SAMPLE = sa.insert(quality_samples)


def sample_writes(generation_id: str, outcome: Outcome, settings: Settings) -> list[Write]:
    """None for an outcome without a sample: from the cache, or of a site that does not collect them."""
    sample, details, allowed = outcome.sample, outcome.details, settings.vectorizer.samples
    if sample is None or not allowed.collect:
        return []
    predicted, actual = details["predicted_quality"], details["actual_quality"]
    row = {
        "generation_id": generation_id, "image_sha256": details["input_sha256"], "embedding": sample.embedding,
        "trials": [list(one) for one in sample.trials], "parameters": details["parameters"],
        "predicted_quality": predicted, "actual_quality": actual, "prediction_error": actual - predicted,
        "engine_versions": details["model_versions"], "with_picture": allowed.pictures, "created_at": utc_now(),
    }  # fmt: skip
    return [Write(_SAMPLE, [row])]


async def export_samples(state: State, file: Path, pictures: Path | None = None) -> tuple[int, int]:
    """Write the newest samples to ``file`` (.npz), and the pictures that may be exported to the folder ``pictures``.

    Arrays of the file: ``embedding`` (N, 512) float16; ``trials`` (T, 13): candidate row, SSIM, bytes, paths;
    ``counts`` (N,): how many of them are of each conversion; ``image_sha256``, ``features_version``,
    ``quality_version`` and ``created_at`` (N,) text; ``predicted_quality`` and ``actual_quality`` (N,). Returns the
    numbers of samples and of pictures. Raises OSError.
    """
    s = quality_samples.c
    async with state.database.read() as connection:
        rows = (await connection.execute(sa.select(quality_samples).order_by(s.seq.desc()).limit(MAX_EXPORTED))).all()
        used = sa.select(inputs.c.object).join(quality_samples, s.generation_id == inputs.c.generation_id)
        names = (await connection.scalars(used.where(s.with_picture).distinct())).all()
    await asyncio.to_thread(_write, file, rows[::-1])
    if pictures is None:
        return len(rows), 0
    for name in names:
        await asyncio.to_thread(_write_picture, pictures, name, await state.objects.get(name))
    return len(rows), len(names)


def _write_picture(folder: Path, name: str, data: bytes) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def _write(file: Path, rows: Sequence[sa.Row[Any]]) -> None:
    """Beside the file and renamed: a reader sees all or nothing."""
    embedding = [np.frombuffer(row.embedding, "<f2") for row in rows]
    arrays = {
        "embedding": np.stack(embedding) if rows else np.zeros((0, EMBEDDING_WIDTH), "<f2"),
        "trials": np.array([trial for row in rows for trial in row.trials], np.float32),
        "counts": np.array([len(row.trials) for row in rows], np.int64),
        "image_sha256": np.array([row.image_sha256 for row in rows], np.str_),
        "features_version": np.array([row.engine_versions.get(EMBEDDER, "") for row in rows], np.str_),
        "quality_version": np.array([row.engine_versions.get(QUALITY, "") for row in rows], np.str_),
        "created_at": np.array([row.created_at.isoformat() for row in rows], np.str_),
        "predicted_quality": np.array([row.predicted_quality for row in rows]),
        "actual_quality": np.array([row.actual_quality for row in rows]),
    }
    beside = file.with_name(f".{file.name}.part")
    with beside.open("wb") as stream:
        np.savez_compressed(stream, **arrays)
    beside.replace(file)
