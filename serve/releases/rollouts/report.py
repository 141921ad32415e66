"""Comparison of an engine's versions (D-083): the metrics of an experiment's arms, and time percentiles."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import sqlalchemy as sa

from serve.errors import Conflict, NotFound
from serve.releases.experiments.report import report_of
from serve.releases.rollouts.site import Rollout, experiment_name, read_all
from serve.settings import ArmSettings, ExperimentSettings
from serve.state.database import Database
from serve.state.tables import exposures, measurements

MAX_TIMES = 20_000
"""Per version, the newest."""
PERCENTILES = {"p50_time_s": 50, "p95_time_s": 95}
_ARM_FIELDS = ("users", "units", "generations", "metrics")
_MIN_WEIGHT = 1e-6
"""Weights must be positive, also for versions without traffic now."""


async def compare_versions(database: Database, engine: str) -> dict[str, Any]:
    """As `serve.releases.experiments.report`, plus percentiles of the computing time.

    Raises NotFound for an engine without a rollout, Conflict if only one version was ever used.
    """
    name = experiment_name(engine)
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
    rows = [
        {"version": arm["arm"], **{key: arm[key] for key in _ARM_FIELDS}, **percentiles[arm["arm"]]}
        for arm in report["arms"]
    ]
    return {"engine": engine, **{key: report[key] for key in ("since", "until", "enough", "note")}, "versions": rows,
            "difference": report["difference"]}  # fmt: skip


def _weight(rollout: Rollout, version: str) -> float:
    on_trial = rollout.percentage if rollout.candidate is not None else 0.0
    shares = {rollout.current: 100.0 - on_trial, rollout.candidate: on_trial}
    return max(_MIN_WEIGHT, shares.get(version, 0.0))


def _times(name: str, version: str) -> sa.Select[Any]:
    e, m = exposures.c, measurements.c
    made = (m.success, ~m.cached)
    query = sa.select(m.generation_time_s).join(exposures, e.generation_id == m.generation_id)
    return query.where(e.experiment == name, e.arm == version, *made).order_by(m.seq.desc()).limit(MAX_TIMES)


def _percentiles(times: Any) -> dict[str, float | None]:
    if not times:
        return dict.fromkeys(PERCENTILES)
    return {name: float(np.percentile(times, percent)) for name, percent in PERCENTILES.items()}
