"""The engines of a site, their versions and rollouts, and the reports of its replicas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from serve.engines.triton import manifests
from serve.engines.triton.manifests import version_label
from serve.ensembles.vectorizer.vectorization import ENGINES
from serve.errors import Conflict, NotFound
from serve.releases.flags import share
from serve.settings import IllustratorSettings, Settings, VectorizerSettings
from serve.state import State
from serve.state.tables import replicas, rollouts, utc_now

_ALL = sa.select(rollouts).order_by(rollouts.c.engine)


@dataclass(frozen=True)
class Rollout:
    """``percentage`` (0 to 100) of users get ``candidate``, the others ``current``; ``previous`` preceded it."""

    engine: str
    current: str
    previous: str | None = None
    candidate: str | None = None
    percentage: float = 0.0
    asked: int = 0
    revision: int = 0
    updated_by: str | None = None
    updated_at: datetime | None = None

    def version_for(self, unit: str) -> str:
        """The version of a user, or of an anonymous request (`flags.flag.unit_of`): deterministic, and kept as the
        percentage rises."""
        if self.candidate is not None and 100.0 * share(f"engine {self.engine}", unit) < self.percentage:
            return self.candidate
        return self.current

    @property
    def others(self) -> Sequence[str]:
        """Versions loaded beside the current one."""
        return [version for version in (self.candidate, self.previous) if version is not None]

    def describe(self) -> str:
        """Description for the audit log."""
        trial = f", {self.candidate} at {self.percentage:g} %" if self.candidate is not None else ""
        before = f", before {self.previous}" if self.previous is not None else ""
        return f"{self.current}{before}{trial}"

    def row(self) -> dict[str, Any]:
        """Columns of the state, without author and time."""
        return {
            "engine": self.engine, "current": self.current, "previous": self.previous, "candidate": self.candidate,
            "percentage": self.percentage, "asked": self.asked, "revision": self.revision,
        }  # fmt: skip


async def read_all(connection: AsyncConnection) -> dict[str, Rollout]:
    """Stored rollouts by engine."""
    return {row["engine"]: Rollout(**row) for row in (await connection.execute(_ALL)).mappings()}


def concurrent_change_error(engine: str) -> Conflict:
    """The error of a command based on outdated state."""
    return Conflict(f"somebody else has changed engine '{engine}' meanwhile; look, and try again")


def experiment_name(engine: str) -> str:
    """Experiment name of a rollout's exposures; the space keeps it distinct from names in the settings."""
    return f"engine {engine}"


REPLICA_REPORT_TTL = timedelta(minutes=1)
"""Reports older than this are ignored; far more than clock differences between machines."""


@dataclass(frozen=True)
class ListedVersion:
    """One version of an engine. ``replicas`` of ``of`` have loaded it; ``failure``: reported by one of them."""

    engine: str
    version: str
    label: str | None
    role: str
    percentage: float
    replicas: int
    of: int
    failure: str


def repositories(settings: Settings) -> Sequence[Path]:
    return list(dict.fromkeys([settings.vectorizer.model_repository, settings.illustrator.model_repository]))


def ensemble_settings(settings: Settings, engine: str) -> VectorizerSettings | IllustratorSettings:
    """Settings of the ensemble that has the engine in its repository here. Raises NotFound."""
    either = (settings.vectorizer, settings.illustrator)
    for own in either if engine in ENGINES else reversed(either):
        if (own.model_repository / engine / manifests.CONFIG).is_file():
            return own
    raise NotFound(f"there is no engine {engine[:64]!a} in the model repository here", "engine")


async def default_version(state: State, engine: str) -> str:
    """The version served without a rollout. Raises NotFound."""
    if not _is_name(engine):
        raise NotFound(f"there is no engine {engine[:64]!a}", "engine")
    reports = [engines[engine]["current"] for engines in await _replica_reports(state) if engine in engines]
    try:
        there = manifests.version_numbers(ensemble_settings(state.settings, engine).model_repository / engine)
    except NotFound:  # on this machine
        if any(reports):
            return next(str(version) for version in reports if version)
        raise
    if not there:
        raise NotFound(f"engine '{engine}' has no version in the model repository here", "engine")
    return next((str(version) for version in reports if version in there), there[0])


async def list_versions(state: State) -> list[ListedVersion]:
    """All versions in the repository here or with a rollout."""
    async with state.database.read() as connection:
        decided = await read_all(connection)
    reports = await _replica_reports(state)
    found: dict[str, Path] = {}
    for repository in repositories(state.settings):
        for config in sorted(repository.glob(f"[!.]*/{manifests.CONFIG}")):
            found.setdefault(config.parent.name, config.parent)
    listed = []
    for engine in sorted({*found, *decided}):
        of = [engines[engine] for engines in reports if engine in engines]
        listed += _engine_versions(engine, found.get(engine), decided.get(engine), of)
    return listed


def _engine_versions(
    engine: str, folder: Path | None, decided: Rollout | None, reports: Sequence[Mapping[str, Any]]
) -> list[ListedVersion]:
    there = manifests.version_numbers(folder) if folder is not None else []
    rollout = decided or Rollout(engine, there[0] if there else "")
    versions = sorted({*there, rollout.current, *rollout.others} - {""}, key=int)
    return [_listed_version(rollout, version, folder, reports) for version in versions]


def _listed_version(
    rollout: Rollout, version: str, folder: Path | None, reports: Sequence[Mapping[str, Any]]
) -> ListedVersion:
    roles = {rollout.previous: "previous", rollout.candidate: "candidate", rollout.current: "current"}
    on_trial = rollout.percentage if rollout.candidate is not None else 0.0
    shares = {rollout.current: 100.0 - on_trial, rollout.candidate: on_trial}
    findings = [one["finding"] for one in reports if one.get("finding", {}).get("version") == version]
    reasons = [finding["reason"] for finding in findings if not finding["ok"]]
    if version == rollout.current:
        reasons += [one["failure"] for one in reports if "failure" in one]
    return ListedVersion(
        engine=rollout.engine,
        version=version,
        label=version_label(folder, version) if folder is not None else None,
        role=roles.get(version, "there"),
        percentage=shares.get(version, 0.0),
        replicas=sum(version in one["loaded"] for one in reports),
        of=len(reports),
        failure=reasons[0] if reasons else "",
    )


async def _replica_reports(state: State) -> list[Mapping[str, Any]]:
    """Engine reports of the live replicas, newest first."""
    query = sa.select(replicas.c.engines).where(replicas.c.updated_at >= utc_now() - REPLICA_REPORT_TTL)
    async with state.database.read() as connection:
        return [row.engines for row in await connection.execute(query.order_by(replicas.c.updated_at.desc()))]


def _is_name(engine: str) -> bool:
    return engine.replace("_", "").replace("-", "").replace(".", "").isalnum() and not engine.startswith(".")
