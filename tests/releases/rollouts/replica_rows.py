"""Rows of replicas in the database without running replicas; and one with a reconciler and a Triton stand-in."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import sqlalchemy as sa
from versioned import ENGINE

from serve.engines.triton.versions import EngineVersions
from serve.errors import EngineUnavailable
from serve.releases.rollouts.site import Rollout, read_all
from serve.releases.rollouts.version_reconciler import VersionReconciler
from serve.security.identity.audit import Actor
from serve.state import State
from serve.state.tables import replicas, rollouts, utc_now

ME = Actor(address="a test")


async def write_replica(state: State, replica: str, beat: int, status: Mapping[str, Any], **row: Any) -> None:
    """Replaces the row of ``replica`` with one that reports ``status`` of the engine."""
    values = {"id": replica, "beat": beat, "engines": {ENGINE: status}, "updated_at": utc_now(), **row}
    async with state.database.write() as connection:
        await connection.execute(sa.delete(replicas).where(replicas.c.id == replica))
        await connection.execute(replicas.insert(), values)


async def write_finding(state: State, replica: str, beat: int, version: str, asked: int, reason: str = "") -> None:
    finding = {"version": version, "asked": asked, "ok": not reason, "reason": reason, "took_s": 0.1}
    await write_replica(state, replica, beat, {"current": "1", "loaded": ["1", version], "finding": finding})


async def write_rollout(state: State, rollout: Rollout) -> None:
    async with state.database.write() as connection:
        await connection.execute(sa.delete(rollouts).where(rollouts.c.engine == rollout.engine))
        await connection.execute(rollouts.insert(), {**rollout.row(), "updated_at": utc_now()})


async def read_rollout(state: State) -> Rollout:
    async with state.database.read() as connection:
        return (await read_all(connection))[ENGINE]


class TritonServerStandIn:
    """Lists the versions that were set."""

    def __init__(self, *versions: str) -> None:
        self.versions: Mapping[str, Sequence[str]] = {ENGINE: versions}

    def set_view(self, engine: str, versions: Sequence[str]) -> None:
        pass

    def set_versions(self, engine: str, versions: Sequence[str]) -> None:
        self.versions = {**self.versions, engine: tuple(versions)}


class EngineClientStandIn:
    """Loads once ``may_load`` is set; every probe succeeds."""

    def __init__(self) -> None:
        self.may_load = asyncio.Event()
        self.may_load.set()
        self.loading = 0
        self.restart_reason: str | None = None

    def check_restarting(self, engine: str) -> None:
        if self.restart_reason is not None:
            raise EngineUnavailable(self.restart_reason)

    async def load(self, engine: str, timeout_s: float) -> None:
        self.loading += 1
        await self.may_load.wait()

    async def probe(self, engine: str, timeout_s: float | None = None, version: str = "") -> Mapping[str, Any]:
        return {}

    async def config(self, engine: str) -> Mapping[str, Any]:
        return {}


class ReplicaStandIn:
    def __init__(self, state: State, repository: Path, *loaded: str, engines: Sequence[str] = (ENGINE,)) -> None:
        self.client: Any = EngineClientStandIn()
        self.server: Any = TritonServerStandIn(*(loaded or ("1",)))
        self.server.versions = dict.fromkeys(engines, self.server.versions[ENGINE])
        self.versions = EngineVersions(repository, engines, self.client, self.server, {}, 30)
        engine_set: Any = SimpleNamespace(names=tuple(engines), versions=self.versions, client=self.client, owns=True)
        self.steward = VersionReconciler(state.settings, engine_set, repository)
