"""Continuous learning by rule: drift calls for a retraining, a trial ends in promotion or rollback (D-080 to D-083)."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from serve.errors import Conflict, EngineFailure, Unsupported
from serve.jobs.queue.views import JobFilters, JobViews
from serve.jobs.retraining import add_if_due, retrain
from serve.releases.rollouts import changes, learning, smoke_test
from serve.releases.rollouts.learning import Fared, judge, judge_shadow, next_step
from serve.settings import Settings
from serve.settings.ensembles import LearningSettings
from serve.state import State
from serve.state.tables import generations, quality_samples, utc_now

SETTINGS = LearningSettings(enabled=True, window=60, least_conversions=100, shadow_conversions=30,
                            trial_conversions=40, trial_max_h=48)  # fmt: skip
HOUR = timedelta(hours=1)
RNG = np.random.default_rng(0)


def fared(error: float, count: int = 60, ssim: float = 0.9) -> Fared:
    return Fared(list(RNG.normal(error, 0.01, count)), list(RNG.normal(ssim, 0.01, count)))


@pytest.mark.parametrize(
    ("candidate", "age", "act"),
    [
        (fared(0.05), HOUR, "promote"),
        (fared(0.15), HOUR, "rollback"),
        (fared(0.05, ssim=0.85), HOUR, "rollback"),
        (fared(0.1), HOUR, "wait"),
        (fared(0.1), 49 * HOUR, "rollback"),
        (fared(0.05, 39), HOUR, "wait"),
        (fared(0.05, 39), 49 * HOUR, "rollback"),
        (Fared((), ()), HOUR, "wait"),
    ],
)
def test_trials_end_by_rule(candidate: Fared, age: timedelta, act: str) -> None:
    assert judge(fared(0.1), candidate, age, SETTINGS).act == act


@pytest.mark.parametrize(("count", "act"), [(0, "wait"), (1, "wait"), (2, "rollback")])
def test_a_shadow_is_judged_from_two_conversions(count: int, act: str) -> None:
    assert judge_shadow(np.full(count, 0.01), np.full(count, 0.9)).act == act


def test_a_shadow_of_one_conversion_cannot_be_set() -> None:
    with pytest.raises(ValidationError, match="at least 2"):
        LearningSettings(shadow_conversions=1)
    assert [LearningSettings(shadow_conversions=n).shadow_conversions for n in (0, 2)] == [0, 2]


class Shadow:
    """The engine of version 2, which predicts ``ssim`` for everything."""

    def __init__(self, ssim: float = 0.8) -> None:
        self.ssim = ssim
        self.calls: list[tuple[str, int]] = []

    async def infer(self, engine: str, inputs: Any, *, version: str = "", **_: Any) -> dict[str, Any]:
        count = len(inputs["embedding"])
        assert (engine, inputs["embedding"].shape, inputs["parameters"].shape) == (
            "quality", (count, 512), (count, 1, 10),
        )  # fmt: skip
        self.calls.append((version, count))
        return {"ssim": np.full((count, 1), self.ssim, np.float32)}


@pytest.fixture
def site(state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> State:
    """With an engine `quality` whose manifest states an error of 0.02. Versions are not examined in a Triton here."""

    async def fit(*_arguments: Any) -> None:
        return None

    monkeypatch.setattr(smoke_test, "examine", fit)
    folder = tmp_path / "engines" / "quality"
    add_version(folder, "1", "1.3")
    (folder / "config.pbtxt").write_text('name: "quality"')
    own = {"model_repository": folder.parent, "learning": SETTINGS}
    vectorizer = state.settings.vectorizer.model_copy(update=own)
    return State(state.database, state.objects, state.settings.model_copy(update={"vectorizer": vectorizer}))


def add_version(folder: Path, number: str, label: str) -> str:
    (folder / number).mkdir(parents=True)
    where = folder if number == "1" else folder / number
    (where / "manifest.json").write_text(
        json.dumps({"version": label, "metrics": {"ssim": {"mean_absolute_error": 0.02}}})
    )
    return number


async def convert(state: State, error: float, count: int, label: str, when: datetime) -> None:
    rows, made = [], []
    for i, each in enumerate(RNG.normal(error, 0.01, count)):
        name = f"{label}-{when:%j%H%M%S%f}-{i}"
        rows.append({
            "generation_id": name, "image_sha256": f"{i:064x}", "embedding": np.full(512, 0.25, "<f2").tobytes(),
            "trials": [[0.0] * 10 + [0.9, 900, 4]], "parameters": {}, "predicted_quality": 0.8,
            "actual_quality": 0.8, "prediction_error": float(each), "created_at": when + timedelta(seconds=i),
            "engine_versions": {"quality": label, "image_features": "1.3"}, "with_picture": False,
        })  # fmt: skip
        made.append({"id": name, "user_id": "ada", "kind": "vectorize", "status": "completed", "created_at": when})
    async with state.database.write() as connection:
        await connection.execute(generations.insert(), made)
        await connection.execute(quality_samples.insert(), rows)


async def test_from_drift_to_promotion(site: State) -> None:
    began = datetime(2026, 3, 1, tzinfo=UTC)
    await convert(site, 0.0, 60, "1.3", began)
    assert (await next_step(site)).act == "wait"
    await convert(site, 0.1, 30, "1.3", began + HOUR)
    await add_if_due(site)
    assert await jobs(site) == []
    await convert(site, 0.1, 60, "1.3", began + 2 * HOUR)
    assert (await next_step(site)).act == "train"
    await add_if_due(site)
    await add_if_due(site)
    assert await jobs(site) == ["retrain"]

    async def train(settings: Settings, samples: Path) -> str:
        assert samples.name == "samples.npz"
        return add_version(settings.vectorizer.model_repository / "quality", "2", "1.3+site2")

    details = (await retrain(site, Shadow(), train)).details["retraining"]
    assert {**details, "reason": ""} == {
        "act": "train", "reason": "", "version": "2", "percentage": 0, "conversions": 150,
    }  # fmt: skip
    assert (await retrain(site, Shadow())).details["retraining"]["reason"] == "0 of 30 conversions to shadow"
    await convert(site, 0.1, 40, "1.3", utc_now())
    shadow = Shadow(ssim=0.8)  # what is measured of each
    done = (await retrain(site, shadow)).details["retraining"]
    assert (done["act"], done["version"], shadow.calls) == ("split", "2", [("2", 16), ("2", 16), ("2", 8)])
    assert (await changes._rollout(site, "quality")).percentage == 10
    assert (await retrain(site, Shadow())).details["retraining"]["act"] == "wait"
    now = utc_now()
    await convert(site, 0.1, 40, "1.3", now)
    await convert(site, 0.03, 40, "1.3+site2", now)
    ended = (await retrain(site, Shadow())).details["retraining"]
    assert (ended["act"], ended["version"]) == ("promote", "2")
    assert "surely better" in ended["reason"]
    assert (await changes._rollout(site, "quality")).current == "2"


@pytest.mark.parametrize("ssim", [0.2, float("nan")])
async def test_a_version_that_is_worse_in_the_shadow_never_gets_a_user(site: State, ssim: float) -> None:
    add_version(site.settings.vectorizer.model_repository / "quality", "2", "1.3+site2")
    await learning.begin_trial(site, "2")
    await convert(site, 0.1, 40, "1.3", utc_now())
    done = (await retrain(site, Shadow(ssim))).details["retraining"]
    assert (done["act"], done["version"]) == ("rollback", "2")
    assert "surely worse: in the shadow of 40 conversions" in done["reason"]
    after = await changes._rollout(site, "quality")
    assert (after.current, after.candidate, after.percentage) == ("1", None, 0)


async def test_a_version_whose_engine_fails_in_the_shadow_is_taken_back_when_the_trial_is_over(
    site: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(Shadow):
        async def infer(self, engine: str, inputs: Any, **_: Any) -> dict[str, Any]:
            raise EngineFailure("broken")

    add_version(site.settings.vectorizer.model_repository / "quality", "2", "1.3+site2")
    await learning.begin_trial(site, "2")
    await convert(site, 0.1, 40, "1.3", utc_now())
    with pytest.raises(EngineFailure):
        await retrain(site, Failing())
    later = utc_now() + 49 * HOUR
    monkeypatch.setattr(learning, "utc_now", lambda: later)
    assert (await retrain(site, Failing())).details["retraining"]["act"] == "rollback"
    assert (await changes._rollout(site, "quality")).candidate is None


async def test_a_worse_version_is_taken_back(site: State) -> None:
    add_version(site.settings.vectorizer.model_repository / "quality", "2", "1.3+site2")
    await learning.begin_trial(site, "2")
    await changes.split(site, "quality", 10, learning.ACTOR)
    now = utc_now()
    await convert(site, 0.03, 40, "1.3", now)
    await convert(site, 0.1, 40, "1.3+site2", now)
    assert (await retrain(site, Shadow())).details["retraining"]["act"] == "rollback"
    after = await changes._rollout(site, "quality")
    assert (after.current, after.candidate, after.percentage) == ("1", None, 0)


async def test_a_version_of_an_operator_is_left_alone(site: State) -> None:
    add_version(site.settings.vectorizer.model_repository / "quality", "2", "1.4")
    await changes.load(site, "quality", "2", learning.ACTOR)
    assert (await next_step(site)).reason == "quality/2 is on trial by somebody else"


async def test_a_refused_retraining_changes_nothing(site: State) -> None:
    await convert(site, 0.1, 120, "1.3", datetime(2026, 3, 1, tzinfo=UTC))

    async def refuse(_settings: Settings, _samples: Path) -> str:
        raise Conflict("the retrained engine is refused: poisoned")

    with pytest.raises(Conflict, match="poisoned"):
        await retrain(site, Shadow(), refuse)
    assert (await next_step(site)).act == "train"


async def test_without_the_trainings_packages_the_job_says_so(site: State, tmp_path: Path) -> None:
    await convert(site, 0.1, 120, "1.3", datetime(2026, 3, 1, tzinfo=UTC))
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho \"ModuleNotFoundError: No module named 'torch'\"\nexit 1\n")
    python.chmod(0o755)
    own = site.settings.vectorizer.model_copy(update={"learning": SETTINGS.model_copy(update={"python": python})})
    other = State(site.database, site.objects, site.settings.model_copy(update={"vectorizer": own}))
    with pytest.raises(Unsupported, match=r"vectorizer\.learning\.python"):
        await retrain(other, Shadow())
    python.write_text("#!/bin/sh\necho 'refused: --samples: has 3 pictures; 50 are needed'\nexit 1\n")
    with pytest.raises(Conflict, match="50 are needed"):
        await retrain(other, Shadow())


async def jobs(state: State) -> list[str]:
    found, _ = await JobViews(state.database).page(JobFilters())
    return [one.kind for one in found]
