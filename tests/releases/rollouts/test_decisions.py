"""Concurrent, repeated and outdated decisions about versions, and rows of dead replicas. No Triton runs."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from replica_rows import ME, read_rollout, write_finding, write_replica, write_rollout
from versioned import ENGINE, GOOD
from waiting import until

from serve.errors import Conflict, EngineUnavailable
from serve.releases.rollouts import changes, smoke_test, version_reconciler
from serve.releases.rollouts.site import Rollout, default_version, ensemble_settings, list_versions
from serve.releases.rollouts.version_reconciler import REPLICA_TIMEOUT_S
from serve.settings import Settings
from serve.state import State
from serve.state.tables import utc_now

OLD = timedelta(days=30)
Decides = Callable[[State], Awaitable[Rollout]]


@pytest.fixture
def settings(repository_settings: Settings) -> Settings:
    return repository_settings


class Clock:
    """Of the reconciler, which reads it once for each look at the replicas."""

    def __init__(self) -> None:
        self.now = 0.0
        self.looks = 0

    def monotonic(self) -> float:
        self.looks += 1
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(version_reconciler, "time", found)
    monkeypatch.setattr(version_reconciler, "POLL_S", 0.01)
    return found


async def looked(clock: Clock) -> None:
    """Waits until the replicas have been read anew."""
    before = clock.looks
    await until(lambda: clock.looks >= before + 2)


async def begun(doing: Awaitable[Rollout], clock: Clock) -> asyncio.Task[Rollout]:
    """Starts it and waits until it waits for the replicas."""
    task = asyncio.ensure_future(doing)
    await until(lambda: task.done() or clock.looks >= 3)
    assert not task.done(), task
    return task  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("decides", "percentage"),
    [
        (lambda state: changes.rollback(state, ENGINE, None, ME), 20.0),
        (lambda state: changes.rollback(state, ENGINE, GOOD, ME), 0.0),
        (lambda state: changes.split(state, ENGINE, 5, ME), 20.0),
        (lambda state: changes.unload(state, ENGINE, GOOD, ME), 20.0),
    ],
    ids=["rollback", "rollback by name", "split", "unload"],
)
async def test_decision_during_a_promotion_stands(
    state: State, clock: Clock, decides: Decides, percentage: float
) -> None:
    """D-091: above all a rollback."""
    await write_rollout(state, Rollout(ENGINE, "1", candidate=GOOD, percentage=percentage, asked=1))
    await write_replica(state, "r1", 1, {"current": "1", "loaded": ["1", GOOD]})
    promoting = await begun(changes.promote(state, ENGINE, None, ME), clock)
    decision = await decides(state)
    await write_finding(state, "r1", 2, GOOD, 2)
    with pytest.raises(Conflict, match="somebody else has changed engine 'times' meanwhile"):
        await promoting
    now = await read_rollout(state)
    assert (now.current, now.candidate, now.percentage) == ("1", decision.candidate, decision.percentage)


async def test_concurrent_first_decisions_conflict(state: State) -> None:
    """No row exists yet that could be locked."""
    before = Rollout(ENGINE, "1")
    for _ in range(5):
        both = await asyncio.gather(
            *(changes._request_check(state, before, version, ME) for version in ("2", "3")), return_exceptions=True
        )
        (accepted,) = [one for one in both if isinstance(one, Rollout)]
        (refused,) = [one for one in both if not isinstance(one, Rollout)]
        assert isinstance(refused, Conflict)
        now = await read_rollout(state)
        assert (now.candidate, now.asked) == (accepted.candidate, 1)
        async with state.database.write() as connection:
            await connection.execute(sa.text("DELETE FROM rollouts"))


async def test_refused_candidate_loses_its_traffic(state: State, clock: Clock) -> None:
    """D-091: unfit versions are not served."""
    await write_rollout(state, Rollout(ENGINE, "1", candidate=GOOD, percentage=50, asked=1))
    await write_replica(state, "r1", 1, {"current": "1", "loaded": ["1", GOOD]})
    promoting = await begun(changes.promote(state, ENGINE, None, ME), clock)
    await write_finding(state, "r1", 2, GOOD, 2, reason="the checksum is another")
    with pytest.raises(Conflict, match="checksum"):
        await promoting
    now = await read_rollout(state)
    assert (now.current, now.candidate, now.percentage) == ("1", GOOD, 0.0)


async def test_repeated_rollback_does_nothing_more(state: State) -> None:
    """HAProxy may send a request twice, and a user may repeat a command."""
    split = Rollout(ENGINE, "2", previous="1", candidate="3", percentage=10, asked=2)
    await write_rollout(state, split)
    assert (await changes.rollback(state, ENGINE, None, ME)).describe() == "2, before 1, 3 at 0 %"
    with pytest.raises(Conflict, match="its candidate 3 has no traffic; to go back from 2 to 1, name 2"):
        await changes.rollback(state, ENGINE, None, ME)
    assert (await changes.rollback(state, ENGINE, "3", ME)).describe() == "2, before 1, 3 at 0 %"
    for _ in range(2):
        assert (await changes.rollback(state, ENGINE, "2", ME)).describe() == "1, 2 at 0 %"
    with pytest.raises(Conflict, match="no version to go back to"):
        await changes.rollback(state, ENGINE, None, ME)
    with pytest.raises(Conflict, match="times/3 has no traffic"):
        await changes.rollback(state, ENGINE, "3", ME)


async def test_replica_that_dies_is_not_waited_for(state: State, clock: Clock) -> None:
    for replica in ("lives", "dies"):
        await write_replica(state, replica, 1, {"current": "1", "loaded": ["1"]})
    loading = await begun(changes.load(state, ENGINE, GOOD, ME), clock)
    await write_replica(state, "dies", 2, {"current": "1", "loaded": ["1"]})  # its last beat
    await write_finding(state, "lives", 2, GOOD, 1)
    await looked(clock)
    clock.now += 0.9 * REPLICA_TIMEOUT_S
    await looked(clock)
    assert not loading.done(), "it might be slow"
    clock.now += 0.2 * REPLICA_TIMEOUT_S
    async with asyncio.timeout(60):
        assert (await loading).candidate == GOOD


async def test_slow_replica_is_waited_for(state: State, clock: Clock) -> None:
    await write_finding(state, "fast", 1, GOOD, 1)
    await write_replica(state, "slow", 1, {"current": "1", "loaded": ["1"]})
    loading = await begun(changes.load(state, ENGINE, GOOD, ME), clock)
    for beat in range(2, 6):
        clock.now += 0.6 * REPLICA_TIMEOUT_S
        await write_replica(state, "slow", beat, {"current": "1", "loaded": ["1"]})
        await looked(clock)
        assert not loading.done()
    await write_finding(state, "slow", 6, GOOD, 1, reason="it gives no numbers")
    with pytest.raises(Conflict, match="no numbers"):
        await loading


async def test_rows_of_dead_replicas_are_ignored(state: State, repository: Path) -> None:
    await write_replica(state, "killed", 1, {"current": "7", "loaded": ["7"]}, updated_at=utc_now() - OLD)
    assert await default_version(state, ENGINE) == "1"
    await write_replica(state, "younger", 9, {"current": "3", "loaded": ["3"]})
    await write_replica(
        state, "older", 9, {"current": GOOD, "loaded": [GOOD]}, updated_at=utc_now() - timedelta(seconds=20)
    )
    assert await default_version(state, ENGINE) == "3"
    assert {one.of for one in await list_versions(state) if one.engine == ENGINE} == {2}
    shutil.rmtree(repository / ENGINE / "3")
    assert await default_version(state, ENGINE) == GOOD, "what is in the repository no more cannot be served"


async def test_current_version_is_read_from_replicas_without_a_repository(state: State, repository: Path) -> None:
    await write_replica(state, "elsewhere", 9, {"current": GOOD, "loaded": [GOOD]})
    shutil.rmtree(repository / ENGINE)
    assert await default_version(state, ENGINE) == GOOD


async def test_half_written_manifest_affects_its_version_only(state: State, repository: Path) -> None:
    for version, text in (("9", '{"version": '), ("10", "[]"), ("11", "{}")):
        (repository / ENGINE / version).mkdir()
        (repository / ENGINE / version / "manifest.json").write_text(text)
    labels = {one.version: one.label for one in await list_versions(state) if one.engine == ENGINE}
    assert (labels["1"], labels[GOOD], labels["9"], labels["10"], labels["11"]) == ("1.0", "2.0", None, None, None)
    with pytest.raises(Conflict, match=r"times/9: its manifest cannot be used \(JSONDecodeError\)"):
        await changes.load(state, ENGINE, "9", ME)


async def test_smoke_test_runs_in_the_triton_of_its_ensemble(
    state: State, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {"tritonserver": tmp_path, "engine_start_timeout_s": 7.0}
    made = state.settings.model_copy(update={"vectorizer": state.settings.vectorizer.model_copy(update=own)})
    arguments: dict[str, Any] = {}

    def missing(folder: Path, engines: Sequence[str], **named: Any) -> None:
        arguments.update(named, repository=folder)
        raise EngineUnavailable("no tritonserver can be run there")

    monkeypatch.setattr(smoke_test, "TritonServer", missing)
    with pytest.raises(Conflict, match="times/2 does not load: no tritonserver can be run there"):
        await smoke_test.examine(replace(state, settings=made), Rollout(ENGINE, "1", candidate=GOOD))
    assert arguments == {
        "repository": repository, "versions": {ENGINE: [GOOD]}, "tritonserver": tmp_path, "start_timeout_s": 7.0,
    }  # fmt: skip


def test_settings_of_an_engines_ensemble() -> None:
    """Both ensembles share one repository, unless the settings differ."""
    settings = Settings()
    assert ensemble_settings(settings, "quality") is settings.vectorizer
    assert ensemble_settings(settings, "mini_unet") is settings.illustrator
