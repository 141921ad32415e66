"""Report of an experiment: conversion, rating, quality, time and errors per arm, each with its interval.

A generation converts if it is a favourite, rated 4 or more, kept, downloaded or shared. Time counts generations that
were computed, the error rate all finished ones. A generation counts for its user's arm, whichever service drew it. For
anonymous users each request is a unit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from serve.errors import NotFound
from serve.releases.experiments import intervals
from serve.releases.experiments.intervals import CONFIDENCE, Estimate, Sums
from serve.settings import ExperimentSettings
from serve.state.database import Database
from serve.state.job_states import ANONYMOUS
from serve.state.tables import exposures, feedback, generations, measurements, results

GOOD_RATING = 4.0
CONVERTING = ("favorite", "download", "keep", "share")
"""Kinds of feedback that count as conversion (C-057)."""
RATES = ("conversion_rate", "error_rate")
MEANS = ("mean_rating", "mean_quality", "mean_time_s")
METRICS = (*RATES, *MEANS)
_SUMS = ("units", "n", "x", "nn", "xx", "nx")


@dataclass(frozen=True)
class ArmReport:
    """``units``: users and anonymous requests; ``users``: users alone."""

    arm: str
    weight: float
    users: int
    units: int
    generations: int
    metrics: Mapping[str, Estimate]


@dataclass(frozen=True)
class ExperimentReport:
    """``difference``: second arm minus first; None, with ``note``, while there are too few units."""

    experiment: str
    confidence: float
    since: datetime | None
    until: datetime | None
    enough: bool
    note: str | None
    arms: Sequence[ArmReport]
    difference: Mapping[str, Estimate] | None

    def to_json(self) -> dict[str, Any]:
        fields = asdict(self)
        return {**fields, **{name: when and when.isoformat() for name, when in self._times().items()}}

    def _times(self) -> dict[str, datetime | None]:
        return {"since": self.since, "until": self.until}


async def report_of(database: Database, name: str, settings: Mapping[str, ExperimentSettings]) -> ExperimentReport:
    """Raises NotFound for an unknown experiment, StateUnavailable."""
    experiment = settings.get(name)
    if experiment is None:
        there = ", ".join(settings) or "none"
        raise NotFound(f"there is no experiment {name[:64]!a}; the settings name: {there}", "name")
    async with database.read() as connection:
        rows = {row["arm"]: row for row in (await connection.execute(_BY_ARM, {"named": name})).mappings()}
    return await asyncio.to_thread(_report, name, experiment, rows)


def _report(name: str, experiment: ExperimentSettings, rows: Mapping[str, Mapping[str, Any]]) -> ExperimentReport:
    sums = {arm: {metric: _sums(rows.get(arm), metric) for metric in METRICS} for arm in experiment.arms}
    arms = [_arm(arm, settings.weight, rows.get(arm), sums[arm]) for arm, settings in experiment.arms.items()]
    few = [f"{one.arm} has {one.units} of {experiment.min_units}" for one in arms if one.units < experiment.min_units]
    note = f"not enough yet: {'; '.join(few)} users or single requests" if few else None
    difference = None
    if len(arms) == 2 and not few:
        one, other = arms
        difference = {rate: intervals.rate_difference(one.metrics[rate], other.metrics[rate]) for rate in RATES}
        difference |= {mean: intervals.mean_difference(sums[one.arm][mean], sums[other.arm][mean]) for mean in MEANS}
    seen = [row for arm, row in rows.items() if arm in experiment.arms]
    since, until = min((row["since"] for row in seen), default=None), max((row["until"] for row in seen), default=None)
    return ExperimentReport(name, CONFIDENCE, since, until, not few, note, arms, difference)


def _arm(arm: str, weight: float, row: Mapping[str, Any] | None, sums: Mapping[str, Sums]) -> ArmReport:
    metrics = {rate: intervals.rate(sums[rate]) for rate in RATES} | {
        mean: intervals.mean(sums[mean]) for mean in MEANS
    }
    users, units, made = (int(row[name]) if row is not None else 0 for name in ("users", "units", "generations"))
    return ArmReport(arm, weight, users, units, made, metrics)


def _sums(row: Mapping[str, Any] | None, metric: str) -> Sums:
    values = [float(row[f"{metric}_{name}"] or 0.0) if row is not None else 0.0 for name in _SUMS]
    return Sums(int(values[0]), *values[1:])


def _generations() -> sa.Subquery:
    """One row per finished generation with its value of each metric, or NULL."""
    e, g, m, r, f = exposures.c, generations.c, measurements.c, results.c, feedback.c
    known = e.user_id != ANONYMOUS
    liked = sa.exists().where(f.generation_id == e.generation_id, f.kind.in_(CONVERTING))
    converted = sa.or_(sa.func.coalesce(g.favorite, sa.false()), sa.func.coalesce(g.rating, 0.0) >= GOOD_RATING, liked)
    quality = sa.select(sa.func.avg(r.score)).where(r.generation_id == e.generation_id).scalar_subquery()
    values = {
        "conversion_rate": sa.case((m.success, sa.case((converted, 1.0), else_=0.0))),
        "error_rate": sa.case((m.success, 0.0), else_=1.0),
        "mean_rating": g.rating,
        "mean_quality": quality,
        "mean_time_s": sa.case((sa.and_(m.success, ~m.cached), m.generation_time_s)),
    }
    return (
        sa.select(
            e.arm, e.created_at, sa.case((known, 1), else_=0).label("known"),
            sa.case((known, sa.literal("u").concat(e.user_id)), else_=sa.literal("g").concat(e.generation_id)).label(
                "unit"
            ),
            *(sa.cast(value, sa.Double).label(metric) for metric, value in values.items()),
        )
        .join(measurements, m.generation_id == e.generation_id)
        .outerjoin(generations, g.id == e.generation_id)
        .where(e.experiment == sa.bindparam("named"))
        .subquery()
    )  # fmt: skip


def _by_arm() -> sa.Select[Any]:
    """Sums per arm over its units, for `intervals.Sums`."""
    one = _generations().c
    own = [sa.func.count().label("of_unit"), sa.func.max(one.known).label("known")]
    own += [sa.func.min(one.created_at).label("since"), sa.func.max(one.created_at).label("until")]
    for metric in METRICS:
        own += [sa.func.count(one[metric]).label(f"{metric}_n"), sa.func.sum(one[metric]).label(f"{metric}_x")]
    unit = sa.select(one.arm, *own).group_by(one.arm, one.unit).subquery().c
    whole = [
        sa.func.count().label("units"), sa.func.sum(unit.known).label("users"),
        sa.func.sum(unit.of_unit).label("generations"),
        sa.func.min(unit.since).label("since"), sa.func.max(unit.until).label("until"),
    ]  # fmt: skip
    for metric in METRICS:
        n, x = sa.cast(unit[f"{metric}_n"], sa.Double), unit[f"{metric}_x"]
        of = {"n": n, "x": x, "nn": n * n, "xx": x * x, "nx": n * x}
        whole.append(sa.func.count(sa.case((n > 0, 1))).label(f"{metric}_units"))
        whole += [sa.func.sum(value).label(f"{metric}_{name}") for name, value in of.items()]
    return sa.select(unit.arm, *whole).group_by(unit.arm)


_BY_ARM = _by_arm()
