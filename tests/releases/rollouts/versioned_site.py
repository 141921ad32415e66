"""A site in one process: a database, replicas of one ensemble with a Triton each, and callers that choose versions."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from versioned import ENGINE

from serve.engines.engine_set import EngineSet, EngineSetService
from serve.ensembles.info_cache import EnsembleInfoCache
from serve.releases.flags import unit_of
from serve.releases.rollouts.site import Rollout, read_all
from serve.releases.rollouts.version_reconciler import VersionReconciler, current_versions
from serve.releases.rollouts.version_selector import VersionSelector
from serve.state import State

X = {"x": np.ones((1, 4), np.float32)}


class Replica(EngineSetService):
    """An ensemble of one engine, with its version reconciler."""

    def __init__(self, state: State, repository: Path, current: Mapping[str, str]) -> None:
        super().__init__(EngineSet(repository, [ENGINE], current=current))
        self.steward = VersionReconciler(state.settings, self.engine_set, repository)

    async def multiply(self, versions: Mapping[str, str]) -> float:
        async with self.engine_set.versions.using(versions) as chosen:
            return float((await self.engine_set.client.infer(ENGINE, X, version=chosen[ENGINE]))["y"][0, 0])


@dataclass
class VersionedSite:
    state: State
    replicas: Sequence[Replica]
    choosing: VersionSelector
    answers: list[tuple[float, str, float]] = field(default_factory=list)
    """When, by whom, and what by it was multiplied."""

    async def ask(self, user: str, replica: int = 0) -> float:
        versions = await self.choosing.versions(unit_of(user), traces=True)
        factor = await self.replicas[replica].multiply(versions)
        self.answers.append((time.monotonic(), user, factor))
        return factor

    @contextlib.asynccontextmanager
    async def under_load(self, users: int = 8) -> AsyncIterator[None]:
        """Raises the first error of any request."""
        ended = asyncio.Event()

        async def go_on(user: str, replica: int) -> None:
            while not ended.is_set():
                await self.ask(user, replica)
                await asyncio.sleep(0.02)  # users pause: the machine has other tests to run

        async with asyncio.TaskGroup() as group:
            for i in range(users):
                group.create_task(go_on(f"user-{i}", i % len(self.replicas)))
            yield
            ended.set()

    async def settle(self) -> None:
        """Waits until callers and replicas act on what the database has."""
        async with self.state.database.read() as connection:
            wanted = await read_all(connection)
        async with asyncio.timeout(60):
            while await self.choosing._rollouts.get() != wanted or not self._replicas_follow(wanted):  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    def _replicas_follow(self, wanted: Mapping[str, Rollout]) -> bool:
        currents = [one.engine_set.versions.current for one in self.replicas]
        return all(current[engine] == one.current for current in currents for engine, one in wanted.items())


@contextlib.asynccontextmanager
async def versioned_site(state: State, repository: Path, count: int = 2) -> AsyncIterator[VersionedSite]:
    async with contextlib.AsyncExitStack() as closing:
        replicas = [await opened(state, repository, closing) for _ in range(count)]
        vectorizer: Any = replicas[0]
        yield VersionedSite(state, replicas, VersionSelector(state.database, EnsembleInfoCache(None, vectorizer)))


async def opened(state: State, repository: Path, closing: contextlib.AsyncExitStack) -> Replica:
    """Starts and stops like a replica of Ray Serve."""
    replica = Replica(state, repository, await current_versions(state.settings))
    closing.push_async_callback(replica.engine_set.close)
    await replica.engine_set.start()
    replica.steward.start()
    closing.push_async_callback(replica.steward.close)
    return replica
