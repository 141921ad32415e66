"""`VersionSelector`: the engine versions of a request, the same for all requests of a user (D-083)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from serve.ensembles.info_cache import EnsembleInfoCache
from serve.ensembles.requests import IllustrateRequest, JobRequest, VectorizeRequest
from serve.releases.experiments.assignment import Exposure
from serve.releases.rollouts.site import Rollout, experiment_name, read_all
from serve.state.cached_value import CachedValue
from serve.state.database import Database
from serve.state.tables import exposures

CACHE_S = 1.0
"""Maximum delay until a gateway or worker sees a change."""

R = TypeVar("R", IllustrateRequest, VectorizeRequest)
_PREFIX = experiment_name("")
_HAD = sa.select(exposures.c.experiment, exposures.c.arm).where(
    exposures.c.generation_id == sa.bindparam("generation_id"), exposures.c.experiment.startswith(_PREFIX)
)


class VersionSelector:
    """Of one process, for one event loop. While the database is unavailable the last known state applies; without one,
    replicas use their defaults."""

    def __init__(
        self, database: Database, known: EnsembleInfoCache, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._database = database
        self._known = known
        initial: Mapping[str, Rollout] = {}
        self._rollouts = CachedValue("versions of engines", self._read, initial, CACHE_S, clock)

    async def assign(self, request: R, unit: str) -> R:
        """``request`` with the versions of ``unit``. Raises errors of the ensembles."""
        return with_versions(request, await self.versions(unit, draws=_draws(request), traces=_traces(request)))

    async def versions(self, unit: str, *, draws: bool = False, traces: bool = False) -> dict[str, str]:
        """Versions of the engines that have a rollout; all others have one version."""
        rollouts = await self._rollouts.get()
        if not rollouts:
            return {}
        engines = {
            **(await self._known.illustrator_versions() if draws else {}),
            **(await self._known.vectorizer_versions() if traces else {}),
        }
        return {engine: rollout.version_for(unit) for engine, rollout in rollouts.items() if engine in engines}

    async def resume(self, request: R, unit: str, connection: AsyncConnection, generation_id: str) -> R:
        """As ``assign``, but keeps the versions of the generation's previous attempt while they exist."""
        rows = await connection.execute(_HAD, {"generation_id": generation_id})
        had = {row.experiment.removeprefix(_PREFIX): row.arm for row in rows}
        there = {**await self._known.illustrator_versions(), **await self._known.vectorizer_versions()} if had else {}
        kept = {engine: version for engine, version in had.items() if f"{engine}/{version}" in there}
        fresh = await self.versions(unit, draws=_draws(request), traces=_traces(request))
        return with_versions(request, {**fresh, **kept})

    async def _read(self) -> Mapping[str, Rollout]:
        async with self._database.read() as connection:
            return await read_all(connection)


def with_versions(request: R, versions: Mapping[str, str]) -> R:
    if not versions and not request.options.engine_versions:
        return request  # a copy checks every option again
    return replace(request, options=replace(request.options, engine_versions=dict(versions)))


def exposures_of(request: IllustrateRequest | VectorizeRequest, user_id: str) -> list[Exposure]:
    """Exposures to the versions of a request."""
    return exposed(request.options.engine_versions, user_id)


def exposed(versions: Mapping[str, str], user_id: str) -> list[Exposure]:
    return [Exposure(experiment_name(engine), version, user_id) for engine, version in versions.items()]


def _draws(request: JobRequest) -> bool:
    return isinstance(request, IllustrateRequest)


def _traces(request: JobRequest) -> bool:
    return not isinstance(request, IllustrateRequest) or request.encoding.format == "svg"
