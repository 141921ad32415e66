"""The version reconciler of one replica: it applies decisions at once and loads no unfit version. Triton is a
stand-in."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from replica_rows import ME, ReplicaStandIn, read_rollout, write_replica, write_rollout
from versioned import CORRUPT, ENGINE, GOOD, NAMELESS, model, write_engine, write_version
from waiting import until

from serve.engines.engine_set import EngineSet
from serve.errors import Conflict, EngineUnavailable
from serve.releases.rollouts import changes
from serve.releases.rollouts.site import Rollout
from serve.settings import Settings
from serve.state import State
from serve.state.tables import replicas, utc_now

OTHER = "other"


@pytest.fixture
def settings(repository_settings: Settings) -> Settings:
    return repository_settings


@contextlib.asynccontextmanager
async def running(replica: ReplicaStandIn) -> AsyncIterator[ReplicaStandIn]:
    replica.steward.start()
    try:
        await until(lambda: replica.steward._last is not None)  # it has written its row
        yield replica
    finally:
        replica.client.may_load.set()
        await replica.steward.close()


async def test_rollback_is_applied_while_another_version_loads(state: State, repository: Path) -> None:
    """D-091: however long the load takes."""
    write_version(repository, "20", model(20.0))
    await write_rollout(state, Rollout(ENGINE, GOOD, previous="1", asked=1))
    async with running(ReplicaStandIn(state, repository, "1", GOOD)) as replica:
        await until(lambda: replica.versions.current[ENGINE] == GOOD)
        replica.client.may_load.clear()
        loading = asyncio.create_task(changes.load(state, ENGINE, "20", ME))
        await until(lambda: replica.client.loading > 0)
        await changes.rollback(state, ENGINE, GOOD, ME)
        await until(lambda: replica.versions.current[ENGINE] == "1")
        assert not replica.client.may_load.is_set()
        with pytest.raises(Conflict, match="somebody else has changed"):
            await loading
        replica.client.may_load.set()
        await until(lambda: "20" in replica.server.versions[ENGINE])
        assert replica.versions.current[ENGINE] == "1"


async def test_loading_engine_does_not_delay_another(state: State, repository: Path) -> None:
    write_engine(repository, OTHER)
    write_version(repository, GOOD, model(2.0), engine=OTHER)
    async with running(ReplicaStandIn(state, repository, engines=(OTHER, ENGINE))) as replica:
        replica.client.may_load.clear()
        await write_rollout(state, Rollout(OTHER, "1", candidate=GOOD, asked=1))
        await until(lambda: replica.client.loading == 1)
        await write_rollout(state, Rollout(ENGINE, "1", candidate=GOOD, asked=1))
        await until(lambda: replica.client.loading == 2)


async def test_triton_restart_is_no_failure_of_a_version(state: State, repository: Path) -> None:
    replica = ReplicaStandIn(state, repository)
    replica.client.restart_reason = "it is being restarted"
    with pytest.raises(EngineUnavailable, match="restarted"):
        async with replica.versions.using({ENGINE: GOOD}):
            pass
    replica.client.restart_reason = None
    async with replica.versions.using({ENGINE: GOOD}):
        assert GOOD in replica.server.versions[ENGINE]


async def test_unfit_version_is_never_loaded(state: State, repository: Path) -> None:
    """Also when a request names it; a version is blocked once this replica found it unfit."""
    replica = ReplicaStandIn(state, repository)
    for version, reason in ((CORRUPT, "checksum"), (NAMELESS, "no manifest"), ("99", "is not in the model rep")):
        with pytest.raises(EngineUnavailable, match=reason):
            async with replica.versions.using({ENGINE: version}):
                pass
    late = ReplicaStandIn(state, repository, GOOD)
    async with late.versions.using({ENGINE: "1"}):
        pass  # another version has the same label: going back stays possible all the same
    replica.versions.block(ENGINE, GOOD, "numbers that are not finite")
    with pytest.raises(EngineUnavailable, match="not finite"):
        async with replica.versions.using({ENGINE: GOOD}):
            pass
    assert replica.server.versions[ENGINE] == ("1",)
    replica.versions.clear_failures(ENGINE)
    async with replica.versions.using({ENGINE: GOOD}) as chosen:
        assert chosen == {ENGINE: GOOD}


async def test_changed_file_is_not_loaded_by_a_later_replica(state: State, repository: Path) -> None:
    async with running(ReplicaStandIn(state, repository)) as replica:
        await changes.load(state, ENGINE, GOOD, ME)
        await changes.split(state, ENGINE, 50, ME)
        path = repository / ENGINE / GOOD / "model.onnx"
        path.write_bytes(path.read_bytes() + b"x")
        with pytest.raises(Conflict, match="checksum"):
            await changes.promote(state, ENGINE, None, ME)
        assert (await read_rollout(state)).percentage == 0.0
        assert replica.server.versions[ENGINE] == ("1", GOOD), "what is under way ends as it began"
        async with running(ReplicaStandIn(state, repository)) as late:
            with pytest.raises(EngineUnavailable, match="checksum"):
                async with late.versions.using({ENGINE: GOOD}):
                    pass


async def test_half_written_manifest_does_not_block_other_versions(state: State, repository: Path) -> None:
    (repository / ENGINE / "20").mkdir()
    (repository / ENGINE / "20" / "manifest.json").write_text('{"version": ')
    write_engine(repository, OTHER)
    write_version(repository, GOOD, model(2.0), engine=OTHER)
    assert EngineSet(repository, [ENGINE]).versions.label(ENGINE) == "1.0", "a replica starts"
    async with running(ReplicaStandIn(state, repository, engines=(ENGINE, OTHER))) as replica:
        with pytest.raises(Conflict, match="times/20: its manifest cannot be used"):
            await changes.load(state, ENGINE, "20", ME)
        async with replica.versions.using({ENGINE: GOOD}):
            pass
        await write_rollout(state, Rollout(OTHER, GOOD))
        await until(lambda: replica.versions.current[OTHER] == GOOD)


async def test_start_removes_rows_of_dead_replicas(state: State, repository: Path) -> None:
    status = {"current": "1", "loaded": ["1"]}
    await write_replica(state, "last month's", 1, status, updated_at=utc_now() - timedelta(days=30))
    await write_replica(state, "another that works", 1, status)
    async with running(ReplicaStandIn(state, repository)), state.database.read() as connection:
        there = (await connection.scalars(sa.select(replicas.c.id))).all()
    assert len(there) == 2
    assert "last month's" not in there
