"""How the versions of an engine fare, side by side (D-083): as the arms of an experiment do, and how long they take."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import sqlalchemy as sa

from serve.errors import Conflict, NotFound
from serve.releases.experiments.report import report_of
from serve.releases.rollouts.rollout import Rollout, experiment_of, read_all
from serve.settings import ArmSettings, ExperimentSettings
from serve.state.database import Database
from serve.state.tables import exposures, measurements

MOST_TIMES = 20_000
"""Of each version, the newest."""
PERCENTILES = {"p50_time_s": 50, "p95_time_s": 95}
_TOLD = ("users", "units", "generations", "metrics")
_LEAST = 1e-6
"""Weights are above 0; a version that gets nobody any more has had somebody."""


async def compared(database: Database, engine: str) -> dict[str, Any]:
    """As of `serve.releases.experiments.report`, with percentiles of the time that it took to make what was made.

    Raises NotFound where nobody decided about the engine, Conflict while one version alone was ever chosen.
    """
    name = experiment_of(engine)
    async with database.read() as connection:
        rollout = (await read_all(connection)).get(engine)
        if rollout is None:
            raise NotFound(f"nobody has loaded a version of engine {engine[:64]!a} beside its current one", "engine")
        had = await connection.scalars(sa.select(exposures.c.arm).where(exposures.c.experiment == name).distinct())
        versions = sorted({*had, rollout.current, *rollout.others}, key=int)[-8:]
        if len(versions) < 2:
            raise Conflict(f"engine '{engine}' has one version: there is nothing to compare")
        times = {version: (await connection.scalars(_times(name, version))).all() for version in versions}
    arms = {version: ArmSettings(weight=_weight(rollout, version)) for version in versions}
    report = (await report_of(database, name, {name: ExperimentSettings(arms=arms)})).to_json()
    percentiles = await asyncio.to_thread(lambda: {version: _percentiles(found) for version, found in times.items()})
    told = [
        {"version": arm["arm"], **{key: arm[key] for key in _TOLD}, **percentiles[arm["arm"]]} for arm in report["arms"]
    ]
    return {"engine": engine, **{key: report[key] for key in ("since", "until", "enough", "note")}, "versions": told,
            "difference": report["difference"]}  # fmt: skip


def _weight(rollout: Rollout, version: str) -> float:
    on_trial = rollout.percentage if rollout.candidate is not None else 0.0
    shares = {rollout.current: 100.0 - on_trial, rollout.candidate: on_trial}
    return max(_LEAST, shares.get(version, 0.0))


def _times(name: str, version: str) -> sa.Select[Any]:
    e, m = exposures.c, measurements.c
    made = (m.success, ~m.cached)
    query = sa.select(m.generation_time_s).join(exposures, e.generation_id == m.generation_id)
    return query.where(e.experiment == name, e.arm == version, *made).order_by(m.seq.desc()).limit(MOST_TIMES)


def _percentiles(times: Any) -> dict[str, float | None]:
    if not times:
        return dict.fromkeys(PERCENTILES)
    return {name: float(np.percentile(times, percent)) for name, percent in PERCENTILES.items()}
