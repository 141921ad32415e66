"""The commands `atelier keys` and `atelier users`."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from serve.cli.main import app
from serve.security.identity import audit
from serve.security.identity.key_format import PATTERN
from serve.settings import Settings
from serve.state import State


@pytest.fixture
def run(tmp_path: Path) -> Any:
    environment = {"ATELIER_STATE_DIR": str(tmp_path / "site"), "ATELIER_CONFIG": "", "COLUMNS": "200"}

    def command(*arguments: str) -> Any:
        return CliRunner().invoke(app, list(arguments), env=environment)

    return command


def entries(folder: Path) -> list[audit.Entry]:
    async def read() -> list[audit.Entry]:
        state = await State.open(Settings(state_dir=folder))
        page = await audit.page(state.database, audit.Filters(), limit=200)
        await state.close()
        return list(reversed(page.items))

    return asyncio.run(read())


def test_stdout_has_only_the_key(run: Any, tmp_path: Path) -> None:
    created = run("keys", "create", "--role", "admin")
    assert created.exit_code == 0, created.output
    assert re.fullmatch(PATTERN + "\n", created.stdout)
    assert created.stdout.strip() not in created.stderr
    assert "admin" in created.stderr
    written = entries(tmp_path / "site")
    assert [entry.action for entry in written] == ["user.create", "key.create"]
    assert all((entry.address or "").startswith("command line of ") for entry in written)
    assert created.stdout.strip() not in str(written)


def test_key_with_scopes_and_expiry(run: Any) -> None:
    options = ["--user", "ada", "--role", "user", "--scope", "read", "--scope", "generate", "--expires", "90d"]
    created = json.loads(run("keys", "create", *options, "--name", "a [red]name[/]", "--json").stdout)
    assert re.fullmatch(PATTERN, created["key"])
    assert (created["user_id"], created["role"], created["scopes"]) == ("ada", "user", ["read", "generate"])
    assert created["expires_at"] is not None
    shown = run("keys", "list")
    assert created["id"] in shown.stdout
    assert "a [red]name[/]" in shown.stdout
    assert created["key"].split("_")[2] not in shown.output
    listed = json.loads(run("keys", "list", "--user", "ada", "--json").stdout)
    assert [key["status"] for key in listed] == ["active"]
    assert json.loads(run("keys", "list", "--user", "eve", "--json").stdout) == []


def test_revoked_keys_are_listed_with_all(run: Any) -> None:
    key = run("keys", "create", "--role", "admin").stdout.strip()
    done = run("keys", "revoke", key[:20])
    assert done.exit_code == 0
    assert "revoked" in done.stderr
    assert json.loads(run("keys", "list", "--json").stdout) == []
    assert [one["status"] for one in json.loads(run("keys", "list", "--all", "--json").stdout)] == ["revoked"]


def test_users_commands(run: Any) -> None:
    run("keys", "create", "--user", "ada", "--role", "user")
    assert run("users", "role", "ada", "read-only").exit_code == 0
    assert run("users", "disable", "ada").exit_code == 0
    (ada,) = json.loads(run("users", "list", "--json").stdout)
    assert (ada["id"], ada["role"], ada["disabled_at"] is None) == ("ada", "read-only", False)
    assert "read-only" in run("users", "list").stdout
    assert run("users", "enable", "ada").exit_code == 0
    (ada,) = json.loads(run("users", "list", "--json").stdout)
    assert ada["disabled_at"] is None


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["keys", "create"], "--user"),
        (["keys", "create", "--user", "nobody"], "--user"),
        (["keys", "create", "--user", "a b", "--role", "user"], "--user"),
        (["keys", "create", "--role", "boss", "--user", "x"], "--role"),
        (["keys", "create", "--role", "user", "--user", "x", "--scope", "admin"], "--scope"),
        (["keys", "create", "--role", "user", "--user", "x", "--expires", "soon"], "--expires"),
        (["keys", "create", "--role", "user", "--user", "x", "--name", "a\x1b[2J"], "--name"),
        (["keys", "create", "--role", "user", "--user", "'; DROP TABLE keys; --"], "--user"),
        (["keys", "revoke", "0" * 16], "KEY"),
        (["keys", "revoke", "%"], "KEY"),
        (["users", "role", "nobody", "user"], "USER"),
        (["users", "role", "nobody", "boss"], "ROLE"),
        (["users", "disable", "nobody"], "USER"),
        (["keys", "list", "--config", "nothing.yaml"], "nothing.yaml"),
    ],
)
def test_wrong_arguments_exit_with_usage_errors(run: Any, arguments: list[str], word: str) -> None:
    done = run(*arguments)
    assert done.exit_code == 2, done.output
    assert word in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.output
    assert done.stderr.isascii()
    assert "\x1b[2J" not in done.stderr


def test_unavailable_database_exits_with_an_error(run: Any, tmp_path: Path) -> None:
    (tmp_path / "site").write_text("no folder")
    done = run("keys", "list")
    assert done.exit_code == 1
    assert done.stderr.startswith("error:")


@pytest.mark.parametrize("group", ["keys", "users"])
def test_help_lists_the_commands(run: Any, group: str) -> None:
    shown = run(group, "--help").output
    for command in {"keys": ("create", "list", "revoke"), "users": ("list", "role", "disable", "enable")}[group]:
        assert command in shown
        assert run(group, command, "--help").exit_code == 0
    assert "read-only" in run("keys", "create", "--help").output


def test_audit_command(run: Any) -> None:
    created = json.loads(run("keys", "create", "--user", "ada", "--role", "user", "--json").stdout)
    run("keys", "revoke", created["id"])
    assert "key.revoke" in run("audit").stdout
    audit_entries = json.loads(run("audit", "--json", "--subject", created["id"]).stdout)
    assert [entry["action"] for entry in audit_entries] == ["key.revoke", "key.create"]
    assert json.loads(run("audit", "--json", "--action", "user.create", "--limit", "1").stdout)[0]["subject"] == "ada"
    assert json.loads(run("audit", "--json", "--user", "nobody").stdout) == []
    assert run("audit", "--since", "ever").exit_code == 2
