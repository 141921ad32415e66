"""Versions are loaded, promoted and rolled back on a site under continuous requests."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from versioned import (
    BAD_PARITY,
    CORRUPT,
    ENGINE,
    GOOD,
    NAMELESS,
    NAMESAKE,
    NOT_A_NUMBER,
    REASONS,
    UNLOADABLE,
    write_all,
)
from versioned_site import VersionedSite, opened, versioned_site
from waiting import until

from serve.errors import Conflict, InvalidRequest, NotFound
from serve.releases.rollouts import changes
from serve.releases.rollouts.site import Rollout, list_versions
from serve.security.identity.audit import Actor
from serve.settings import Settings
from serve.state import State
from serve.state.tables import audit, replicas, utc_now

ME = Actor(address="a test")
ONE_DATABASE = pytest.mark.parametrize("database_settings", ["postgresql"], indirect=True)
"""For tests of what Triton does: `test_decisions` and `test_version_reconciler` have the queries on both databases."""


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    """On both databases; the model repository is the test's own."""
    repository = write_all(tmp_path / "repository")
    own = settings.vectorizer.model_copy(update={"model_repository": repository})
    return settings.model_copy(update={"vectorizer": own})


@pytest.fixture
async def site(state: State) -> AsyncIterator[VersionedSite]:
    async with versioned_site(state, state.settings.vectorizer.model_repository) as opened:
        await until(lambda: all(one.steward._last for one in opened.replicas))  # they have written their rows
        yield opened


async def answers_of(site: VersionedSite, users: int = 100) -> list[float]:
    await site.settle()
    return [await site.ask(f"user-{i}", i % 2) for i in range(users)]


@pytest.mark.triton
@pytest.mark.slow
async def test_load_split_promote_and_rollback_under_load(site: VersionedSite) -> None:
    """D-083, D-091, C-166: no request is lost, and the rollback takes less than 5 s."""
    async with site.under_load():
        loaded = await changes.load(site.state, ENGINE, GOOD, ME)
        assert (loaded.current, loaded.candidate, loaded.percentage) == ("1", GOOD, 0.0)
        assert set(await answers_of(site)) == {1.0}, "what is loaded gets no traffic yet"
        assert {tuple(one.engine_set.versions.loaded(ENGINE)) for one in site.replicas} == {("1", GOOD)}

        await changes.split(site.state, ENGINE, 30, ME)
        some = await answers_of(site)
        assert 0.1 < some.count(2.0) / len(some) < 0.5
        assert await answers_of(site) == some, "a user has the same version each time, on every replica"
        await changes.split(site.state, ENGINE, 60, ME)
        more = await answers_of(site)
        assert all(after >= before for before, after in zip(some, more, strict=True)), (
            "no user returns to the old version"
        )

        promoted = await changes.promote(site.state, ENGINE, None, ME)
        assert (promoted.current, promoted.previous, promoted.candidate) == (GOOD, "1", None)
        assert set(await answers_of(site)) == {2.0}

        began = time.monotonic()
        back = await changes.rollback(site.state, ENGINE, None, ME)
        assert (back.current, back.previous, back.candidate) == ("1", None, GOOD)
        assert set(await answers_of(site)) == {1.0}
    last = max(at for at, _, factor in site.answers if factor == 2.0)
    assert last - began < 30.0, "5 s on a machine that has nothing else to do"
    assert {factor for _, _, factor in site.answers} == {1.0, 2.0}
    assert [one.engine_set.versions.current[ENGINE] for one in site.replicas] == ["1", "1"]
    async with site.state.database.read() as connection:
        rows = (await connection.execute(sa.select(audit.c.action, audit.c.details).order_by(audit.c.seq))).all()
    assert [row.action for row in rows] == [
        "model.load", "model.split", "model.split", "model.load", "model.promote", "model.rollback",
    ]  # fmt: skip
    assert rows[-1].details == {"before": "2, before 1", "after": "1, 2 at 0 %"}


@pytest.mark.triton
@pytest.mark.slow
@ONE_DATABASE
async def test_unfit_versions_are_refused_without_disturbing_requests(site: VersionedSite) -> None:
    """D-091: manifest, checksum, parity, a load and a real inference; each refusal gives its reason."""
    async with site.under_load(2):
        for version, reason in REASONS.items():
            with pytest.raises(Conflict, match=reason):
                await changes.promote(site.state, ENGINE, version, ME)
        (row,) = [one for one in await list_versions(site.state) if (one.engine, one.role) == (ENGINE, "current")]
        assert (row.version, row.percentage, row.replicas, row.of) == ("1", 100.0, 2, 2)
        assert set(await answers_of(site, 20)) == {1.0}
    assert set(REASONS) == {BAD_PARITY, CORRUPT, UNLOADABLE, NAMELESS, NAMESAKE, NOT_A_NUMBER, "9"}
    with pytest.raises(Conflict, match="no candidate"):
        await changes.split(site.state, ENGINE, 10, ME)


@pytest.mark.triton
@pytest.mark.slow
@ONE_DATABASE
async def test_file_changed_after_loading_is_not_promoted(site: VersionedSite) -> None:
    await changes.load(site.state, ENGINE, GOOD, ME)
    path = site.state.settings.vectorizer.model_repository / ENGINE / GOOD / "model.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(Conflict, match="checksum"):
        await changes.promote(site.state, ENGINE, None, ME)
    (candidate,) = [one for one in await list_versions(site.state) if one.role == "candidate"]
    assert (candidate.version, "checksum" in candidate.failure) == (GOOD, True)
    assert (await changes.unload(site.state, ENGINE, GOOD, ME)).candidate is None
    for version, reason in (("1", "is the current version"), (GOOD, "is not loaded")):
        with pytest.raises(Conflict, match=reason):
            await changes.unload(site.state, ENGINE, version, ME)


@pytest.mark.triton
@pytest.mark.slow
@ONE_DATABASE
async def test_replica_started_later_loads_the_current_versions(site: VersionedSite) -> None:
    await changes.promote(site.state, ENGINE, GOOD, ME)
    async with contextlib.AsyncExitStack() as closing:
        late = await opened(site.state, site.state.settings.vectorizer.model_repository, closing)
        assert (late.engine_set.versions.current[ENGINE], late.engine_set.versions.loaded(ENGINE)) == (GOOD, (GOOD,))
        assert await late.multiply({ENGINE: "1"}) == 1.0, "another version is run when it is named"
    async with site.state.database.read() as connection:
        count = await connection.scalar(sa.select(sa.func.count()).select_from(replicas))
    assert count == 2, "an orderly end removes the row at once"


@pytest.mark.triton
@ONE_DATABASE
async def test_command_runs_the_smoke_test_when_no_replica_runs(state: State) -> None:
    for version in (BAD_PARITY, UNLOADABLE, NOT_A_NUMBER):
        with pytest.raises(Conflict, match=REASONS[version]):
            await changes.load(state, ENGINE, version, ME)
    assert (await changes.promote(state, ENGINE, GOOD, ME)).current == GOOD


@pytest.mark.triton
@pytest.mark.slow
@ONE_DATABASE
async def test_dead_replica_does_not_block_a_promotion(state: State, site: VersionedSite) -> None:
    row = {"id": "killed", "beat": 7, "engines": {ENGINE: {"current": "1", "loaded": ["1"]}}}
    async with state.database.write() as connection:
        await connection.execute(replicas.insert(), {**row, "updated_at": utc_now()})
    assert (await changes.promote(state, ENGINE, GOOD, ME)).current == GOOD
    async with state.database.read() as connection:
        assert "killed" not in (await connection.scalars(sa.select(replicas.c.id))).all()


async def test_invalid_changes_are_refused(state: State) -> None:
    for engine in ("nothing", "../times", "a/b"):
        with pytest.raises(NotFound):
            await changes.load(state, engine, "2", ME)
    for version in ("", "two", "-1", "01", "../1", "1" * 20):
        with pytest.raises(InvalidRequest):
            await changes.load(state, ENGINE, version, ME)
    with pytest.raises(Conflict, match="is the current version already"):
        await changes.promote(state, ENGINE, "1", ME)
    for percentage in (-1, 100.1, float("nan")):
        with pytest.raises(InvalidRequest):
            await changes.split(state, ENGINE, percentage, ME)
    with pytest.raises(Conflict):
        await changes.rollback(state, ENGINE, None, ME)


def test_shares_of_a_rollout() -> None:
    """D-083: proportional to the weight, and independent between engines."""
    users = [f"user-{i}" for i in range(20_000)]
    half = Rollout("a", "1", candidate="2", percentage=50)
    assert abs([half.version_for(user) for user in users].count("2") / len(users) - 0.5) < 0.02
    other = Rollout("b", "1", candidate="2", percentage=50)
    both = sum(half.version_for(user) == other.version_for(user) for user in users)
    assert abs(both / len(users) - 0.5) < 0.02
    assert {Rollout("a", "1", candidate="2").version_for(user) for user in users} == {"1"}
    assert {Rollout("a", "1", candidate="2", percentage=100).version_for(user) for user in users} == {"2"}
