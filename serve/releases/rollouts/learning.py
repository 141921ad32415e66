"""The next step of the engine `quality`'s continuous learning (D-080 to D-083, D-092), by rule.

Drifted errors call for a retraining. A retrained version is examined by every replica, predicts in the shadow what the
current one serves, gets a share of the users, and is promoted or taken back by what their conversions were predicted
and measured to be. One of an operator is left alone.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa

from serve.engines.service import InferenceClient
from serve.engines.triton.manifests import version_label
from serve.ensembles.vectorizer.vectorization import QUALITY
from serve.errors import AtelierError, NotFound, StateUnavailable
from serve.releases.rollouts import changes
from serve.releases.rollouts.drift import MAX_SAMPLES, drift
from serve.releases.rollouts.shadow import conversions_since, shadowed
from serve.releases.rollouts.site import Rollout, default_version, read_all
from serve.security.identity.audit import Actor
from serve.settings.ensembles import LearningSettings
from serve.state import State
from serve.state.tables import quality_samples, utc_now

ACTOR = Actor(address="continuous learning")
RETRAINED = "+site"
"""In the label of every version that `build_engines.retraining` makes."""
LEAST_PICTURES = 50
_Z95_ONE_SIDED = 1.645
_WORSE_SSIM = 0.005
"""Measured SSIM may fall by this much: less is noise."""

Act = Literal["wait", "train", "shadow", "split", "promote", "rollback"]


@dataclass(frozen=True)
class Step:
    """What is to be done, and why. ``version``: the candidate, where it is about one."""

    act: Act
    reason: str
    version: str | None = None


@dataclass(frozen=True)
class Fared:
    """Conversions of one version: absolute errors of the predictions, and measured SSIM."""

    errors: Sequence[float]
    ssim: Sequence[float]


def judge(current: Fared, candidate: Fared, age: timedelta, settings: LearningSettings) -> Step:
    """Of a candidate with users: promoted when it is surely better at predicting (95 %) and not surely worse in what it
    makes, taken back when it is surely worse in either, or when the trial is over."""
    least = min(len(current.errors), len(candidate.errors))
    late = age > timedelta(hours=settings.trial_max_h)
    if least < settings.trial_conversions:
        why = f"{least} of {settings.trial_conversions} conversions of each version"
        return Step("rollback", f"the trial is over with {why}") if late else Step("wait", why)
    low, high = _difference(candidate.errors, current.errors)
    ssim_low, ssim_high = _difference(candidate.ssim, current.ssim)
    said = f"its error differs by {low:+.4f} to {high:+.4f}, SSIM by {ssim_low:+.4f} to {ssim_high:+.4f}"
    if low > 0 or ssim_high < -_WORSE_SSIM:
        return Step("rollback", f"surely worse: {said}")
    if high < 0:
        return Step("promote", f"surely better: {said}")
    return Step("rollback", f"not surely better when the trial was over: {said}") if late else Step("wait", said)


def judge_shadow(current: npt.NDArray[np.float64], candidate: npt.NDArray[np.float64]) -> Step:
    """By the errors of both on the same conversions, (N,) each: users get the candidate unless it is surely worse
    (95 %). Fewer than two conversions have no deviation to judge by."""
    gaps = candidate - current
    if len(gaps) < 2:
        return Step("wait", f"{len(gaps)} conversions in the shadow; a judgement needs two")
    half = _Z95_ONE_SIDED * float(gaps.std(ddof=1)) / math.sqrt(len(gaps))
    low, high = float(gaps.mean()) - half, float(gaps.mean()) + half
    said = f"in the shadow of {len(gaps)} conversions its error differs by {low:+.4f} to {high:+.4f}"
    return Step("rollback", f"surely worse: {said}") if low > 0 else Step("split", f"not surely worse: {said}")


async def next_step(state: State) -> Step:
    """Raises NotFound without the engine here, StateUnavailable."""
    settings = state.settings.vectorizer.learning
    async with state.database.read() as connection:
        rollout = (await read_all(connection)).get(QUALITY)
    rollout = rollout or Rollout(QUALITY, await default_version(state, QUALITY))
    if rollout.candidate is not None:
        return await _of_candidate(state, rollout, settings)
    label = await _label(state, rollout.current)
    of_current = [one for one in await drift(state, settings.window) if one.version == label]
    if not of_current or not of_current[0].drifted:
        return Step("wait", "the predictions have not drifted")
    count = sum(one.conversions for one in of_current[0].windows)
    if count < settings.least_conversions:
        return Step("wait", f"drifted, with {count} of {settings.least_conversions} conversions to learn from")
    newest = of_current[0].windows[0]
    expected = of_current[0].validation_error
    return Step("train", f"drifted: an error of {newest.mean_absolute_error:.4f}, {expected} in the manifest")


async def begin_trial(state: State, version: str) -> Rollout:
    """Every replica examines ``version``; it has no users until its shadow was judged, or at once where the settings
    want none. Raises as `changes.load`."""
    rollout = await changes.load(state, QUALITY, version, ACTOR)
    if state.settings.vectorizer.learning.shadow_conversions:
        return rollout
    return await changes.split(state, QUALITY, state.settings.vectorizer.learning.percentage, ACTOR)


async def shadow_step(state: State, step: Step, client: InferenceClient) -> Step:
    """What the shadow of the candidate says: split or rollback; wait below two conversions. Raises the errors of the
    engine; once the trial is over they take the candidate back."""
    async with state.database.read() as connection:
        rollout = (await read_all(connection))[QUALITY]
    label, since = await _label(state, rollout.current) or "", rollout.updated_at or utc_now()
    assert step.version is not None
    try:
        judged = judge_shadow(*await shadowed(state.database, client, step.version, label, since))
    except StateUnavailable:
        raise
    except AtelierError as error:
        if not _late(since, state.settings.vectorizer.learning):
            raise
        judged = Step("rollback", f"the trial is over, and its engine fails in the shadow ({error.title})")
    return Step(judged.act, judged.reason, step.version)


async def apply(state: State, step: Step) -> Rollout | None:
    """Does a step other than training; None where there is nothing to do. Raises as the functions of `changes`."""
    if step.act == "split":
        return await changes.split(state, QUALITY, state.settings.vectorizer.learning.percentage, ACTOR)
    if step.act == "promote":
        return await changes.promote(state, QUALITY, step.version, ACTOR)
    if step.act == "rollback":
        rollout = await changes.rollback(state, QUALITY, step.version, ACTOR)
        return rollout if step.version is None else await changes.unload(state, QUALITY, step.version, ACTOR)
    return None


async def _of_candidate(state: State, rollout: Rollout, settings: LearningSettings) -> Step:
    assert rollout.candidate is not None
    label = await _label(state, rollout.candidate)
    if label is None or RETRAINED not in label:
        return Step("wait", f"{QUALITY}/{rollout.candidate} is on trial by somebody else")
    since = rollout.updated_at or utc_now()
    if rollout.percentage == 0:
        return await _of_shadow(state, rollout, since, settings)
    fared = await _fared(state, since)
    current = fared.get(await _label(state, rollout.current) or "", Fared((), ()))
    step = judge(current, fared.get(label, Fared((), ())), utc_now() - since, settings)
    return Step(step.act, step.reason, rollout.candidate)


async def _of_shadow(state: State, rollout: Rollout, since: datetime, settings: LearningSettings) -> Step:
    wanted = settings.shadow_conversions
    if not wanted:
        return Step("split", "loaded and examined, without traffic yet", rollout.candidate)
    count = await conversions_since(state.database, await _label(state, rollout.current) or "", since)
    why = f"{count} of {wanted} conversions to shadow"
    if count >= wanted:
        return Step("shadow", why, rollout.candidate)
    late = _late(since, settings)
    return Step("rollback" if late else "wait", f"the trial is over with {why}" if late else why, rollout.candidate)


def _late(since: datetime, settings: LearningSettings) -> bool:
    return utc_now() - since > timedelta(hours=settings.trial_max_h)


async def _label(state: State, version: str) -> str | None:
    folder = state.settings.vectorizer.model_repository / QUALITY
    if not folder.is_dir():
        raise NotFound(f"there is no engine '{QUALITY}' in the model repository here", "engine")
    return await asyncio.to_thread(version_label, folder, version)


async def _fared(state: State, since: datetime) -> dict[str, Fared]:
    """By version label, of the conversions since then."""
    s = quality_samples.c
    query = sa.select(s.engine_versions, s.prediction_error, s.actual_quality).where(s.created_at >= since)
    async with state.database.read() as connection:
        rows = (await connection.execute(query.order_by(s.seq.desc()).limit(MAX_SAMPLES))).all()
    errors: dict[str, list[float]] = {}
    ssim: dict[str, list[float]] = {}
    for row in rows:
        label = str(row.engine_versions.get(QUALITY, ""))
        errors.setdefault(label, []).append(abs(row.prediction_error))
        ssim.setdefault(label, []).append(row.actual_quality)
    return {label: Fared(errors[label], ssim[label]) for label in errors}


def _difference(first: Sequence[float], second: Sequence[float]) -> tuple[float, float]:
    """Bounds of the difference of the means, each one-sided with 95 % (Welch)."""
    a, b = np.asarray(first), np.asarray(second)
    half = _Z95_ONE_SIDED * math.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b))
    gap = float(a.mean() - b.mean())
    return gap - half, gap + half
