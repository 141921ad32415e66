"""The engines of a site, their versions, and what its replicas say of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from serve.engines.triton import repository_view
from serve.engines.triton.manifests import version_label
from serve.ensembles.vectorizer.vectorization import ENGINES
from serve.errors import NotFound
from serve.releases.rollouts.rollout import Rollout, read_all
from serve.settings import IllustratorSettings, Settings, VectorizerSettings
from serve.state import State
from serve.state.tables import replicas, utc_now

FORGOTTEN_AFTER = timedelta(minutes=1)
"""So long is a replica believed that says nothing any more: far longer than clocks of machines differ."""


@dataclass(frozen=True)
class Listed:
    """One version of one engine. ``replicas`` of ``of`` have loaded it; ``failure`` is what one of them says."""

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


def ensemble_of(settings: Settings, engine: str) -> VectorizerSettings | IllustratorSettings:
    """Whose engine it is, of those that have it in their repository here. Raises NotFound."""
    either = (settings.vectorizer, settings.illustrator)
    for own in either if engine in ENGINES else reversed(either):
        if (own.model_repository / engine / repository_view.CONFIG).is_file():
            return own
    raise NotFound(f"there is no engine {engine[:64]!a} in the model repository here", "engine")


async def default_of(state: State, engine: str) -> str:
    """What is served while nobody has said otherwise. Raises NotFound."""
    if not _is_name(engine):
        raise NotFound(f"there is no engine {engine[:64]!a}", "engine")
    told = [engines[engine]["current"] for engines in await _told(state) if engine in engines]
    try:
        there = repository_view.version_numbers(ensemble_of(state.settings, engine).model_repository / engine)
    except NotFound:  # on this machine
        if any(told):
            return next(str(version) for version in told if version)
        raise
    if not there:
        raise NotFound(f"engine '{engine}' has no version in the model repository here", "engine")
    return next((str(version) for version in told if version in there), there[0])


async def listed(state: State) -> list[Listed]:
    """Every version of every engine that the repository here has, or somebody decided about."""
    async with state.database.read() as connection:
        decided = await read_all(connection)
    told = await _told(state)
    found: dict[str, Path] = {}
    for repository in repositories(state.settings):
        for config in sorted(repository.glob(f"[!.]*/{repository_view.CONFIG}")):
            found.setdefault(config.parent.name, config.parent)
    listed = []
    for engine in sorted({*found, *decided}):
        of = [engines[engine] for engines in told if engine in engines]
        listed += _of_engine(engine, found.get(engine), decided.get(engine), of)
    return listed


def _of_engine(
    engine: str, folder: Path | None, decided: Rollout | None, told: Sequence[Mapping[str, Any]]
) -> list[Listed]:
    there = repository_view.version_numbers(folder) if folder is not None else []
    rollout = decided or Rollout(engine, there[0] if there else "")
    versions = sorted({*there, rollout.current, *rollout.others} - {""}, key=int)
    return [_listed(rollout, version, folder, told) for version in versions]


def _listed(rollout: Rollout, version: str, folder: Path | None, told: Sequence[Mapping[str, Any]]) -> Listed:
    roles = {rollout.previous: "previous", rollout.candidate: "candidate", rollout.current: "current"}
    on_trial = rollout.percentage if rollout.candidate is not None else 0.0
    shares = {rollout.current: 100.0 - on_trial, rollout.candidate: on_trial}
    findings = [one["finding"] for one in told if one.get("finding", {}).get("version") == version]
    reasons = [finding["reason"] for finding in findings if not finding["ok"]]
    if version == rollout.current:
        reasons += [one["failure"] for one in told if "failure" in one]
    return Listed(
        engine=rollout.engine,
        version=version,
        label=version_label(folder, version) if folder is not None else None,
        role=roles.get(version, "there"),
        percentage=shares.get(version, 0.0),
        replicas=sum(version in one["loaded"] for one in told),
        of=len(told),
        failure=reasons[0] if reasons else "",
    )


async def _told(state: State) -> list[Mapping[str, Any]]:
    """What each replica says of its engines, the newest word first; of one that has long been silent, nothing."""
    query = sa.select(replicas.c.engines).where(replicas.c.updated_at >= utc_now() - FORGOTTEN_AFTER)
    async with state.database.read() as connection:
        return [row.engines for row in await connection.execute(query.order_by(replicas.c.updated_at.desc()))]


def _is_name(engine: str) -> bool:
    return engine.replace("_", "").replace("-", "").replace(".", "").isalnum() and not engine.startswith(".")
