"""The unit of one host (C-093): a command and settings that there are, started at boot and again when it ends."""

from __future__ import annotations

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


def test_it_starts_the_stack_and_comes_back() -> None:
    program, command = values("ExecStart")[0].split()
    assert Path(program).name in tomllib.loads((HOME / "pyproject.toml").read_text())["project"]["scripts"]
    assert command == "up"
    assert values("Restart") == ["always"]
    assert values("WantedBy") == ["multi-user.target"]
    assert values("User") not in ([], ["root"])


def test_its_variables_are_settings_in_places_that_it_may_write() -> None:
    given = dict(pair.split("=", 1) for line in values("Environment") for pair in line.split())
    known = {leaf.variable for leaf in leaves(Settings.model_construct())} | {"ATELIER_CONFIG"}
    assert {name for name in given if name.startswith("ATELIER_")} <= known
    state = f"/var/lib/{values('StateDirectory')[0]}"
    for name in ("HOME", "ATELIER_STATE_DIR", "NUMBA_CACHE_DIR"):
        assert given[name].startswith(state), name
    assert values("ProtectSystem") == ["strict"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_takes_it(tmp_path: Path) -> None:
    """With a program that is on this machine in the place of ours."""
    program = values("ExecStart")[0].split()[0]
    unit = tmp_path / "atelier.service"
    unit.write_text(UNIT.read_text().replace(program, sys.executable))
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, timeout=60)
    told = [line for line in done.stderr.splitlines() if "atelier" in line]
    assert (done.returncode, told) == (0, [])
    unit.write_text(unit.read_text().replace("Restart=always", "Restart=allways"))
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, timeout=60)
    assert "allways" in done.stderr, "it would find something"
