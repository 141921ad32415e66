"""Feature flags (A-101): sticky, rising by percentage, changed without a restart, and audited."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from typer.testing import CliRunner

from serve.cli.main import app
from serve.errors import NotFound, StateUnavailable
from serve.releases.flags import CACHE_S, Flag, Flags, is_on, share, unit_of
from serve.security.identity.audit import Actor
from serve.settings import DatabaseSettings, FlagSettings, Settings
from serve.state import State
from serve.state.database import Database, database_url
from serve.state.tables import audit

ME = Actor(user_id="root", address="10.0.0.1")
USERS = [f"user-{i}" for i in range(10_000)]


@given(st.text(max_size=30), st.text(max_size=30), st.floats(0, 100), st.floats(0, 100))
def test_raising_the_percentage_only_adds_users(name: str, user: str, one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert is_on(Flag(name, percentage=low), user) <= is_on(Flag(name, percentage=high), user)


def test_share_of_users_equals_the_percentage() -> None:
    for percentage in (1.0, 25.0, 50.0, 99.0):
        on = sum(is_on(Flag("new", percentage=percentage), user) for user in USERS)
        # Four standard deviations of as many independent users.
        assert abs(on / 100 - percentage) < 4 * (percentage * (100 - percentage) / 10_000) ** 0.5
    assert not any(is_on(Flag("new", percentage=0), user) for user in USERS)
    assert all(is_on(Flag("new", percentage=100), user) for user in USERS)


def test_flags_select_users_independently() -> None:
    both = sum(share("one", user) < 0.1 and share("other", user) < 0.1 for user in USERS)
    assert 50 < both < 150
    assert share("a", "b:c") != share("a:b", "c")


def test_named_users_and_disabled_flags() -> None:
    flag = Flag("new", percentage=0, users=frozenset(["ada"]))
    assert is_on(flag, "ada")
    assert not is_on(flag, "bob")
    assert not is_on(replace(flag, enabled=False), "ada")


def test_anonymous_user_is_assigned_per_request() -> None:
    assert unit_of("ada") == "ada"
    assert unit_of("anonymous") != unit_of("anonymous")
    assert unit_of("anonymous", "job-1") == unit_of("anonymous", "job-1")


async def test_change_reaches_every_process_within_seconds(database: Database) -> None:
    now = [0.0]
    initial = {"new": FlagSettings(percentage=0), "other": FlagSettings()}
    here, there = Flags(initial, database, lambda: now[0]), Flags(initial, database, lambda: now[0])
    assert not await there.is_on("new", "ada")
    assert await there.is_on("other", "ada")
    assert not await there.is_on("nothing", "ada")
    await here.put("new", FlagSettings(percentage=100), ME)
    assert await here.is_on("new", "ada")
    assert not await there.is_on("new", "ada")
    now[0] += CACHE_S
    assert await there.is_on("new", "ada")
    await here.put("new", FlagSettings(enabled=False, users=("ada", "ada")), ME)
    assert (await there.get("new")) == Flag("new", False, 100.0, frozenset(["ada"]))
    await here.reset("new", ME)
    assert (await there.get("new")).percentage == 0
    with pytest.raises(NotFound, match="the settings name: new, other"):
        await here.put("nothing", FlagSettings(), ME)
    async with database.read() as connection:
        rows = (await connection.execute(sa.select(audit).order_by(audit.c.seq))).all()
    assert [(row.action, row.subject, row.user_id) for row in rows] == [
        ("flag.change", "new", "root"), ("flag.change", "new", "root"), ("flag.reset", "new", "root"),
    ]  # fmt: skip
    assert rows[0].details == {"before": "0 %, 0 users", "after": "100 %, 0 users"}


async def test_values_are_kept_while_the_database_is_unavailable(database: Database, tmp_path: Path) -> None:
    now = [0.0]
    flags = Flags({"new": FlagSettings(percentage=0)}, database, lambda: now[0])
    await flags.put("new", FlagSettings(percentage=100), ME)
    nowhere = Settings(database=DatabaseSettings(url=SecretStr(f"sqlite:///{tmp_path}/no/such/folder/x.db")))
    away = Database(database_url(nowhere), nowhere.database)
    flags._database = away
    now[0] += CACHE_S
    assert await flags.is_on("new", "ada")
    with pytest.raises(StateUnavailable):
        await flags.read()
    await away.close()


async def test_first_requests_of_a_process_wait_for_the_database(database: Database) -> None:
    initial = {"new": FlagSettings(percentage=0)}
    await Flags(initial, database).put("new", FlagSettings(percentage=100), ME)
    fresh = Flags(initial, database)
    assert await asyncio.gather(*(fresh.is_on("new", user) for user in USERS[:8])) == [True] * 8


async def test_failed_first_read_is_repeated(database: Database, tmp_path: Path) -> None:
    """By the next request, and once for all concurrent requests."""
    initial, reads = {"new": FlagSettings(percentage=0)}, 0
    await Flags(initial, database).put("new", FlagSettings(percentage=100), ME)

    class Counting(Flags):
        async def read(self) -> Mapping[str, Flag]:
            nonlocal reads
            reads += 1
            return await super().read()

    nowhere = Settings(database=DatabaseSettings(url=SecretStr(f"sqlite:///{tmp_path}/no/such/folder/x.db")))
    away = Database(database_url(nowhere), nowhere.database)
    fresh = Counting(initial, away, lambda: 0.0)
    assert await asyncio.gather(*(fresh.is_on("new", user) for user in USERS[:8])) == [False] * 8
    assert reads == 1
    fresh._database = database
    assert await fresh.is_on("new", "ada")
    assert await fresh.is_on("new", "ada")
    assert reads == 2
    await away.close()


async def test_flag_missing_in_settings_is_gone(state: State) -> None:
    await Flags({"old": FlagSettings()}, state.database).put("old", FlagSettings(), ME)
    assert await Flags({}, state.database).read() == {}


def test_flag_commands(database_settings: DatabaseSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = database_settings.url
    assert url is not None
    monkeypatch.setenv("ATELIER_DATABASE__URL", url.get_secret_value())
    monkeypatch.setenv("ATELIER_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("ATELIER_FLAGS", '{"new": {"percentage": 0, "users": ["ada"]}, "off": {"enabled": false}}')
    assert Settings().flags["new"].users == ("ada",)
    run = CliRunner()
    listed = run.invoke(app, ["flags", "list", "--json"])
    assert [flag["name"] for flag in json.loads(listed.output)] == ["new", "off"]
    assert "new" in run.invoke(app, ["flags", "list"]).output
    assert "on for ada: the user is named" in run.invoke(app, ["flags", "explain", "new", "--user", "ada"]).output
    output = run.invoke(app, ["flags", "explain", "new", "--user", "bob"]).output
    assert "off for bob: the user's bucket is" in output
    assert "the flag is off" in run.invoke(app, ["flags", "explain", "off", "--user", "bob"]).output
    found = json.loads(run.invoke(app, ["flags", "explain", "new", "--user", "bob", "--json"]).output)
    assert found["bucket"] == round(100 * share("new", "bob"), 4)
    missing = run.invoke(app, ["flags", "explain", "nothing", "--user", "bob"])
    assert missing.exit_code == 2
