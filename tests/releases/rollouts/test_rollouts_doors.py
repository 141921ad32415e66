"""Versions of engines over HTTP and by `atelier models`: permissions, and the same results as the library."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from keyed_door import KeyedSite, keyed_site
from typer.testing import CliRunner
from versioned import ENGINE, GOOD, write_all

from serve.cli.main import app
from serve.state import State

BASE = f"/api/admin/models/{ENGINE}"


@pytest.fixture
async def site(state: State, tmp_path: Path) -> AsyncIterator[KeyedSite]:
    async with keyed_site(state, vectorizer={"model_repository": write_all(tmp_path / "repository")}) as opened:
        yield opened


@pytest.fixture
async def client(site: KeyedSite) -> AsyncIterator[httpx.AsyncClient]:
    async with site.door((await site.key("root", "admin")).secret) as opened:
        yield opened


async def test_only_admins_may_change_versions(site: KeyedSite) -> None:
    doors = [("GET", "/api/admin/models"), ("GET", f"{BASE}/report")]
    doors += [("POST", f"{BASE}/{name}") for name in ("load", "split", "promote", "rollback", "unload")]
    for role in ("user", "read-only"):
        async with site.door((await site.key(role, role)).secret) as client:
            assert [(await client.request(method, path, json={})).status_code for method, path in doors] == [403] * 7


@pytest.mark.triton
async def test_changes_over_http(client: httpx.AsyncClient) -> None:
    """D-083, D-091."""
    refused = await client.post(f"{BASE}/promote", json={"version": "3"})
    assert (refused.status_code, "max_abs_error" in refused.json()["detail"]) == (409, True)
    loaded = await client.post(f"{BASE}/load", json={"version": GOOD})
    assert loaded.json() == {
        "engine": ENGINE, "current": "1", "previous": None, "candidate": GOOD, "percentage": 0.0,
    }  # fmt: skip
    assert (await client.post(f"{BASE}/split", json={"percentage": 25})).json()["percentage"] == 25
    listed = (await client.get("/api/admin/models")).json()["models"]
    roles = [(one["version"], one["role"], one["percentage"]) for one in listed if one["engine"] == ENGINE]
    assert roles[:3] == [("1", "current", 75.0), ("2", "candidate", 25.0), ("3", "there", 0.0)]
    assert (await client.post(f"{BASE}/promote", json={})).json()["current"] == GOOD
    assert (await client.post(f"{BASE}/rollback", json={})).json()["current"] == "1"
    again = await client.post(f"{BASE}/rollback", json={"version": GOOD})
    assert (again.status_code, again.json()["current"]) == (200, "1"), "sent twice: it has left already"
    assert (await client.get(f"{BASE}/report")).status_code == 200
    assert (await client.post(f"{BASE}/unload", json={"version": GOOD})).json()["candidate"] is None
    assert (await client.post(f"{BASE}/rollback", json={})).status_code == 409


async def test_invalid_changes_are_refused(client: httpx.AsyncClient) -> None:
    cases: list[tuple[str, Any, int, str | None]] = [
        ("load", {}, 400, "version"),
        ("load", {"version": 2}, 400, "version"),
        ("load", {"version": "../1"}, 400, "version"),
        ("load", {"versoin": "2"}, 400, "versoin"),
        ("split", {"percentage": "10"}, 400, "percentage"),
        ("split", {"percentage": 101}, 400, "percentage"),
        ("split", {"percentage": True}, 400, "percentage"),
        ("split", {"percentage": 10}, 409, None),
        ("promote", {}, 409, None),
        ("rollback", {"version": 2}, 400, "version"),
        ("rollback", {"version": "9"}, 409, None),
        ("unload", {"version": "1"}, 409, None),
    ]
    for path, body, status, field in cases:
        answer = await client.post(f"{BASE}/{path}", json=body)
        assert (answer.status_code, answer.json().get("field")) == (status, field), (path, body)


async def test_unknown_engine_returns_404(client: httpx.AsyncClient) -> None:
    for name in ("none", "a%2Fb", "..%2F..%2Fetc"):
        answer = await client.post(f"/api/admin/models/{name}/load", json={"version": "2"})
        assert answer.status_code in (400, 404, 422)
        assert "/tmp" not in answer.text


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Any]:
    repository = write_all(tmp_path / "repository")
    environment = {
        "ATELIER_STATE_DIR": str(tmp_path / "site"), "ATELIER_CONFIG": "", "COLUMNS": "200",
        "ATELIER_VECTORIZER__MODEL_REPOSITORY": str(repository),
        "ATELIER_ILLUSTRATOR__MODEL_REPOSITORY": str(repository),
    }  # fmt: skip
    return lambda *arguments: CliRunner().invoke(app, ["models", *arguments], env=environment)


@pytest.mark.triton
def test_models_commands(run: Callable[..., Any]) -> None:
    """D-091: the command, when no stack runs."""
    refused = run("load", ENGINE, "4")
    assert (refused.exit_code, "checksum" in refused.stderr) == (2, True)
    assert run("load", ENGINE, GOOD).stdout == f"{ENGINE}: 1, 2 at 0 %\n"
    assert run("split", ENGINE, "12.5").stdout == f"{ENGINE}: 1, 2 at 12.5 %\n"
    assert json.loads(run("promote", ENGINE, "--json").stdout)["previous"] == "1"
    assert run("rollback", ENGINE).stdout == f"{ENGINE}: 1, 2 at 0 %\n"
    table = run("list").stdout
    assert "current" in table
    assert "100 %" in table
    assert "2.0" in json.dumps(json.loads(run("list", "--json").stdout))
    assert "p95 time s" in run("report", ENGINE).stdout
    assert run("unload", ENGINE, GOOD).stdout == f"{ENGINE}: 1\n"


def test_invalid_arguments_of_models_commands(run: Callable[..., Any]) -> None:
    for arguments in (("load", "none", "2"), ("load", ENGINE, "two"), ("rollback", ENGINE), ("split", ENGINE, "101")):
        done = run(*arguments)
        assert done.exit_code == 2, done.output
