"""Retraining of `quality` on a site's conversions: better on them, no worse elsewhere, or refused (D-081)."""

from __future__ import annotations

import asyncio
import copy
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from typer.testing import CliRunner

from build_engines import retraining
from build_engines.cli import app
from build_engines.export.engine import MODEL_REPOSITORY
from build_engines.train.networks import Quality
from build_engines.train.pictures import Labelled
from build_engines.train.retrain import Data, compare, errors, worse
from build_engines.train.shipped import quality_of
from build_engines.train.site_samples import Learnt, read_samples
from serve.engines.triton.manifests import check_files, check_manifest, version_label, version_numbers
from serve.errors import Conflict, InvalidRequest
from serve.jobs.retraining import retrain
from serve.releases.rollouts.learning import next_step
from serve.settings import Settings
from serve.settings.ensembles import LearningSettings
from serve.state import State
from serve.state.tables import generations, quality_samples, utc_now

ENGINES = ("quality", "image_features")
FEATURES = version_label(MODEL_REPOSITORY / "image_features", "1") or ""


@pytest.fixture(scope="module")
def shipped() -> Quality:
    return quality_of(MODEL_REPOSITORY / "quality" / "1" / "model.onnx")


def pictures(network: Quality, count: int, seed: int, unusual: bool = False) -> Learnt:
    """Eight trials each; what is measured is what ``network`` predicts, with noise. Of ``unusual`` pictures, which lie
    apart, the error of SSIM is three times that."""
    rng = np.random.default_rng([seed, unusual])
    values = rng.random((count, 512), np.float32) * 0.4 + (0.5 if unusual else 0.1)
    embedding = torch.from_numpy(values.astype(np.float32))
    rows = rng.random((count, 8, 10), np.float32)
    rows[..., 0] = 0
    with torch.no_grad():
        found = network.logarithms(embedding, torch.from_numpy(rows)).numpy()
    found = found + rng.normal(0, 0.4, found.shape)
    found[..., :2] += 1.6 if unusual else 0
    ssim, fidelity = (1 - np.exp2(np.minimum(found[..., i], 0)) for i in (0, 1))
    measures = np.stack([ssim, fidelity, *(np.exp2(found[..., i]) for i in (2, 4, 3))], axis=-1)
    return Learnt(embedding, Labelled(np.arange(count), rows, measures.astype(np.float32)))


@pytest.fixture(scope="module")
def original(shipped: Quality) -> Data:
    return Data(*(pictures(shipped, count, seed) for seed, count in enumerate((96, 24, 40))))


def exported(path: Path, learnt: Learnt, measured: Any = None, **changed: Any) -> Path:
    """As `atelier models samples` writes it; ``measured`` (M, 8) replaces the SSIM."""
    labels, count = learnt.labels, len(learnt)
    ssim = labels.measures[..., :1] if measured is None else measured[..., None]
    arrays: dict[str, Any] = {
        "embedding": learnt.embedding.numpy().astype(np.float16),
        "trials": np.concatenate([labels.candidates, ssim, labels.measures[..., 2:4]], axis=-1).reshape(-1, 13),
        "counts": np.full(count, 8),
        "image_sha256": np.array([hashlib.sha256(bytes([i % 256, i // 256])).hexdigest() for i in range(count)]),
        "features_version": np.full(count, FEATURES),
    }
    with path.open("wb") as stream:
        np.savez(stream, **(arrays | changed))
    return path


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    for name in ENGINES:
        shutil.copytree(MODEL_REPOSITORY / name, tmp_path / "engines" / name)
    return tmp_path / "engines"


def run(samples: Path, repository: Path) -> retraining.Retraining:
    return retraining.Retraining(samples, repository, "quick", 20, 1, None)


def test_unusual_pictures_are_learned_and_become_the_next_version(
    shipped: Quality, original: Data, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retraining, "originals", lambda *_: (original, {"labels": "synthetic"}))
    file = exported(tmp_path / "samples.npz", pictures(shipped, 160, 5, unusual=True))
    assert retraining.make_version(run(file, repository)) == "2"
    engine = repository / "quality"
    assert version_numbers(engine) == ["1", "2"]
    check_files(engine, "2")
    check_manifest(engine, "2")
    after = quality_of(engine / "2" / "model.onnx")
    judged = read_samples(file, FEATURES, shipped).split()[2]
    assert errors(after, judged)["ssim"].mean() < 0.7 * errors(shipped, judged)["ssim"].mean()
    old, new = errors(shipped, original.judge), errors(after, original.judge)
    assert worse(old, new) == []
    manifest = json.loads((engine / "2" / "manifest.json").read_text())
    assert manifest["version"].endswith("+site2")
    assert manifest["metrics"]["ssim"]["mean_absolute_error"] == pytest.approx(new["ssim"].mean(), abs=1e-3)
    assert quality_of(engine / "1" / "model.onnx").state_dict().keys() == after.state_dict().keys()


class Version:
    """An engine's file as a client of it."""

    def __init__(self, model: Path) -> None:
        self._model = model

    async def infer(self, _engine: str, inputs: Any, *, outputs: Any = None, **_: Any) -> dict[str, Any]:
        session = onnxruntime.InferenceSession(str(self._model), providers=["CPUExecutionProvider"])
        return dict(zip(outputs, session.run(outputs, inputs), strict=True))


async def recorded(state: State, learnt: Learnt, network: Quality, label: str, prefix: str) -> None:
    """Conversions of ``learnt`` as a stack records them, with the first trial as the one that was chosen."""
    labels, rows, made = learnt.labels, [], []
    with torch.no_grad():
        guess = network.logarithms(learnt.embedding, torch.from_numpy(labels.candidates)).numpy()
    for i in range(len(learnt)):
        name, actual = f"{prefix}{i}", float(labels.measures[i, 0, 0])
        predicted = float(1 - np.exp2(min(guess[i, 0, 0], 0)))
        trials = np.concatenate([labels.candidates[i], labels.measures[i][:, [0, 2, 3]]], axis=1)
        rows.append({
            "generation_id": name, "image_sha256": hashlib.sha256(name.encode()).hexdigest(),
            "embedding": learnt.embedding[i].numpy().astype("<f2").tobytes(), "trials": trials.tolist(),
            "parameters": {}, "predicted_quality": predicted, "actual_quality": actual,
            "prediction_error": actual - predicted, "engine_versions": {"quality": label, "image_features": FEATURES},
            "with_picture": False, "created_at": utc_now(),
        })  # fmt: skip
        made.append({"id": name, "user_id": "ada", "kind": "vectorize", "status": "completed", "created_at": utc_now()})
    async with state.database.write() as connection:
        await connection.execute(generations.insert(), made)
        await connection.execute(quality_samples.insert(), rows)


@pytest.mark.triton
@pytest.mark.parametrize("database_settings", ["sqlite"], indirect=True)  # test_learning.py has both kinds
async def test_a_site_of_unusual_pictures_learns_end_to_end(
    state: State, shipped: Quality, original: Data, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its conversions are recorded, drift is found, the engine is really trained and exported, a Triton examines it, a
    tenth of the users gets it, and what they convert promotes it: better here, no worse elsewhere (D-080 to D-083)."""
    monkeypatch.setattr(retraining, "originals", lambda *_: (original, {}))
    learning = LearningSettings(window=100, least_conversions=100, trial_conversions=40)
    own = state.settings.vectorizer.model_copy(update={"model_repository": repository, "learning": learning})
    site = State(state.database, state.objects, state.settings.model_copy(update={"vectorizer": own}))
    label = version_label(repository / "quality", "1") or ""
    await recorded(site, pictures(shipped, 160, 6, unusual=True), shipped, label, "before")

    async def train(_settings: Settings, samples: Path) -> str:
        return await asyncio.to_thread(retraining.make_version, run(samples, repository))

    assert (await next_step(site)).act == "train"
    shadow = Version(repository / "quality" / "2" / "model.onnx")
    details = (await retrain(site, shadow, train)).details["retraining"]
    assert (details["version"], details["percentage"]) == ("2", 0)
    await recorded(site, pictures(shipped, 60, 20, unusual=True), shipped, label, "shadowed")
    shadowed = (await retrain(site, shadow)).details["retraining"]
    assert shadowed["act"] == "split", shadowed
    after, new = quality_of(repository / "quality" / "2" / "model.onnx"), version_label(repository / "quality", "2")
    await recorded(site, pictures(shipped, 60, 21, unusual=True), shipped, label, "old")
    await recorded(site, pictures(shipped, 60, 22, unusual=True), after, new or "", "new")
    ended = (await retrain(site, shadow)).details["retraining"]
    assert ended["act"] == "promote", ended
    assert worse(errors(shipped, original.judge), errors(after, original.judge)) == []
    assert (await next_step(site)).act == "wait"


@pytest.mark.parametrize("poison", ["random", "swapped", "constant"])
def test_poisoned_samples_are_refused(
    shipped: Quality, original: Data, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, poison: str
) -> None:
    monkeypatch.setattr(retraining, "originals", lambda *_: (original, {}))
    learnt, rng = pictures(shipped, 160, 6, unusual=True), np.random.default_rng(0)
    true = learnt.labels.measures[..., 0]
    measured = {"random": rng.random(true.shape), "swapped": rng.permuted(true.ravel()).reshape(true.shape),
                "constant": np.full(true.shape, 0.2)}[poison]  # fmt: skip
    file = exported(tmp_path / "samples.npz", learnt, measured.astype(np.float32))
    with pytest.raises(Conflict, match="rank correlation"):
        retraining.make_version(run(file, repository))
    assert version_numbers(repository / "quality") == ["1"]


def test_a_network_that_forgets_is_refused(shipped: Quality, original: Data) -> None:
    """Its predictions of SSIM are lowered everywhere, as is right for the unusual pictures alone."""
    site, forgetful = pictures(shipped, 60, 7, unusual=True), copy.deepcopy(shipped)
    with torch.no_grad():
        forgetful.layers[-1].bias[0] += 0.8
    verdict = compare(shipped, forgetful, site, original.judge)
    assert [reason.partition(" is ")[0] for reason in verdict.reasons] == ["on the test split its error of ssim"]


def test_the_same_network_is_no_improvement(shipped: Quality, original: Data) -> None:
    verdict = compare(shipped, shipped, pictures(shipped, 20, 8), original.judge)
    assert [reason.partition(":")[0][:20] for reason in verdict.reasons] == ["on the site's own pi"]


def test_fidelity_is_corrected_as_ssim_was_wrong(shipped: Quality, tmp_path: Path) -> None:
    learnt = pictures(shipped, 10, 9, unusual=True)
    read = read_samples(exported(tmp_path / "samples.npz", learnt), FEATURES, shipped).learnt
    with torch.no_grad():
        guess = shipped.logarithms(read.embedding, torch.from_numpy(read.labels.candidates)).numpy()
    shift = read.labels.logarithms[..., :2] - guess[..., :2]
    inside = (read.labels.measures[..., :2] > 0.01).all(axis=-1)
    assert np.allclose(shift[inside][:, 0], shift[inside][:, 1], atol=1e-3)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"embedding": np.full((60, 512), np.nan, np.float16)}, "out of range"),
        ({"counts": np.full(60, 9)}, "fit together"),
        ({"counts": np.full(60, -8)}, "fit together"),
        ({"embedding": np.zeros((60, 100), np.float16)}, "fit together"),
        ({"features_version": np.full(60, "0.1")}, "no conversions"),
        ({"image_sha256": np.full(60, "ff" * 32)}, "50 are needed"),
        ({"image_sha256": np.full(60, "not hex")}, "no export"),
        ({"counts": np.array([{"a": 1}] * 60, object)}, "no export"),
    ],
)
def test_bad_samples_are_refused(
    shipped: Quality, repository: Path, tmp_path: Path, changed: dict[str, Any], reason: str
) -> None:
    file = exported(tmp_path / "samples.npz", pictures(shipped, 60, 10), **changed)
    with pytest.raises(InvalidRequest, match=reason):
        retraining.make_version(run(file, repository))


def test_the_command_says_why_it_refuses(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "samples.npz").write_bytes(b"PK\x03\x04 cut short")
    words = ["retrain", "quality", "--samples", str(tmp_path / "samples.npz"), "--repository", str(repository)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 1
    assert "refused: --samples: is no export of `atelier models samples`" in done.output
    assert CliRunner().invoke(app, [*words, "--epochs", "21"]).exit_code == 2
    assert CliRunner().invoke(app, ["retrain", "policy", *words[2:]]).exit_code == 2


def test_no_other_network_is_taken_for_quality() -> None:
    with pytest.raises(Conflict, match="is not a network"):
        quality_of(MODEL_REPOSITORY / "tier1" / "1" / "model.onnx")
