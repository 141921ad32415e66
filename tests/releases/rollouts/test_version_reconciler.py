"""What one replica does about versions: at once what it can, and nothing that is not fit. Its Triton only pretends."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from told_replicas import ME, PretendedReplica, decide, decided, tell
from versioned import CORRUPT, ENGINE, GOOD, NAMELESS, model, write_engine, write_version
from waiting import until

from serve.engines.engine_set import EngineSet
from serve.errors import Conflict, EngineUnavailable
from serve.releases.rollouts import changes
from serve.releases.rollouts.rollout import Rollout
from serve.settings import Settings
from serve.state import State
from serve.state.tables import replicas, utc_now

OTHER = "other"


@pytest.fixture
def settings(repository_settings: Settings) -> Settings:
    return repository_settings


@contextlib.asynccontextmanager
async def at_work(replica: PretendedReplica) -> AsyncIterator[PretendedReplica]:
    replica.steward.start()
    try:
        await asyncio.sleep(0.6)  # until it has told of itself
        yield replica
    finally:
        replica.client.may_load.set()
        await replica.steward.close()


async def test_a_rollback_is_followed_while_another_version_loads(state: State, repository: Path) -> None:
    """D-091: about a second, however long that takes."""
    write_version(repository, "20", model(20.0))
    await decide(state, Rollout(ENGINE, GOOD, previous="1", asked=1))
    async with at_work(PretendedReplica(state, repository, "1", GOOD)) as replica:
        await until(lambda: replica.versions.current[ENGINE] == GOOD)
        replica.client.may_load.clear()
        loading = asyncio.create_task(changes.load(state, ENGINE, "20", ME))
        await until(lambda: replica.client.loading > 0)
        await changes.rollback(state, ENGINE, GOOD, ME)
        began = time.monotonic()
        await until(lambda: replica.versions.current[ENGINE] == "1")
        assert time.monotonic() - began < 3.0
        with pytest.raises(Conflict, match="somebody else has changed"):
            await loading
        replica.client.may_load.set()
        await until(lambda: "20" in replica.server.versions[ENGINE])
        assert replica.versions.current[ENGINE] == "1"


async def test_an_engine_that_loads_keeps_no_other_waiting(state: State, repository: Path) -> None:
    write_engine(repository, OTHER)
    write_version(repository, GOOD, model(2.0), engine=OTHER)
    async with at_work(PretendedReplica(state, repository, engines=(OTHER, ENGINE))) as replica:
        replica.client.may_load.clear()
        await decide(state, Rollout(OTHER, "1", candidate=GOOD, asked=1))
        await until(lambda: replica.client.loading == 1)
        await decide(state, Rollout(ENGINE, "1", candidate=GOOD, asked=1))
        await until(lambda: replica.client.loading == 2)


async def test_a_restart_of_triton_is_no_failure_of_the_version_that_is_wanted(state: State, repository: Path) -> None:
    replica = PretendedReplica(state, repository)
    replica.client.restart_reason = "it is being restarted"
    with pytest.raises(EngineUnavailable, match="restarted"):
        async with replica.versions.using({ENGINE: GOOD}):
            pass
    replica.client.restart_reason = None
    async with replica.versions.using({ENGINE: GOOD}):
        assert GOOD in replica.server.versions[ENGINE]


async def test_what_is_not_fit_is_loaded_for_nobody(state: State, repository: Path) -> None:
    """Whoever names it; and not at all once this replica has found it unfit."""
    replica = PretendedReplica(state, repository)
    for version, reason in ((CORRUPT, "checksum"), (NAMELESS, "no manifest"), ("99", "is not in the model rep")):
        with pytest.raises(EngineUnavailable, match=reason):
            async with replica.versions.using({ENGINE: version}):
                pass
    late = PretendedReplica(state, repository, GOOD)
    async with late.versions.using({ENGINE: "1"}):
        pass  # though another one calls itself as it does: to go back is possible whatever else lies there
    replica.versions.block(ENGINE, GOOD, "numbers that are not finite")
    with pytest.raises(EngineUnavailable, match="not finite"):
        async with replica.versions.using({ENGINE: GOOD}):
            pass
    assert replica.server.versions[ENGINE] == ("1",)
    replica.versions.clear_failures(ENGINE)
    async with replica.versions.using({ENGINE: GOOD}) as chosen:
        assert chosen == {ENGINE: GOOD}


async def test_a_file_that_rots_is_served_by_no_replica_that_starts_later(state: State, repository: Path) -> None:
    async with at_work(PretendedReplica(state, repository)) as replica:
        await changes.load(state, ENGINE, GOOD, ME)
        await changes.split(state, ENGINE, 50, ME)
        path = repository / ENGINE / GOOD / "model.onnx"
        path.write_bytes(path.read_bytes() + b"x")
        with pytest.raises(Conflict, match="checksum"):
            await changes.promote(state, ENGINE, None, ME)
        assert (await decided(state)).percentage == 0.0
        assert replica.server.versions[ENGINE] == ("1", GOOD), "what is under way ends as it began"
        async with at_work(PretendedReplica(state, repository)) as late:
            with pytest.raises(EngineUnavailable, match="checksum"):
                async with late.versions.using({ENGINE: GOOD}):
                    pass


async def test_a_half_written_manifest_keeps_nobody_from_the_others(state: State, repository: Path) -> None:
    (repository / ENGINE / "20").mkdir()
    (repository / ENGINE / "20" / "manifest.json").write_text('{"version": ')
    write_engine(repository, OTHER)
    write_version(repository, GOOD, model(2.0), engine=OTHER)
    assert EngineSet(repository, [ENGINE]).versions.label(ENGINE) == "1.0", "a replica starts"
    async with at_work(PretendedReplica(state, repository, engines=(ENGINE, OTHER))) as replica:
        with pytest.raises(Conflict, match="times/20: its manifest cannot be used"):
            await changes.load(state, ENGINE, "20", ME)
        async with replica.versions.using({ENGINE: GOOD}):
            pass
        await decide(state, Rollout(OTHER, GOOD))
        await until(lambda: replica.versions.current[OTHER] == GOOD)


async def test_who_begins_forgets_who_died(state: State, repository: Path) -> None:
    told = {"current": "1", "loaded": ["1"]}
    await tell(state, "last month's", 1, told, updated_at=utc_now() - timedelta(days=30))
    await tell(state, "another that works", 1, told)
    async with at_work(PretendedReplica(state, repository)), state.database.read() as connection:
        there = (await connection.scalars(sa.select(replicas.c.id))).all()
    assert len(there) == 2
    assert "last month's" not in there
