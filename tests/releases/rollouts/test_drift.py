"""Errors of the engine `quality` on a site's conversions against its manifest, and the export for training (D-080)."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serve.jobs.quality_samples import export_samples
from serve.releases.rollouts.drift import drift
from serve.state import State
from serve.state.tables import generations, inputs, quality_samples

BEGAN = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def site(state: State, tmp_path: Path) -> State:
    """With an engine `quality` whose manifest states an error of 0.02."""
    folder = tmp_path / "engines" / "quality"
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text('name: "quality"')
    manifest = {"version": "1.3", "metrics": {"ssim": {"mean_absolute_error": 0.02}}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    vectorizer = state.settings.vectorizer.model_copy(update={"model_repository": folder.parent})
    return State(state.database, state.objects, state.settings.model_copy(update={"vectorizer": vectorizer}))


async def convert(state: State, errors: np.ndarray[Any, Any], version: str = "1.3", picture: bytes = b"") -> None:
    """A recorded conversion for each of ``errors``, a minute apart; with a picture that may be exported."""
    names = [(await state.objects.put(picture, "image/png")).name] if picture else []
    for i, error in enumerate(errors):
        name, when = f"{version}-{i}", BEGAN + timedelta(minutes=i)
        row = {
            "generation_id": name, "image_sha256": f"{i:064x}", "embedding": np.full(512, 0.25, "<f2").tobytes(),
            "trials": [[0.0] * 10 + [0.9, 900, 4]] * (1 + i % 2), "parameters": {}, "predicted_quality": 0.8,
            "actual_quality": 0.8 + error, "prediction_error": float(error), "created_at": when,
            "engine_versions": {"quality": version, "image_features": "1.3"}, "with_picture": bool(names),
        }  # fmt: skip
        made = {"id": name, "user_id": "ada", "kind": "vectorize", "status": "completed", "created_at": when}
        async with state.database.write() as connection:
            await connection.execute(generations.insert(), made)
            await connection.execute(quality_samples.insert(), row)
            for each in names:
                await connection.execute(inputs.insert(), {"generation_id": name, "object": each})


async def test_windows_of_errors_show_when_a_site_drifts(site: State) -> None:
    rng = np.random.default_rng(0)
    usual, unusual = rng.normal(0.0, 0.02, 60), rng.normal(0.1, 0.02, 60)
    await convert(site, np.concatenate([usual, unusual]))
    (found,) = await drift(site, 60)
    assert (found.version, found.validation_error, found.drifted) == ("1.3", 0.02, True)
    newest, oldest = found.windows
    assert (newest.drifted, oldest.drifted, newest.conversions, oldest.conversions) == (True, False, 60, 60)
    assert newest.mean_error == pytest.approx(unusual.mean())
    assert newest.spread == pytest.approx(unusual.std())
    assert newest.low < newest.mean_absolute_error < newest.high
    assert (oldest.since, newest.until) == (BEGAN, BEGAN + timedelta(minutes=119))


async def test_few_conversions_and_unknown_versions_say_nothing(site: State) -> None:
    await convert(site, np.full(12, 0.3))
    await convert(site, np.full(40, 0.3), version="0.9")
    unknown, few = await drift(site, 200)
    assert (unknown.version, unknown.validation_error, unknown.drifted) == ("0.9", None, False)
    assert (few.windows[0].conversions, few.drifted) == (12, False)


async def test_samples_are_exported(site: State, tmp_path: Path) -> None:
    file, folder = tmp_path / "samples.npz", tmp_path / "pictures"
    assert await export_samples(site, file) == (0, 0)
    await convert(site, np.array([0.1, -0.1, 0.2]))
    await convert(site, np.array([0.0]), "1.4", b"a picture")
    assert await export_samples(site, file, folder) == (4, 1)
    with np.load(file, allow_pickle=False) as arrays:
        assert arrays["embedding"].shape == (4, 512)
        assert arrays["counts"].tolist() == [1, 2, 1, 1]
        assert arrays["trials"].shape == (5, 13)
        assert arrays["actual_quality"] == pytest.approx([0.9, 0.7, 1.0, 0.8])
        assert arrays["quality_version"].tolist() == ["1.3"] * 3 + ["1.4"]
    assert [path.read_bytes() for path in folder.iterdir()] == [b"a picture"]
