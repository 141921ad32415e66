"""The commands `atelier backup` and `atelier restore`."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest
from populated_site import content, fill
from typer.testing import CliRunner

from serve.cli.main import app
from serve.cluster.stack import state_file
from serve.settings import Settings
from serve.state import State
from serve.state.objects.names import path_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The state folder of a populated site."""
    asyncio.run(_with_state(tmp_path / "site", fill))
    return tmp_path / "site"


async def _with_state(folder: Path, do: Any) -> Any:
    state = await State.open(Settings(state_dir=folder))
    try:
        return await do(state)
    finally:
        await state.close()


def run(folder: Path, *arguments: str) -> Any:
    environment = {"ATELIER_STATE_DIR": str(folder), "ATELIER_CONFIG": "", "COLUMNS": "300"}
    return CliRunner().invoke(app, list(arguments), env=environment)


def rows_of(folder: Path) -> dict[str, list[tuple[Any, ...]]]:
    rows: dict[str, list[tuple[Any, ...]]] = asyncio.run(_with_state(folder, lambda state: content(state.database)))
    return rows


def test_backup_is_restored(folder: Path, tmp_path: Path) -> None:
    made = run(folder, "backup")
    assert made.exit_code == 0, made.output
    location = Path(made.stdout.strip())
    assert location.parent == folder / "backups"
    assert "7 objects" in made.stderr
    done = run(tmp_path / "other", "restore", str(location))
    assert done.exit_code == 0, done.output
    assert "7 objects" in done.stderr
    assert rows_of(tmp_path / "other")["results"] == rows_of(folder)["results"]


def test_restore_over_generations_requires_force(folder: Path, tmp_path: Path) -> None:
    location = str(tmp_path / "mine.tar")
    assert run(folder, "backup", "--to", location).stdout.strip() == location
    refused = run(folder, "restore", location)
    assert refused.exit_code == 2
    assert "5 generations" in refused.stderr
    assert "--force" in refused.stderr
    assert run(folder, "restore", location, "--force").exit_code == 0


def test_restore_refuses_a_running_stack(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    location = run(folder, "backup").stdout.strip()
    here = {"pid": os.getpid(), "url": "http://127.0.0.1:8000", "grpc": "127.0.0.1:9000", "dashboard": None}
    state_file(Settings(state_dir=folder)).write_text(json.dumps(here))
    monkeypatch.setattr(Path, "read_bytes", lambda _: b"atelier\0up\0")
    refused = run(folder, "restore", location, "--force")
    assert refused.exit_code == 2
    assert "atelier down" in refused.stderr


def test_missing_object_is_reported(folder: Path, tmp_path: Path) -> None:
    name = rows_of(folder)["results"][0][3]
    (folder / "objects" / path_of(name)).unlink()
    made = run(folder, "backup")
    assert made.exit_code == 4
    assert name in made.stderr
    done = run(tmp_path / "other", "restore", made.stdout.strip())
    assert done.exit_code == 0
    assert "1 objects were missing" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["backup", "--to", "ftp://x/y"], ["--to"]),
        (["restore", "nothing.tar"], ["FILE_OR_URL", "No such file"]),
        (["restore", "pyproject.toml"], ["FILE_OR_URL", "no backup", "nothing was changed"]),
        (["restore", "s3://bucket/folder"], ["FILE_OR_URL", ".tar"]),
        (["backup", "--config", "nothing.yaml"], ["nothing.yaml"]),
    ],
)
def test_wrong_arguments_exit_with_usage_errors(folder: Path, arguments: list[str], words: list[str]) -> None:
    done = run(folder, *arguments)
    assert done.exit_code == 2, done.output
    assert all(word in done.stderr for word in words)
    assert "Traceback" not in done.output
