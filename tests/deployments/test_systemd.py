"""The unit of one host (C-093): existing command and settings, started at boot and restarted when it ends."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from serve.settings import HOME, Settings, leaves

UNIT = HOME / "deployments" / "systemd" / "atelier.service"


def values(name: str) -> list[str]:
    lines = UNIT.read_text().splitlines()
    return [line.partition("=")[2] for line in lines if line.startswith(f"{name}=")]


def test_unit_starts_the_stack_and_restarts_it() -> None:
    program, command = values("ExecStart")[0].split()
    assert Path(program).name in tomllib.loads((HOME / "pyproject.toml").read_text())["project"]["scripts"]
    assert command == "up"
    assert values("Restart") == ["always"]
    assert values("WantedBy") == ["multi-user.target"]
    assert values("User") not in ([], ["root"])


def variables() -> dict[str, str]:
    lines = (UNIT.parent / "atelier.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if not line.startswith("#"))


def test_variables_are_settings_in_writable_paths() -> None:
    given = variables()
    known = {leaf.variable for leaf in leaves(Settings.model_construct())} | {"ATELIER_CONFIG"}
    assert {name for name in given if name.startswith("ATELIER_")} <= known
    state = f"/var/lib/{values('StateDirectory')[0]}"
    for name in ("HOME", "ATELIER_STATE_DIR", "NUMBA_CACHE_DIR"):
        assert given[name].startswith(state), name
    assert given["ATELIER_METRICS_FILE"].startswith(f"/run/{values('RuntimeDirectory')[0]}/")
    assert values("ProtectSystem") == ["strict"]


def test_command_runs_with_the_units_properties(tmp_path: Path) -> None:
    """With a stand-in for `systemd-run` that prints its arguments."""
    (tmp_path / "systemd-run").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (tmp_path / "systemd-run").chmod(0o755)
    done = subprocess.run(
        [UNIT.parent / "atelier", "keys", "create", "--name", "two words, $HOME"],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "GRAFANA_TOKEN": "glsa_1"},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    program = values("ExecStart")[0].split()[0]
    assert lines[lines.index(program) :] == [program, "keys", "create", "--name", "two words, $$HOME"]
    assert [line for line in lines if line.startswith("--setenv")] == ["--setenv=GRAFANA_TOKEN"]
    assert "glsa_1" not in done.stdout, "other users see a command's words"
    files = [line.removeprefix("--property=EnvironmentFile=") for line in lines if "EnvironmentFile" in line]
    assert files == values("EnvironmentFile")
    assert Path(str(HOME) + files[0].removeprefix("/opt/atelier")).is_file()
    for option, name in (("uid", "User"), ("gid", "Group"), ("working-directory", "WorkingDirectory")):
        assert f"--{option}={values(name)[0]}" in lines


@pytest.mark.skipif(shutil.which("systemd-run") is None, reason="systemd is not installed")
def test_systemd_run_has_the_commands_options() -> None:
    known = subprocess.run(["systemd-run", "--help"], capture_output=True, text=True, timeout=60).stdout
    used = set(re.findall(r"--[a-z-]+", (UNIT.parent / "atelier").read_text().partition("exec ")[2]))
    assert len(used) > 5
    assert {option for option in used if option not in known} == set()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_verifies_the_unit(tmp_path: Path) -> None:
    """With a program of this machine in the place of ours."""
    program = values("ExecStart")[0].split()[0]
    unit = tmp_path / "atelier.service"
    unit.write_text(UNIT.read_text().replace(program, sys.executable))
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, timeout=60)
    lines = [line for line in done.stderr.splitlines() if "atelier" in line]
    assert (done.returncode, lines) == (0, [])
    unit.write_text(unit.read_text().replace("Restart=always", "Restart=allways"))
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, timeout=60)
    assert "allways" in done.stderr, "it would find something"
