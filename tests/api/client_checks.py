"""Runs the checks of other projects' clients in their own environments."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

HOME = Path(__file__).parents[2]
CLIENTS = HOME / "tests" / "clients"


def checked(script: str, environment: str, address: str) -> dict[str, Any]:
    """The checks that ``script`` reports for the stack at ``address``; all are true."""
    python = HOME / environment / "bin" / "python"
    assert python.exists(), "run `make clients` first"
    done = subprocess.run([python, CLIENTS / script, address], capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    checks: dict[str, Any] = json.loads(done.stdout)
    assert [key for key, value in checks.items() if value is not True] == []
    return checks
